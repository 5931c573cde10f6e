"""Writes tests/golden/reward.json, reward_*.safetensors, tiny_reward, tiny_reward_lora and tiny_bert (run by `make parity`).

Ten optimiser steps of TRL's RewardTrainer (transformers' Trainer and peft underneath) on the tiny Llama of
make_training_goldens.py, full and LoRA: AdamW with weight decay, warmup and a schedule, clipping, accumulation, margins
in one run, the centring coefficient in the other. What is stored: the pairs of every micro-batch as tokens, losses and
TRL's metrics, gradient norms, the head before, all parameters after, and the folders that save_pretrained writes with the
rewards that transformers gives for texts. The same of a tiny BERT under mean pooling and a head, by torch and peft. Then the other way round: what `candor lm reward` trains and writes is loaded by
transformers and peft, whose rewards must be those of `candor lm reward --score-with`.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel
from trl import RewardConfig, RewardTrainer

from make_training_goldens import FOLDER, GOLDEN, ROOT, STEPS, WORDS, clean, tiny_tokenizer

CANDOR = os.path.join(ROOT, "bin", "candor")
TEXTS = [("the cat", " sat on a mat"), ("where a ship", " lay at rest then"), ("a", " b"), ("see the sea", " away"),
         ("and then", " the the the cat went away to see the sea where a ship lay"), ("", "the mat")]


def pairs(margin):
    generator = torch.Generator().manual_seed(9)

    def words(low, high):
        count = int(torch.randint(low, high, (1,), generator=generator))
        return " ".join(WORDS[int(i)] for i in torch.randint(0, len(WORDS), (count,), generator=generator))
    out = []
    for _ in range(64):
        pair = {"prompt": words(2, 6), "chosen": " " + words(2, 6), "rejected": " " + words(1, 9) + " sea"}
        out.append({**pair, "margin": round(float(torch.rand(1, generator=generator)), 3)} if margin else pair)
    return out


class Recorder(RewardTrainer):
    """Notes every micro-batch as the model sees it."""

    def compute_loss(self, model, inputs, *args, **kwargs):
        rows = [ids[mask.bool()].tolist() for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"])]
        half = len(rows) // 2
        entry = {"chosen": rows[:half], "rejected": rows[half:]}
        if "margin" in inputs:
            entry["margin"] = [round(x, 6) for x in inputs["margin"].tolist()]
        self.seen.append(entry)
        return super().compute_loss(model, inputs, *args, **kwargs)


def rewards_of(model, folder):
    """What a user of transformers gets: the text and the end token, one at a time (no padding)."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return [model(**tokenizer(p + c + tokenizer.eos_token, return_tensors="pt")).logits[0, 0].item() for p, c in TEXTS]


def train(name, settings, lora, scratch):
    data = pairs(margin=name == "full")
    config = RewardConfig(output_dir=scratch, max_steps=STEPS, logging_steps=1, save_strategy="no", report_to=[], bf16=False,
                          use_cpu=True, seed=3, max_length=64, per_device_train_batch_size=3, gradient_checkpointing=False,
                          disable_tqdm=True, **settings)
    torch.manual_seed(23)
    model = AutoModelForSequenceClassification.from_pretrained(FOLDER, dtype=torch.float32, num_labels=1)
    with torch.no_grad():
        model.score.weight.normal_(0, 0.3)
    trainer = Recorder(model=model, args=config, train_dataset=Dataset.from_list(data), processing_class=tiny_tokenizer(),
                       peft_config=lora)
    trainer.seen = []
    # The Trainer divides the loss by the number of accumulated batches; accelerate would do so once more, and the
    # gradient would no longer be the one of the loss that is logged.
    trainer.accelerator.gradient_accumulation_steps = 1
    tensors = {}
    if lora is not None:  # B begins at zero: begin elsewhere, so that both factors matter at once
        with torch.no_grad():
            for key, value in trainer.model.named_parameters():
                if "lora_B" in key:
                    value.copy_(torch.randn_like(value) * 0.1)
    trained = lambda: {clean(n).replace(".modules_to_save", ""): p.detach().clone()
                       for n, p in trainer.model.named_parameters() if p.requires_grad}
    before = trained()
    tensors.update({"before." + k: v for k, v in before.items() if lora is not None or "score" in k})
    trainer.train()
    tensors.update({"after." + k: v for k, v in trained().items()})
    save_file({k: v.contiguous() for k, v in tensors.items()}, os.path.join(GOLDEN, f"reward_{name}.safetensors"))
    logs = [{k: v for k, v in entry.items() if k != "epoch"} for entry in trainer.state.log_history if "loss" in entry]
    folder = os.path.join(GOLDEN, "tiny_reward" + ("_lora" if lora else ""))
    shutil.rmtree(folder, ignore_errors=True)
    trainer.model.save_pretrained(folder)
    if lora is None:
        tiny_tokenizer().save_pretrained(folder)
    else:
        os.remove(os.path.join(folder, "README.md"))
        path = os.path.join(folder, "adapter_config.json")
        written = json.load(open(path))
        written["base_model_name_or_path"] = "tiny_llama"
        written["target_modules"] = sorted(written["target_modules"])
        json.dump(written, open(path, "w"), indent=2)
    again = trainer.model.eval()
    return {"settings": settings, "data": data, "micro_batches": trainer.seen, "logs": logs,
            "texts": [{"prompt": p, "completion": c, "reward": round(r, 6)}
                      for (p, c), r in zip(TEXTS, rewards_of(again, FOLDER))]}


BERT = os.path.join(GOLDEN, "tiny_bert")


class PooledReward(torch.nn.Module):
    """Mean pooling over the mask, unit length, a linear head: sentence-transformers' recipe under a reward."""

    def __init__(self, encoder, width):
        super().__init__()
        self.encoder = encoder
        self.score = torch.nn.Linear(width, 1)

    def forward(self, input_ids, attention_mask):
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(2).float()
        mean = (states * mask).sum(1) / mask.sum(1)
        return self.score(torch.nn.functional.normalize(mean, dim=1)).squeeze(1)


def make_bert():
    """A random BERT over the letters and a few words, as a sentence-transformers folder."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + sorted(set(WORDS))
    torch.manual_seed(29)
    model = BertModel(BertConfig(vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                 intermediate_size=24, max_position_embeddings=32, initializer_range=0.3,
                                 hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "LayerNorm" in name or name.endswith("bias"):
                value.add_(torch.randn_like(value) * 0.1)
    shutil.rmtree(BERT, ignore_errors=True)
    model.save_pretrained(BERT)
    with open(os.path.join(BERT, "vocab.txt"), "w") as out:
        out.write("".join(word + "\n" for word in vocabulary))
    return len(vocabulary)


def train_encoder(name, lora):
    """Ten steps of torch.optim.AdamW on pairs and labelled texts, norms and biases without decay as the Trainer has it."""
    vocabulary = make_bert()
    torch.manual_seed(31)
    model = PooledReward(BertModel.from_pretrained(BERT, attn_implementation="eager"), 16)
    with torch.no_grad():
        model.score.weight.normal_(0, 1.0)
        model.score.bias.fill_(0.1)
    if lora:
        model.encoder = get_peft_model(model.encoder, LoraConfig(r=3, lora_alpha=6, lora_dropout=0.0, target_modules=["query", "value"]))
        with torch.no_grad():
            for key, value in model.named_parameters():
                if "lora_B" in key:
                    value.copy_(torch.randn_like(value) * 0.3)

    def plain(name):
        inside = name.removeprefix("encoder.")
        return name if inside == name else clean(inside).removeprefix("base_model.model.")
    trained = lambda: {plain(n): p.detach().clone() for n, p in model.named_parameters() if p.requires_grad and "pooler" not in n}
    tensors = {"before." + k: v for k, v in trained().items() if lora or "score" in k}
    no_decay = [p for n, p in model.named_parameters() if p.requires_grad and ("LayerNorm" in n or n.endswith("bias"))]
    decay = [p for n, p in model.named_parameters() if p.requires_grad and not ("LayerNorm" in n or n.endswith("bias"))]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": no_decay, "weight_decay": 0.0}], lr=1e-2)
    generator = torch.Generator().manual_seed(37)
    text = lambda: [2] + torch.randint(5, vocabulary, (int(torch.randint(2, 9, (1,), generator=generator)),), generator=generator).tolist() + [3]
    steps = []
    for _ in range(STEPS):
        pairs_now, labels = [(text(), text()) for _ in range(3)], [(text(), k % 2) for k in range(2)]
        rows = [c for c, _ in pairs_now] + [t for t, _ in labels] + [r for _, r in pairs_now]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        rewards = model(ids, mask)
        signs = torch.tensor([1.0] * 3 + [2.0 * label - 1 for _, label in labels])
        logits = torch.cat([rewards[:3] - rewards[5:], rewards[3:5]]) * signs
        loss = -torch.nn.functional.logsigmoid(logits).mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        steps.append({"pairs": pairs_now, "labels": labels, "loss": loss.item(), "grad_norm": norm.item()})
        optimizer.step()
        optimizer.zero_grad()
    tensors.update({"after." + k: v for k, v in trained().items()})
    save_file({k: v.contiguous() for k, v in tensors.items()}, os.path.join(GOLDEN, f"reward_{name}.safetensors"))
    return {"steps": steps}


def candor(*arguments, text=None):
    done = subprocess.run([CANDOR, "lm", "reward", *map(str, arguments)], capture_output=True, text=True, input=text)
    if done.returncode != 0:
        sys.exit(f"candor lm reward {arguments}: {done.stderr}")
    return done.stdout


def load(folder):
    model, notes = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if any(notes[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        sys.exit(f"{folder}: {notes}")
    return model.eval()


def ours_in_theirs(scratch):
    """Folders that `candor lm reward` trained, in transformers and peft."""
    data = os.path.join(scratch, "pairs.jsonl")
    with open(data, "w") as out:
        out.writelines(json.dumps(pair) + "\n" for pair in pairs(margin=False))
    lines = "".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in TEXTS)
    adapter = ["--use-peft", "--lora-r", "4", "--lora-target-modules", "all-linear"]
    for kind, source, flags in (("model", FOLDER, []), ("adapter", FOLDER, adapter), ("model", FOLDER + ".gguf", [])):
        folder = os.path.join(scratch, kind + source[-4:])
        candor("--model", source, "--data", data, "--max-steps", "4", "--learning-rate", "1e-2", "--threads", "1",
               "--features", "prompt_completion", "--output", folder, *flags)
        folder = os.path.join(folder, kind)
        if kind == "model":
            model = load(folder)
        else:
            base = AutoModelForSequenceClassification.from_pretrained(FOLDER, dtype=torch.float32, num_labels=1)
            model = PeftModel.from_pretrained(base, folder).eval()
        theirs = torch.tensor(rewards_of(model, folder if kind == "model" else FOLDER))
        scored = candor("--score-with", folder, "--scale", "logit", *(["--model", FOLDER] if kind == "adapter" else []), text=lines)
        ours = torch.tensor([json.loads(line)["reward"] for line in scored.splitlines()])
        assert (ours - theirs).abs().max() < 1e-4, (kind, ours, theirs)
        assert theirs.std() > 1e-2, "all rewards alike"
        print(f"lm reward: {kind} of {os.path.basename(source)} in transformers and here differ by {(ours - theirs).abs().max():.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    runs = {}
    with tempfile.TemporaryDirectory() as scratch:
        runs["full"] = train("full", dict(learning_rate=3e-3, weight_decay=0.1, max_grad_norm=1.0, warmup_steps=3,
                                          lr_scheduler_type="cosine", gradient_accumulation_steps=2), None, scratch)
        runs["lora"] = train("lora", dict(learning_rate=1e-2, weight_decay=0.05, max_grad_norm=0.5, warmup_steps=2,
                                          lr_scheduler_type="linear", gradient_accumulation_steps=2,
                                          center_rewards_coefficient=0.05),
                             LoraConfig(r=4, lora_alpha=12, lora_dropout=0.0, task_type="SEQ_CLS",
                                        target_modules=["q_proj", "v_proj", "o_proj", "down_proj"]), scratch)
        runs["encoder"] = train_encoder("encoder", False)
        runs["encoder_lora"] = train_encoder("encoder_lora", True)
        with open(os.path.join(GOLDEN, "reward.json"), "w") as out:
            json.dump(runs, out, separators=(",", ":"))
            out.write("\n")
        ours_in_theirs(scratch)
