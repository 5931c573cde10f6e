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


def contents(folder):
    return {path: (folder / path).read_bytes() for path in tree(folder)}


def without(flags, change):
    """The flags without those that the change gives anew."""
    out = list(flags)
    for flag in [f for f in change if f in out and str(f).startswith("--")]:
        del out[out.index(flag):out.index(flag) + 2]
    return out


def another_runs_checkpoint(work, flags, changes):
    """--resume with anything else ends with 3, names what differs, and leaves every byte alone."""
    out, checkpoints = work / "killed", work / "killed.checkpoints"
    killed = reward(work, out, flags, env={"CANDOR_CRASH_AT": "reward.after_checkpoint:1"})
    expect(killed.returncode == -9, f"not killed: {killed.returncode} {killed.stderr}")
    before = contents(checkpoints)
    common = [(["--learning-rate", 2e-3], "settings.reward.learning_rate is 0.001 there and 0.002 here"),
              (["--per-device-train-batch-size", 2], "settings.reward.per_device_train_batch_size"),
              (["--gradient-accumulation-steps", 1], "settings.reward.gradient_accumulation_steps"),
              (["--num-train-epochs", 3], "settings.reward.num_train_epochs"), (["--max-steps", 9], "settings.reward.max_steps"),
              (["--max-length", 30], "settings.reward.max_length"), (["--lr-scheduler-type", "cosine"], "settings.reward.lr_scheduler_type"),
              (["--warmup-ratio", 0.1], "settings.reward.warmup_ratio"), (["--weight-decay", 0.1], "settings.reward.weight_decay"),
              (["--max-grad-norm", 2], "settings.reward.max_grad_norm"), (["--logging-steps", 1], "settings.reward.logging_steps"),
              (["--center-rewards-coefficient", 0.1], "settings.reward.center_rewards_coefficient"), (["--save-steps", 1], "settings.reward.save_steps"),
              (["--eval-steps", 1], "settings.reward.eval_steps"), (["--early-stopping-patience", 1], "settings.reward.early_stopping_patience"),
              (["--seed", 5], "inputs.examples.seed is 3 there and 5 here"), (["--threads", 1], "machine.threads is 2 there and 1 here"),
              (["--max-texts", 50], "inputs.examples.max_texts"), (["--eval-data", work / "pairs.jsonl"], "inputs.eval_data is none there")]
    for change, part in common + changes:
        other = reward(work, out, [*without(flags, change), *change, "--resume"])
        expect(other.returncode == 3 and "is another run's checkpoint" in other.stderr and part in other.stderr, f"{change}: {other.returncode} {other.stderr}")
        expect(contents(checkpoints) == before and not out.exists(), f"{change}: files have changed")
    shutil.rmtree(checkpoints)


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


def other_flags(root):
    lora = [*DECODER, "--lora-r", 4, "--lora-alpha", 8]
    another_runs_checkpoint(root, lora, [
        (["--lora-alpha", 800], "settings.model.lora.lora_alpha is 8.0 there and 800.0 here"), (["--lora-r", 5], "settings.model.lora.r"),
        (["--lora-dropout", 0.2], "settings.model.lora.lora_dropout"), (["--lora-target-modules", "k_proj"], "settings.model.lora.target_modules"),
        (["--bf16"], "settings.model.arithmetic"), (["--gradient-checkpointing"], "settings.model.gradient_checkpointing"),
        (["--features", "completion"], "inputs.reading.features")])
    another_runs_checkpoint(root, ENCODER, [(["--l2", 0.01], "inputs.l2 is 0.001 there and 0.01 here"), (["--lora-r", 4], "settings.model.lora is none there")])
    for flags, part in [(["--lora-r", 4], "--use-peft needs --model or --train-encoder"), (["--learning-rate", 1e-3], "--learning-rate goes with"), (["--bf16"], "--bf16 goes with"),
                        ([*DECODER, "--l2", 1], "--l2 is of a head"), ([*DECODER, "--lora-r", 4, "--full"], "--lora-r: sets a LoRA adapter")]:
        run = subprocess.run([CANDOR, "lm", "reward", "--data", root / "pairs.jsonl", "--output", root / "no", *map(str, flags)], capture_output=True, text=True)
        expect(run.returncode == 2 and part in run.stderr and not (root / "no").exists(), f"{flags}: {run.returncode} {run.stderr}")
    named = root / "named"
    expect(reward(root, named, [*DECODER, "--lora-r", 4, "--lora-dropout", 0.1]).returncode == 0, "LoRA by its flags alone")
    config = json.loads((named / "adapter" / "adapter_config.json").read_text())
    expect(config["base_model_name_or_path"] == str(GOLDEN / "tiny_llama") and config["lora_dropout"] == 0.1 and config["r"] == 4, f"{config}")


with tempfile.TemporaryDirectory() as scratch:
    root = pathlib.Path(scratch)
    write_pairs(root / "pairs.jsonl")
    kill_and_resume(root, DECODER)
    kill_and_resume(root, [*DECODER, "--use-peft", "--lora-r", 4, "--lora-dropout", 0.1])
    kill_and_resume(root, ENCODER)
    stop_and_resume(root, DECODER)
    other_flags(root)
    head = reward(root, root / "head", ["--resume"])
    expect(head.returncode == 2 and "--train-encoder" in head.stderr, f"--resume of a head: {head.stderr}")
