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
        expect(other.returncode == 3 and "learning_rate is 0.003 there and 0.0001 here" in other.stderr, f"another run's checkpoint: {other.stderr}")
        again = sft(out, *slow, "--resume")
        expect(again.returncode == 0, f"after Ctrl-C: {again.stderr}")
    expect(same(reference, out), f"stopped at arbitrary moments: {tree(reference)} and {tree(out)}")
    finished = sft(out, *slow, "--resume")
    expect(finished.returncode == 3 and "finished" in finished.stderr, f"a finished run: {finished.stderr}")
    expect(not same(reference, work / "none"), "the comparison sees a difference")


def contents(folder):
    return {path: (folder / path).read_bytes() for path in tree(folder)}


def another_runs_checkpoint(work):
    """--resume with anything else than the run was made with ends with 3, names it, and leaves every byte alone."""
    out, reference = work / "stopped", work / "reference"
    data, model = work / "data.jsonl", work / "model"
    records = (GOLDEN / "training_records.jsonl").read_text()
    shutil.copytree(GOLDEN / "tiny_llama", model)
    data.write_text(records)
    base = ["--model", model, "--eval-data", data, "--lora-r", "4", "--lora-alpha", "8", "--lora-dropout", "0.1"]
    expect(sft(reference, *base, data=data).returncode == 0, "the run left alone")
    killed = sft(out, *base, data=data, env={"CANDOR_CRASH_AT": "sft.after_checkpoint:1"})
    expect(killed.returncode == -9, f"not killed: {killed.returncode} {killed.stderr}")
    before = contents(out)
    changes = [
        (["--lora-alpha", "800"], "settings.model.lora.lora_alpha is 8.0 there and 800.0 here"),
        (["--lora-r", "5"], "settings.model.lora.r is 4 there and 5 here"),
        (["--lora-dropout", "0.2"], "settings.model.lora.lora_dropout is 0.1 there and 0.2 here"),
        (["--lora-target-modules", "k_proj"], "settings.model.lora.target_modules"),
        (["--learning-rate", "2e-3"], "settings.sft.learning_rate"), (["--max-length", "63"], "settings.sft.max_length"),
        (["--per-device-train-batch-size", "1"], "settings.sft.per_device_train_batch_size"),
        (["--gradient-accumulation-steps", "1"], "settings.sft.gradient_accumulation_steps"),
        (["--num-train-epochs", "3"], "settings.sft.num_train_epochs"), (["--max-steps", "9"], "settings.sft.max_steps"),
        (["--no-packing"], "settings.sft.packing is true there and false here"),
        (["--lr-scheduler-type", "cosine"], "settings.sft.lr_scheduler_type"), (["--warmup-ratio", "0.1"], "settings.sft.warmup_ratio"),
        (["--weight-decay", "0.1"], "settings.sft.weight_decay"), (["--max-grad-norm", "2"], "settings.sft.max_grad_norm"),
        (["--logging-steps", "1"], "settings.sft.logging_steps"), (["--save-steps", "3"], "settings.sft.save_steps"),
        (["--eval-steps", "1"], "settings.sft.eval_steps"), (["--early-stopping-patience", "1"], "settings.sft.early_stopping_patience"),
        (["--seed", "2"], ".seed is 1 there and 2 here"), (["--threads", "1"], "machine.threads is 2 there and 1 here"),
        (["--bf16"], 'settings.model.arithmetic is "f32" there and "bf16" here'),
        (["--gradient-checkpointing"], "settings.model.gradient_checkpointing"),
        (["--model-dtype", "bf16"], "inputs.model_dtype"), (["--adapter", GOLDEN / "tiny_lora"], "inputs.adapter is none there"),
        (["--model", GOLDEN / "tiny_llama"], None),  # the same bytes in another place are the same model
    ]
    for change, part in changes:
        arguments = list(base)
        for word in change[::2]:
            if word in arguments:
                del arguments[arguments.index(word):arguments.index(word) + 2]
        if "--adapter" in change:  # its own rank and scale count
            arguments = [word for word in base[:4]]
        if part is None:
            continue
        other = sft(out, *arguments, *change, "--resume", data=data)
        expect(other.returncode == 3 and "is another run's checkpoint" in other.stderr and part in other.stderr, f"{change}: {other.returncode} {other.stderr}")
        expect(contents(out) == before, f"{change}: files have changed")
    for file, part in ((data, "inputs."), (model / "tokenizer.json", "inputs.model")):
        kept = file.read_text()
        file.write_text(kept + "\n" if file != data else kept.splitlines()[0] + "\n" + kept)
        other = sft(out, *base, "--resume", data=data)
        expect(other.returncode == 3 and part in other.stderr, f"another {file.name}: {other.returncode} {other.stderr}")
        expect(contents(out) == before, f"another {file.name}: files have changed")
        file.write_text(kept)
    full = sft(out, "--model", model, "--eval-data", data, "--resume", data=data)
    expect(full.returncode == 3 and "settings.model.lora is {" in full.stderr, f"LoRA's checkpoint for all weights: {full.stderr}")
    again = sft(out, *base, "--resume", data=data)
    expect(again.returncode == 0 and same(reference, out), f"its own run: {again.stderr}")
    damaged = work / "damaged"
    damaged.mkdir()
    (damaged / "checkpoint.safetensors").write_bytes(b"no tensors")
    refused(sft(damaged, *base, "--resume", data=data), 3, "checkpoint.safetensors", "a file that is no checkpoint")
    foreign = work / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    refused(sft(foreign, *base, "--resume", data=data), 3, "no file of a stopped run", "a folder of something else")
    expect(tree(foreign) == [pathlib.Path("notes.txt")], "a folder of something else is left alone")


def adapters(work):
    """Any LoRA flag asks for an adapter, which names its base, its dropout and its rank."""
    for i, (flags, dropout) in enumerate([(["--lora-r", "4"], 0.05), (["--lora-alpha", "8", "--lora-dropout", "0"], 0), (["--use-peft", "--lora-dropout", "0.25"], 0.25),
                                          (["--lora-target-modules", "q_proj"], 0.05)]):
        out = work / f"lora{i}"
        run = sft(out, *flags)
        expect(run.returncode == 0 and (out / "adapter").exists() and not (out / "model").exists(), f"{flags}: {run.returncode} {run.stderr}")
        config = json.loads((out / "adapter" / "adapter_config.json").read_text())
        expect(config["lora_dropout"] == dropout, f"{flags}: {config}")
        expect(config["base_model_name_or_path"] == str(GOLDEN / "tiny_llama"), f"the base as it was named: {config}")
        expect(config["r"] == (4 if "--lora-r" in flags else 64), f"{flags}: {config}")
    out = work / "none"
    refused(sft(out, "--lora-r", "4", "--full"), 2, "--lora-r: sets a LoRA adapter; --full trains every weight", "LoRA's rank of no LoRA", out)
    refused(sft(out, "--use-peft", "--full"), 2, "--full", "both ways at once", out)
    refused(sft(out, "--adapter", GOLDEN / "tiny_lora", "--lora-r", "63"), 2, "--lora-r: found 63; the adapter that training goes on from has", "another rank than the adapter's", out)
    refused(sft(out, "--adapter", GOLDEN / "tiny_lora", "--lora-alpha", "1.5"), 2, "--lora-alpha: found 1.5", "another scale than the adapter's", out)
    full = sft(out, "--full")
    expect(full.returncode == 0 and (out / "model").exists() and not (out / "adapter").exists(), f"--full: {full.stderr}")


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
    (root / "another").mkdir()
    (root / "adapters").mkdir()
    lora = ["--use-peft", "--lora-r", "4", "--lora-dropout", "0.1"]
    kill_and_resume(root, lora)
    kill_and_resume(root, [])
    stop_and_resume(root, lora)
    another_runs_checkpoint(root / "another")
    adapters(root / "adapters")
    same_beside_others(root)
    default_length(root)
    errors(root)
print("sft: fine")
