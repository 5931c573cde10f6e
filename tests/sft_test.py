"""candor lm sft, killed at every crash point and resumed, ends in the bytes of a run that was left alone."""
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
SEED = int(os.environ.get("CANDOR_TEST_SEED", "20261124"))


def command(out, *extra, data=GOLDEN / "training_records.jsonl", without=None):
    options = {"--model": GOLDEN / "tiny_llama", "--data": data, "--eval-data": GOLDEN / "training_records.jsonl",
               "--output": out, "--max-length": 64, "--per-device-train-batch-size": 2,
               "--gradient-accumulation-steps": 2, "--learning-rate": 3e-3, "--num-train-epochs": 2,
               "--early-stopping-patience": 2, "--eval-steps": 3, "--logging-steps": 3, "--save-steps": 2,
               "--threads": 2}
    flags = []
    for i, word in enumerate(extra):  # what is given replaces what is here
        if word in options:
            options[word] = extra[i + 1]
        elif extra[i - 1] not in options or i == 0:
            flags.append(word)
    options.pop(without, None)
    return [CANDOR, "lm", "sft", "--quiet", *(str(word) for item in options.items() for word in item), *flags]


def sft(out, *extra, env=None, **changes):
    return subprocess.run(command(out, *extra, **changes), capture_output=True, text=True,
                          env={**os.environ, **(env or {})}, timeout=120)


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


def wait_for_steps(out, count, process):
    """Until metrics.jsonl has that many lines, or the run ends."""
    while process.poll() is None:
        try:
            if (out / "metrics.jsonl").read_text().count("\n") >= count:
                return
        except FileNotFoundError:
            pass
        time.sleep(0.002)


def stop_and_resume(work, flags):
    """Killed at arbitrary moments, again and again in one folder; then stopped by Ctrl-C."""
    reference, out = work / "reference", work / "stopped"
    slow = [*flags, "--num-train-epochs", "9", "--early-stopping-patience", "0"]
    began = time.monotonic()
    expect(sft(reference, *slow).returncode == 0, "the run left alone")
    whole = time.monotonic() - began
    rng = random.Random(SEED + 1)
    for attempt in range(4):
        process = subprocess.Popen(command(out, *slow, "--resume"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(rng.uniform(0.3, 0.9) * whole)
        process.kill()
        process.communicate()
        if (out / "adapter").exists() or (out / "model").exists():
            shutil.rmtree(out)  # it was faster than the clock: kill another
    (out / "metrics.jsonl").unlink(missing_ok=True)  # the checkpoint holds its lines; when it is there again, training runs
    process = subprocess.Popen(command(out, *slow, "--resume"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_steps(out, 2, process)
    process.send_signal(signal.SIGINT)
    message = process.communicate()[1]
    expect(process.returncode in (0, 130), f"Ctrl-C: {process.returncode} {message}")
    if process.returncode == 130:
        expect((out / "checkpoint.safetensors").exists(), "Ctrl-C leaves a checkpoint")
        other = sft(out, *slow, "--learning-rate", "1e-4", "--resume")
        expect(other.returncode == 3 and "other settings" in other.stderr, f"another run's checkpoint: {other.stderr}")
        again = sft(out, *slow, "--resume")
        expect(again.returncode == 0, f"after Ctrl-C: {again.stderr}")
    expect(same(reference, out), f"stopped at arbitrary moments: {tree(reference)} and {tree(out)}")
    finished = sft(out, *slow, "--resume")
    expect(finished.returncode == 3 and "finished" in finished.stderr, f"a finished run: {finished.stderr}")
    expect(not same(reference, work / "none"), "the comparison sees a difference")


def same_beside_others(work):
    """Sixteen runs while the machine is busy: MKL's first calls raced there, and one run in ten ended in other bytes."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() // 2)]
    try:
        first = work / "first"
        expect(sft(first).returncode == 0, "a run beside others")
        for i in range(15):
            again = work / "again"
            expect(sft(again).returncode == 0 and same(first, again), f"run {i + 2} beside others ends in other bytes")
            shutil.rmtree(again)
        shutil.rmtree(first)
    finally:
        for process in busy:
            process.kill()


def default_length(work):
    """Without --max-length records are cut to the model's context, where that is below 1024."""
    context = json.loads((GOLDEN / "tiny_llama" / "config.json").read_text())["max_position_embeddings"]
    left, right = work / "default", work / "given"
    for out, run in ((left, sft(left, without="--max-length")), (right, sft(right, "--max-length", context))):
        expect(run.returncode == 0, f"{out.name} length: {run.stderr}")
    expect(context < 1024 and same(left, right), "the default length is not the model's context")


def refused(run, code, part, what, left=None):
    expect(run.returncode == code and part in run.stderr, f"{what}: {run.returncode} {run.stderr}")
    expect(left is None or not left.exists(), f"{what}: leaves {left}")


def errors(work):
    out = work / "out"
    refused(sft(out, without="--eval-data"), 3, "early_stopping_patience", "no evaluation data", out)
    refused(sft(out, data=work / "none.jsonl"), 3, "none.jsonl", "missing data", out)
    bad = work / "bad.jsonl"
    bad.write_text('{"prompt":"a","completion":"b"}\n{"question":"a"}\n')
    refused(sft(out, data=bad), 3, "bad.jsonl:2", "a record without its fields", out)
    bad.write_text('{"prompt":"a","completion":"b"}\n{"prompt":"a"\n')
    refused(sft(out, data=bad), 3, "bad.jsonl:2", "not JSON", out)
    bad.write_text("")
    refused(sft(out, data=bad), 3, "bad.jsonl", "no records", out)
    refused(sft(out, "--learning-rate", "-1"), 2, "--learning-rate", "a negative rate")
    refused(sft(out, "--lr-scheduler-type", "step"), 2, "step", "an unknown schedule")
    refused(sft(out, "--max-length", "4096"), 3, "max_length", "longer than the context", out)
    refused(sft(out, "--use-peft", "--lora-target-modules", "lm_head"), 3, "lm_head", "an unknown module", out)
    refused(sft(out, "--learning-rate", "1e30"), 3, "a smaller learning rate", "an infinite loss", out)
    taken = work / "taken"
    taken.mkdir()
    (taken / "file").write_text("")
    refused(sft(taken), 3, "not an empty folder", "an output folder that is not empty")
    empty = work / "empty"
    empty.mkdir()
    bad.write_text('{"question":"a"}\n')
    refused(sft(empty, data=bad), 3, "bad.jsonl:1", "bad data, into an empty folder")
    expect(empty.exists() and not tree(empty), "an empty folder that was there stays, and empty")
    def merge(*more):
        model = [] if "--model" in more else ["--model", GOLDEN / "tiny_llama"]
        return subprocess.run([CANDOR, "lm", "merge", *model, *more], capture_output=True, text=True)

    refused(merge("--output", taken), 3, "not an empty folder", "lm merge into a folder that is not empty")
    expect(tree(taken) == [pathlib.Path("file")], "lm merge wrote into that folder")
    refused(merge("--output", work / "merged", "--adapter", GOLDEN / "lora_a"), 3, "model.layers", "another model's adapter")
    expect(not (work / "merged").exists(), "a failed merge leaves its folder")
    gguf = (GOLDEN / "tiny_llama.gguf").read_bytes()
    expect(gguf.count(b"gpt-2") == 1, "the pre-tokenizer's name")
    (work / "qwen2.gguf").write_bytes(gguf.replace(b"gpt-2", b"qwen2"))
    refused(merge("--output", work / "merged", "--model", work / "qwen2.gguf"), 3, '"qwen2" cannot be written',
            "a pre-tokenizer that tokenizer.json is not written for")
    done = merge("--output", work / "merged", "--adapter", GOLDEN / "tiny_lora")
    expect(done.returncode == 0 and (work / "merged" / "model.safetensors").exists(), f"lm merge: {done.stderr}")


with tempfile.TemporaryDirectory() as scratch:
    root = pathlib.Path(scratch)
    lora = ["--use-peft", "--lora-r", "4", "--lora-dropout", "0.1"]
    kill_and_resume(root, lora)
    kill_and_resume(root, [])
    stop_and_resume(root, lora)
    same_beside_others(root)
    default_length(root)
    errors(root)
print("sft: fine")
