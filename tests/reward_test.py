"""candor lm reward on a whole model: killed at every crash point and resumed, it ends in the bytes of a run that was left
alone; Ctrl-C leaves a checkpoint; another run's checkpoint is refused."""
import filecmp
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

CANDOR = sys.argv[1]
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
SEED = int(os.environ.get("CANDOR_TEST_SEED", "20261125"))
DECODER = ["--model", GOLDEN / "tiny_llama"]
ENCODER = ["--train-encoder", "--encoder", GOLDEN / "tiny_bert"]
WORDS = "the cat sat on a mat and dog ran to his big red ball".split()


def write_pairs(path):
    rng = random.Random(7)
    with path.open("w") as out:
        for i in range(60):
            words = [rng.choice(WORDS) for _ in range(rng.randint(3, 7))]
            pair = {"prompt": f"say {i}", "chosen": " ".join(words), "rejected": " ".join(reversed(words)) + " no"}
            out.write(json.dumps(pair) + "\n")


def command(work, out, flags):
    options = {"--data": work / "pairs.jsonl", "--output": out, "--per-device-train-batch-size": 4,
               "--gradient-accumulation-steps": 2, "--learning-rate": 1e-3, "--num-train-epochs": 2, "--eval-steps": 3,
               "--logging-steps": 3, "--save-steps": 2, "--threads": 2, "--seed": 3}
    for flag in [f for f in flags if f in options]:  # what is given replaces what is here
        del options[flag]
    return [CANDOR, "lm", "reward", "--quiet", *(str(w) for item in options.items() for w in item), *map(str, flags)]


def reward(work, out, flags, env=None):
    return subprocess.run(command(work, out, flags), capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=300)


def expect(condition, what):
    if not condition:
        print(f"FAILED (seed {SEED}): {what}")
        sys.exit(1)


def tree(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


def same(left, right):
    return tree(left) == tree(right) and all(filecmp.cmp(left / p, right / p, shallow=False) for p in tree(left))


def kill_and_resume(work, flags):
    reference, log, out, checkpoints = (work / name for name in ("reference", "points.log", "killed", "killed.checkpoints"))
    first = reward(work, reference, flags, env={"CANDOR_CRASH_LOG": str(log)})
    expect(first.returncode == 0, f"the first run: {first.stderr}")
    expect(not (work / "reference.checkpoints").exists(), "a finished run leaves no checkpoints")
    passages = log.read_text().split()
    points = sorted(set(passages))
    expect({"reward.after_step", "reward.before_checkpoint", "reward.after_checkpoint", "safetensors.before_rename",
            "commit.before_rename"} <= set(points), f"{points}")
    rng = random.Random(SEED)
    for point in points:
        passage = rng.randint(1, passages.count(point))
        killed = reward(work, out, flags, env={"CANDOR_CRASH_AT": f"{point}:{passage}"})
        expect(killed.returncode == -9, f"{point}:{passage} did not kill: {killed.returncode} {killed.stderr}")
        if not out.exists():
            if (checkpoints / "reward.safetensors").exists():
                refused = reward(work, out, flags)
                expect(refused.returncode == 3 and "--resume" in refused.stderr, f"begun anew over checkpoints: {refused.stderr}")
                other = reward(work, out, [*flags, "--resume", "--weight-decay", 0.5])
                expect(other.returncode == 3 and "another run" in other.stderr, f"another run's checkpoint: {other.stderr}")
            again = reward(work, out, [*flags, "--resume"])
            expect(again.returncode == 0, f"{point}:{passage}: {again.stderr}")
        expect(same(reference, out), f"{point}:{passage}: {tree(reference)} and {tree(out)}")
        shutil.rmtree(out)
        shutil.rmtree(checkpoints, ignore_errors=True)
    changed = work / "changed"
    expect(reward(work, changed, [*flags, "--weight-decay", 0.5]).returncode == 0 and not same(reference, changed),
           "the comparison sees a difference")
    for folder in (reference, changed):
        shutil.rmtree(folder)
    log.unlink()


def stop_and_resume(work, flags):
    """Ctrl-C, without --save-steps: the checkpoint is the one of the interruption."""
    slow = [*flags, "--num-train-epochs", 40, "--early-stopping-patience", 0, "--save-steps", 0]
    reference, out, checkpoints = work / "reference", work / "stopped", work / "stopped.checkpoints"
    began = time.monotonic()
    expect(reward(work, reference, slow).returncode == 0, "the run left alone")
    whole = time.monotonic() - began
    process = subprocess.Popen(command(work, out, slow), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.6 * whole)
    process.send_signal(signal.SIGINT)
    message = process.communicate()[1]
    expect(process.returncode in (0, 130), f"Ctrl-C: {process.returncode} {message}")
    if process.returncode == 130:
        expect((checkpoints / "reward.safetensors").exists(), "Ctrl-C leaves a checkpoint")
        again = reward(work, out, [*slow, "--resume"])
        expect(again.returncode == 0, f"after Ctrl-C: {again.stderr}")
    expect(same(reference, out), f"stopped: {tree(reference)} and {tree(out)}")
    for folder in (reference, out):
        shutil.rmtree(folder)


with tempfile.TemporaryDirectory() as scratch:
    root = pathlib.Path(scratch)
    write_pairs(root / "pairs.jsonl")
    kill_and_resume(root, DECODER)
    kill_and_resume(root, [*DECODER, "--use-peft", "--lora-r", 4, "--lora-dropout", 0.1])
    kill_and_resume(root, ENCODER)
    stop_and_resume(root, DECODER)
    head = reward(root, root / "head", ["--resume"])
    expect(head.returncode == 2 and "--train-encoder" in head.stderr, f"--resume of a head: {head.stderr}")
