"""candor lm sft, killed at every crash point and resumed, ends in the bytes of a run that was left alone."""
import filecmp
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

CANDOR = sys.argv[1]
GOLDEN = pathlib.Path(__file__).resolve().parent / "golden"
SEED = int(os.environ.get("CANDOR_TEST_SEED", "20261124"))


def sft(out, *extra, env=None):
    return subprocess.run(
        [CANDOR, "lm", "sft", "--model", GOLDEN / "tiny_llama", "--data", GOLDEN / "training_records.jsonl",
         "--eval-data", GOLDEN / "training_records.jsonl", "--output", out, "--max-length", "64",
         "--per-device-train-batch-size", "2", "--gradient-accumulation-steps", "2", "--learning-rate", "3e-3",
         "--num-train-epochs", "2", "--early-stopping-patience", "2", "--eval-steps", "3", "--logging-steps", "2",
         "--save-steps", "2", "--threads", "2", "--quiet", *map(str, extra)],
        capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=120)


def expect(condition, what):
    if not condition:
        print(f"FAILED (seed {SEED}): {what}")
        sys.exit(1)


def tree(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())


def same(left, right):
    return tree(left) == tree(right) and all(filecmp.cmp(left / p, right / p, shallow=False) for p in tree(left))


def kill_and_resume(work, flags):
    reference, log = work / "reference", work / "points.log"
    first = sft(reference, *flags, env={"CANDOR_CRASH_LOG": str(log)})
    expect(first.returncode == 0, f"the first run: {first.stderr}")
    passages = log.read_text().split()
    points = sorted(set(passages))
    expect({"sft.after_step", "sft.before_checkpoint", "safetensors.before_rename", "sft.after_checkpoint",
            "commit.before_rename"} <= set(points), f"crash points: {points}")
    rng = random.Random(SEED)
    plans = [(point, rng.randint(1, passages.count(point))) for point in points]
    for point, passage in plans:
        out = work / "killed"
        killed = sft(out, *flags, env={"CANDOR_CRASH_AT": f"{point}:{passage}"})
        expect(killed.returncode == -9, f"{point}:{passage} did not kill: {killed.returncode} {killed.stderr}")
        if not (out / "adapter").exists() and not (out / "model").exists():
            again = sft(out, *flags, "--resume")
            expect(again.returncode == 0, f"{point}:{passage}: {again.stderr}")
        (out / "checkpoint.safetensors").unlink(missing_ok=True)  # killed between the last two files
        expect(same(reference, out), f"{point}:{passage}: {tree(reference)} and {tree(out)}")
        shutil.rmtree(out)
    shutil.rmtree(reference)
    log.unlink()


def errors(work):
    missing = sft(work / "x", "--eval-data", work / "none.jsonl")
    expect(missing.returncode == 3, f"missing data: {missing.returncode}")
    bad = work / "bad.jsonl"
    bad.write_text('{"prompt":"a","completion":"b"}\n{"question":"a"}\n')
    found = sft(work / "y", "--data", bad)
    expect(found.returncode in (2, 3), f"two --data: {found.returncode}")
    taken = work / "taken"
    taken.mkdir()
    (taken / "file").write_text("")
    expect(sft(taken).returncode == 3, "an output folder that is not empty")


with tempfile.TemporaryDirectory() as scratch:
    kill_and_resume(pathlib.Path(scratch), ["--use-peft", "--lora-r", "4", "--lora-dropout", "0.1"])
    kill_and_resume(pathlib.Path(scratch), [])
    errors(pathlib.Path(scratch))
print("sft: fine")
