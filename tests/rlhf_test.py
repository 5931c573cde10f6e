"""candor lm rlhf as a command, on stories260k: every weight trained; checkpointed gradients; killed at every crash point and
resumed to the bytes of a run that was left alone."""
import filecmp
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile

CANDOR = sys.argv[1]
STORIES = pathlib.Path(__file__).resolve().parent.parent / "examples" / "data" / "stories260k"
SEED = int(os.environ.get("CANDOR_TEST_SEED", "20261125"))
# Depends on the machine, not on the run (docs/formats.md).
UNEQUAL = {"timings.jsonl", "events.out.tfevents.candor"}


def rlhf(work, out, *extra, env=None):
    prompts = work / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in ["Once upon a time", "The dog was", "Lily saw a big"]))
    options = {"--model": STORIES, "--prompts": prompts, "--output": out, "--reward": "brevity:4", "--total-steps": 4,
               "--num-generations": 2, "--per-device-train-batch-size": 4, "--gradient-accumulation-steps": 1, "--max-new-tokens": 6,
               "--learning-rate": 1e-3, "--lora-r": 4, "--save-steps": 1, "--threads": 2, "--seed": 5}
    flags = []
    for i, word in enumerate(extra):  # what is given replaces what is here
        if word in options:
            options[word] = extra[i + 1]
        elif i == 0 or extra[i - 1] not in options:
            flags.append(word)
    command = [CANDOR, "lm", "rlhf", "--quiet", *(word for item in options.items() for word in item), *flags]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=120)


def expect(condition, what):
    if not condition:
        print(f"FAILED (seed {SEED}): {what}")
        sys.exit(1)


def tree(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and p.name not in UNEQUAL)


def same(left, right):
    return tree(left) == tree(right) and all(filecmp.cmp(left / p, right / p, shallow=False) for p in tree(left))


def tensors(file):
    """Name -> floats of an f32 safetensors file."""
    data = file.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F32", entry
        out[name] = struct.unpack(f"<{(end - begin) // 4}f", data[8 + size + begin:8 + size + end])
    return out


def score(model, *extra):
    line = json.dumps({"prompt": "Once upon a time", "completion": ", there was a dog"}) + "\n"
    result = subprocess.run([CANDOR, "lm", "score", "--model", str(model), *map(str, extra)], input=line, capture_output=True, text=True)
    expect(result.returncode == 0, f"lm score of {model}: {result.stderr}")
    return json.loads(result.stdout)["logprob"]


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def every_weight(work):
    out = work / "full"
    run = rlhf(work, out, "--full", "--kl-coefficient", 0.1)
    expect(run.returncode == 0, f"--full: {run.stderr}")
    expect((out / "model" / "model.safetensors").exists() and not (out / "adapter").exists(), f"--full writes {tree(out)}")
    steps = metrics(out)
    expect(len(steps) == 4 and abs(steps[0]["objective/kl"]) < 1e-6, f"the policy begins at the reference: {steps[0]}")
    expect(abs(steps[-1]["objective/kl"]) > 1e-4, f"the policy leaves it, the reference stays: {steps[-1]}")
    before, after = tensors(STORIES / "model.safetensors"), tensors(out / "model" / "model.safetensors")
    expect(set(after) == set(before), "other tensors than the model's")
    still = [name for name in before if before[name] == after[name]]
    expect(not still, f"weights that did not move: {still}")
    largest = max(abs(a - b) for name in before for a, b in zip(before[name], after[name]))
    expect(largest < 4 * 1.5e-3, f"four steps of AdamW at 1e-3 moved a weight by {largest}")
    expect(score(out / "model") != score(STORIES), "the written model is the base")
    # The first step's gradient is the same whether all weights are trained or a reference is kept twice: reward and
    # entropy of the first replies are those of the LoRA run, whose policy also begins at the base.
    lora = work / "lora"
    expect(rlhf(work, lora, "--kl-coefficient", 0.1).returncode == 0, "a LoRA run")
    for key in ["objective/scores", "objective/entropy", "completions/mean_length"]:
        expect(abs(metrics(lora)[0][key] - steps[0][key]) < 1e-6, f"{key} of the first step")
    expect(metrics(lora)[-1] != steps[-1], "LoRA and full training are two things")
    resumed = work / "full_killed"
    killed = rlhf(work, resumed, "--full", "--kl-coefficient", 0.1, env={"CANDOR_CRASH_AT": "rlhf.before_update:3"})
    expect(killed.returncode == -9, f"--full was not killed: {killed.returncode}")
    again = rlhf(work, resumed, "--full", "--kl-coefficient", 0.1, "--resume")
    expect(again.returncode == 0 and same(out, resumed), f"--full, killed and resumed: {again.stderr}")


def checkpointing(work):
    for flags in ([], ["--full"], ["--algorithm", "ppo"]):
        plain, saved = work / "plain", work / "saved"
        expect(rlhf(work, plain, *flags).returncode == 0, f"{flags}")
        expect(rlhf(work, saved, *flags, "--gradient-checkpointing").returncode == 0, f"{flags} --gradient-checkpointing")
        expect((plain / "metrics.jsonl").read_text() == (saved / "metrics.jsonl").read_text(), f"{flags}: checkpointing changes metrics")
        weights = next(p for p in tree(plain) if p.suffix == ".safetensors")
        expect(filecmp.cmp(plain / weights, saved / weights, shallow=False), f"{flags}: checkpointing changes {weights}")
        for folder in (plain, saved):
            shutil.rmtree(folder)


def kill_and_resume(work, flags):
    reference, log = work / "reference", work / "points.log"
    first = rlhf(work, reference, *flags, env={"CANDOR_CRASH_LOG": str(log)})
    expect(first.returncode == 0, f"the first run: {first.stderr}")
    passages = log.read_text().split()
    points = sorted(set(passages))
    expect({"rlhf.before_update", "rlhf.before_checkpoint", "rlhf.after_checkpoint", "commit.before_rename"} <= set(points), f"{points}")
    rng = random.Random(SEED)
    for point in points:
        passage = rng.randint(1, passages.count(point))
        out = work / "killed"
        killed = rlhf(work, out, *flags, env={"CANDOR_CRASH_AT": f"{point}:{passage}"})
        expect(killed.returncode == -9, f"{point}:{passage} did not kill: {killed.returncode} {killed.stderr}")
        if not out.exists():
            if (work / "killed.checkpoints").exists():
                refused = rlhf(work, out, *flags)
                expect(refused.returncode == 3 and "--resume" in refused.stderr, f"{point}: begun anew over checkpoints: {refused.stderr}")
                other = rlhf(work, out, *flags, "--resume", "--learning-rate", 1e-4)
                if (work / "killed.checkpoints" / "rlhf.safetensors").exists():
                    expect(other.returncode == 3, f"{point}: another run's checkpoint: {other.returncode}")
                shutil.rmtree(out, ignore_errors=True)
            again = rlhf(work, out, *flags, "--resume")
            expect(again.returncode == 0, f"{point}:{passage}: {again.stderr}")
        expect(same(reference, out), f"{point}:{passage}: other bytes than a run left alone: {tree(reference)} and {tree(out)}")
        shutil.rmtree(out)
        shutil.rmtree(work / "killed.checkpoints", ignore_errors=True)
    changed = work / "changed"
    expect(rlhf(work, changed, *flags, "--learning-rate", 2e-3).returncode == 0 and not same(reference, changed),
           "the comparison sees a difference")
    for folder in (reference, changed):
        shutil.rmtree(folder)
    log.unlink()


with tempfile.TemporaryDirectory() as scratch:
    root = pathlib.Path(scratch)
    every_weight(root)
    checkpointing(root)
    kill_and_resume(root, [])
    kill_and_resume(root, ["--algorithm", "ppo", "--num-generations", "1", "--num-mini-batches", "2", "--per-device-train-batch-size", "2"])
print("rlhf: fine")
