#!/usr/bin/env python3
"""One RLOO step (8 prompts x 4 replies x 48 new tokens, LoRA r = 64 on q_proj and v_proj) against TRL's
RLOOTrainer on the same model folder; prints one JSON record.

    python bench/rloo_step.py build/full/bench/rloo_step MODEL_FOLDER [--python build/parity-env/bin/python] [--steps 2]

MODEL_FOLDER: f32 weights, from `candor lm merge --dtype f32`. --python: an environment with torch, transformers,
peft and trl as tools/make_goldens.sh pins them. Both sides draw at temperature 1 without top-k, learn with
kl_coefficient 0.05 and reward the reply's length. The first step of either side warms up and is not counted.
"""
import argparse
import json
import subprocess

PROMPTS = [f"Chapter 1. The long history of {topic} in the north began when" for topic in
           ("rivers", "trade", "winter", "music", "bread", "maps", "glass", "horses")]
PEER = r"""
import json, statistics, sys, time
import torch, transformers, trl
from datasets import Dataset
from peft import LoraConfig
from trl import RLOOConfig, RLOOTrainer
transformers.logging.set_verbosity_error()
torch.set_num_threads(int(sys.argv[3]))
steps, bf16, prompts = int(sys.argv[2]), sys.argv[4] == "bf16", json.loads(sys.argv[5])
marks, lengths = [], []
class Clock(transformers.TrainerCallback):
    def on_step_end(self, args, state, control, **rest):
        marks.append(time.perf_counter())
def reward(completions, completion_ids, **rest):
    lengths.append(sum(map(len, completion_ids)) / len(completion_ids))
    return [float(len(text)) for text in completions]
args = RLOOConfig(output_dir=sys.argv[6], per_device_train_batch_size=8, gradient_accumulation_steps=4, num_generations=4,
                  max_completion_length=48, temperature=1.0, top_k=0, beta=0.05, max_steps=steps + 1, learning_rate=5e-5,
                  bf16=bf16, gradient_checkpointing=False, use_cpu=True, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True)
trainer = RLOOTrainer(sys.argv[1], reward, args, Dataset.from_dict({"prompt": prompts * 8}),
                      peft_config=LoraConfig(r=64, lora_alpha=128, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
                      callbacks=[Clock()])
trainer.train()
spans = [b - a for a, b in zip(marks, marks[1:])]
print(json.dumps({"seconds": statistics.median(spans), "reply_tokens": lengths[-1], "trl": trl.__version__,
                  "transformers": transformers.__version__, "torch": torch.__version__}))
"""


def last_json(command):
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("probe")
    parser.add_argument("model")
    parser.add_argument("--python", default="build/parity-env/bin/python")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scratch", default="build/rloo_step")
    options = parser.parse_args()
    common = [options.model, str(options.steps), str(options.threads)]
    record = {"bench": "rloo_step", "threads": options.threads, "steps": options.steps,
              "candor": last_json([options.probe, *common, *PROMPTS])}
    for kind in ("f32", "bf16"):
        record[f"trl_{kind}"] = last_json([options.python, "-c", PEER, *common, kind, json.dumps(PROMPTS), options.scratch])
    best = min(record["trl_f32"]["seconds"], record["trl_bf16"]["seconds"])
    record["ratio"] = round(best / record["candor"]["seconds"], 2)
    record["goal"] = 6
    print(json.dumps(record))


main()
