"""Writes tests/golden/reward.json, reward_*.safetensors, tiny_reward and tiny_reward_lora (run by `make parity`).

Ten optimiser steps of TRL's RewardTrainer (transformers' Trainer and peft underneath) on the tiny Llama of
make_training_goldens.py, full and LoRA: AdamW with weight decay, warmup and a schedule, clipping, accumulation, margins
in one run, the centring coefficient in the other. What is stored: the pairs of every micro-batch as tokens, losses and
TRL's metrics, gradient norms, the head before, all parameters after, and the folders that save_pretrained writes with the
rewards that transformers gives for texts. Then the other way round: what `candor lm reward` trains and writes is loaded by
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
from peft import LoraConfig, PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer
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
    for kind, flags in (("model", []), ("adapter", ["--use-peft", "--lora-r", "4", "--lora-target-modules", "all-linear"])):
        folder = os.path.join(scratch, kind)
        candor("--model", FOLDER, "--data", data, "--max-steps", "4", "--learning-rate", "1e-2", "--threads", "1",
               "--features", "prompt_completion", "--output", folder, *flags)
        folder = os.path.join(folder, kind)
        if kind == "model":
            model = load(folder)
        else:
            base = AutoModelForSequenceClassification.from_pretrained(FOLDER, dtype=torch.float32, num_labels=1)
            model = PeftModel.from_pretrained(base, folder).eval()
        theirs = torch.tensor(rewards_of(model, FOLDER))
        scored = candor("--score-with", folder, "--scale", "logit", *(["--model", FOLDER] if kind == "adapter" else []), text=lines)
        ours = torch.tensor([json.loads(line)["reward"] for line in scored.splitlines()])
        assert (ours - theirs).abs().max() < 1e-4, (kind, ours, theirs)
        assert theirs.std() > 1e-2, "all rewards alike"
        print(f"lm reward: {kind} in transformers and here differ by {(ours - theirs).abs().max():.1e}")


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
        with open(os.path.join(GOLDEN, "reward.json"), "w") as out:
            json.dump(runs, out, separators=(",", ":"))
            out.write("\n")
        ours_in_theirs(scratch)
