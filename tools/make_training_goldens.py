"""Writes tests/golden/training.json and tests/golden/tiny_llama (run by `make parity`).

A tiny random Llama, and ten optimiser steps of supervised fine-tuning, full and LoRA, by TRL's
SFTTrainer (transformers' Trainer and peft underneath): completion-only loss, packing, accumulation,
AdamW with weight decay, warmup and a schedule, clipping. What is stored: the tokens of every step,
losses, gradient norms, learning rates, and the parameters before and after.
"""
import json
import os
import shutil
import tempfile

import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import SFTConfig, SFTTrainer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GOLDEN = os.path.join(ROOT, "tests", "golden")
FOLDER = os.path.join(GOLDEN, "tiny_llama")
STEPS = 10


def tiny_tokenizer():
    """Byte-level BPE over printable ASCII, with the merges that a few words need."""
    letters = [chr(c) for c in range(33, 127)] + ["Ġ"]
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "a")]
    vocabulary = ["<|endoftext|>"] + letters + [a + b for a, b in merges]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token=None,
                                   pad_token="<|endoftext|>")


def make_model():
    torch.manual_seed(11)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
                         tie_word_embeddings=True, rms_norm_eps=1e-5, rope_theta=10000.0, initializer_range=0.15,
                         bos_token_id=0, eos_token_id=0, pad_token_id=0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" in name:
                value.add_(torch.randn_like(value) * 0.1)
    shutil.rmtree(FOLDER, ignore_errors=True)
    model.save_pretrained(FOLDER)
    tokenizer.save_pretrained(FOLDER)


WORDS = "the cat sat on a mat and then went away to see the sea where a ship lay at rest".split()


def records():
    generator = torch.Generator().manual_seed(5)

    def words(low, high):
        count = int(torch.randint(low, high, (1,), generator=generator))
        return " ".join(WORDS[int(i)] for i in torch.randint(0, len(WORDS), (count,), generator=generator))
    return [{"prompt": words(2, 6), "completion": " " + words(1, 7)} for _ in range(44)]


class Recorder(SFTTrainer):
    """Notes every micro-batch as the model sees it, and the total gradient before clipping."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        self.seen.append({
            "token_ids": inputs["input_ids"][0].tolist(), "labels": inputs["labels"][0].tolist(),
            "position_ids": inputs["position_ids"][0].tolist()})
        return super().training_step(model, inputs, num_items_in_batch)


class FirstGradients(TrainerCallback):
    """The gradients of the first step, after clipping."""

    def __init__(self):
        self.gradients = None

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        if self.gradients is None:
            self.gradients = {clean(n): p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def clean(name):
    return name.replace(".default.", ".")


def train(name, settings, lora, data, scratch):
    config = SFTConfig(
        output_dir=scratch, max_steps=STEPS, logging_steps=1, save_strategy="no", report_to=[], bf16=False,
        use_cpu=True, seed=3, packing=True, packing_strategy="bfd", max_length=64, padding_free=True,
        completion_only_loss=True, per_device_train_batch_size=2, dataset_num_proc=None, gradient_checkpointing=False,
        average_tokens_across_devices=False, disable_tqdm=True, **settings)
    model = LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32, attn_implementation="eager_packed")
    trainer = Recorder(model=model, args=config, train_dataset=Dataset.from_list(data), processing_class=tiny_tokenizer(),
                       peft_config=lora)
    trainer.seen = []
    # TRL divides by the tokens of all accumulated batches together; accelerate would divide once more
    # by their number, which makes gradients depend on how a batch is cut.
    trainer.accelerator.gradient_accumulation_steps = 1
    callback = FirstGradients()
    trainer.add_callback(callback)
    if lora is not None:  # B begins at zero: begin elsewhere, so that both factors matter at once
        torch.manual_seed(17)
        with torch.no_grad():
            for key, value in trainer.model.named_parameters():
                if "lora_B" in key:
                    value.copy_(torch.randn_like(value) * 0.1)
        folder = os.path.join(GOLDEN, "tiny_" + name)
        shutil.rmtree(folder, ignore_errors=True)
        trainer.model.save_pretrained(folder)
        os.remove(os.path.join(folder, "README.md"))
        path = os.path.join(folder, "adapter_config.json")
        written = json.load(open(path))
        written["base_model_name_or_path"] = "tiny_llama"
        written["target_modules"] = sorted(written["target_modules"])
        json.dump(written, open(path, "w"), indent=2)
    trainer.train()
    logs = [{k: v for k, v in entry.items() if k != "epoch"} for entry in trainer.state.log_history if "loss" in entry]
    after = {clean(n): p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}
    tensors = {"gradient." + k: v for k, v in callback.gradients.items()}
    tensors.update({"after." + k: v for k, v in after.items()})
    save_file({k: v.contiguous() for k, v in tensors.items()}, os.path.join(GOLDEN, f"training_{name}.safetensors"))
    return {"settings": settings, "micro_batches": trainer.seen, "logs": logs,
            "packed": [list(x) for x in trainer.train_dataset["seq_lengths"]]}


def block_diagonal_attention():
    """Eager attention that honours position_ids: what flash attention does with packed sequences, on a CPU."""
    from transformers import AttentionInterface
    from transformers.models.llama.modeling_llama import repeat_kv

    def forward(module, query, key, value, attention_mask, scaling, dropout=0.0, position_ids=None, **kwargs):
        key, value = (repeat_kv(x, module.num_key_value_groups) for x in (key, value))
        sequence = (position_ids[0] == 0).cumsum(0)
        length = query.shape[2]
        allowed = (sequence[:, None] == sequence[None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
        scores = (query @ key.transpose(2, 3) * scaling).masked_fill(~allowed, float("-inf"))
        return (scores.softmax(-1) @ value).transpose(1, 2).contiguous(), None
    AttentionInterface.register("eager_packed", forward)


if __name__ == "__main__":
    torch.set_num_threads(1)
    block_diagonal_attention()
    make_model()
    data = records()
    with open(os.path.join(GOLDEN, "training_records.jsonl"), "w") as out:
        out.writelines(json.dumps(record) + "\n" for record in data)
    runs = {}
    with tempfile.TemporaryDirectory() as scratch:
        runs["full"] = train("full", dict(learning_rate=3e-3, weight_decay=0.1, max_grad_norm=0.5, warmup_steps=3,
                                          lr_scheduler_type="cosine", gradient_accumulation_steps=2), None, data, scratch)
        runs["lora"] = train("lora", dict(learning_rate=1e-2, weight_decay=0.05, max_grad_norm=1.0, warmup_steps=2,
                                          lr_scheduler_type="linear", gradient_accumulation_steps=3),
                             LoraConfig(r=4, lora_alpha=12, lora_dropout=0.0, task_type="CAUSAL_LM",
                                        target_modules=["q_proj", "v_proj", "o_proj", "down_proj"]), data, scratch)
    with open(os.path.join(GOLDEN, "training.json"), "w") as out:
        json.dump(runs, out, separators=(",", ":"))
        out.write("\n")
