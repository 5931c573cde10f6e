#!/usr/bin/env python3
"""One optimiser step on 8 x 128 tokens of a 135M Llama against transformers, interleaved in one run; prints one
JSON record (tokens a second, and processor seconds of all threads for one step; medians).

    python bench/train_step.py build/full/bench/train_step MODEL_FOLDER [--python build/parity-env/bin/python] [--rounds 1]

MODEL_FOLDER: f32 weights, from `candor lm merge --dtype f32`. --python: an environment with torch and transformers
as tools/make_goldens.sh pins them. The peer's step: forward with its own loss, backward, clipping, AdamW (fused),
in f32 and under bf16 autocast; the faster of them counts. The first step of every process warms up.
"""
import argparse
import json
import statistics
import subprocess

PEER = r"""
import json, statistics, sys, time
import torch, transformers
torch.set_num_threads(int(sys.argv[2]))
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
size = model.config.vocab_size
ids = torch.tensor([[(s * 7919 + t * 104729) % size for t in range(128)] for s in range(8)])
spans, used = [], []
for step in range(int(sys.argv[4]) + 1):
    start, before = time.perf_counter(), time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=sys.argv[3] == "bf16"):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    spans.append(time.perf_counter() - start)
    used.append(time.process_time() - before)
print(json.dumps({"tokens_per_s": 1024 / statistics.median(spans[1:]), "processor_s": statistics.median(used[1:]),
                  "transformers": transformers.__version__, "torch": torch.__version__}))
"""
SIDES = ("full", "lora", "transformers_f32", "transformers_bf16")


def last_json(command):
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("probe")
    parser.add_argument("model")
    parser.add_argument("--python", default="build/parity-env/bin/python")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    times = {side: [] for side in SIDES}
    processor = {side: [] for side in SIDES}
    versions = {}
    for _ in range(options.rounds):
        for side in SIDES:
            if side in ("full", "lora"):
                found = last_json([options.probe, options.model, side, "bf16", str(options.steps)])
            else:
                found = last_json([options.python, "-c", PEER, options.model, "2", side.split("_")[1], "1"])
                versions = {name: found[name] for name in ("transformers", "torch")}
            times[side].append(found["tokens_per_s"])
            processor[side].append(found["processor_s"])
    medians = {side: round(statistics.median(values), 1) for side, values in times.items()}
    peer = max(medians["transformers_f32"], medians["transformers_bf16"])
    print(json.dumps({"bench": "train_step", "threads": 2, "rounds": options.rounds, **versions, **medians,
                      "full_over_peer": round(medians["full"] / peer, 2), "goal_full": 5,
                      "lora_over_full": round(medians["lora"] / medians["full"], 2), "goal_lora": 1.4,
                      "processor_s": {side: round(statistics.median(values), 2) for side, values in processor.items()}}))


main()
