"""candor lm rlhf as a command, on stories260k: every weight trained; checkpointed gradients; killed at every crash point and
resumed to the bytes of a run that was left alone."""
import filecmp
import http.server
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading

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
    if "--full" in extra and "--lora-r" not in extra:
        del options["--lora-r"]
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


def another_runs_checkpoint(work):
    """--resume with anything else ends with 3, names what differs, and leaves every byte alone."""
    out, checkpoints = work / "killed", work / "killed.checkpoints"
    model = work / "model"
    shutil.copytree(STORIES, model)
    base = ["--model", model, "--lora-alpha", 8]
    killed = rlhf(work, out, *base, env={"CANDOR_CRASH_AT": "rlhf.after_checkpoint:1"})
    expect(killed.returncode == -9, f"not killed: {killed.returncode} {killed.stderr}")
    before = (checkpoints / "rlhf.safetensors").read_bytes()
    changes = [(["--lora-alpha", 800], "settings.model.lora.lora_alpha is 8.0 there and 800.0 here"), (["--lora-r", 5], "settings.model.lora.r is 4"),
               (["--lora-dropout", 0.1], "settings.model.lora.lora_dropout"), (["--lora-target-modules", "k_proj"], "settings.model.lora.target_modules"),
               (["--seed", 6], ".seed is 5 there and 6 here"), (["--threads", 1], "machine.threads"), (["--bf16"], "settings.model.arithmetic"),
               (["--gradient-checkpointing"], "settings.model.gradient_checkpointing"),
               (["--reward", "brevity:5"], "inputs.rewards"), (["--reward", "brevity:4=2"], "inputs.rewards"), (["--reward", "brevity:4@0,2"], "inputs.rewards"),
               (["--judge", "brevity:4"], "inputs.judge is none there"), (["--prompts", work / "other.jsonl"], "inputs.prompts"),
               (["--algorithm", "ppo", "--num-generations", 2], "settings.rlhf.algorithm")]
    (work / "other.jsonl").write_text('{"prompt": "Once"}\n')
    # Settings that no other field moves with: the name is the field's.
    for flag, value in [("--kl-coefficient", 0.2), ("--total-steps", 5), ("--max-new-tokens", 5), ("--temperature", 0.9), ("--missing-eos-penalty", 1),
                        ("--learning-rate", 2e-3), ("--lr-scheduler-type", "cosine"), ("--warmup-steps", 1), ("--adam-beta1", 0.8), ("--adam-beta2", 0.9),
                        ("--adam-epsilon", 1e-7), ("--weight-decay", 0.1), ("--max-grad-norm", 2), ("--cliprange", 0.1), ("--cliprange-value", 0.1),
                        ("--value-learning-rate", 1e-2), ("--gamma", 0.9), ("--sampler-weight-cap", 3), ("--num-mini-batches", 2), ("--num-ppo-epochs", 2),
                        ("--preset", "ziegler2019"), ("--kl-target", 5), ("--kl-horizon", 100), ("--save-steps", 2), ("--gradient-accumulation-steps", 2)]:
        changes.append(([flag, value], f"settings.rlhf.{flag[2:].replace('-', '_')} is "))
    for flag, field in [("--vf-coef", "value_coefficient"), ("--lam", "gae_lambda")]:
        changes.append(([flag, 0.5], f"settings.rlhf.{field} is "))
    for flag in ["--normalize-advantages", "--whiten-rewards", "--value-trains-policy", "--sampler-bf16", "--no-whiten-advantages"]:
        changes.append(([flag], f"settings.rlhf.{flag[2:].removeprefix('no-').replace('-', '_')} is "))
    for change, part in changes:
        flags = [w for w in base]
        if change[0] in flags:
            del flags[flags.index(change[0]):flags.index(change[0]) + 2]
        other = rlhf(work, out, *flags, *change, "--resume")
        expect(other.returncode == 3 and "is another run's checkpoint" in other.stderr and part in other.stderr, f"{change}: {other.returncode} {other.stderr}")
        expect((checkpoints / "rlhf.safetensors").read_bytes() == before and not out.exists(), f"{change}: files have changed")
    (model / "tokenizer.json").write_text((model / "tokenizer.json").read_text() + "\n")
    other = rlhf(work, out, *base, "--resume")
    expect(other.returncode == 3 and "inputs.model" in other.stderr, f"another model under the same name: {other.stderr}")
    full = rlhf(work, out, "--lora-r", 4, "--full")
    expect(full.returncode == 2 and "--lora-r: sets a LoRA adapter; --full trains every weight" in full.stderr, f"--lora-r --full: {full.stderr}")
    shutil.rmtree(checkpoints)


def every_kind_of_reward(work):
    """--reward takes what a study takes: each kind trains a step, and what is trained for it is left beside the policy."""
    golden = STORIES.parent.parent.parent / "tests" / "golden"
    lexicon = work / "words.json"
    lexicon.write_text('{"dog": 2, "lily": 1.5, "bad": -3}')
    data = work / "texts.jsonl"
    rng = random.Random(3)
    words = "the cat sat on a mat and dog ran to his big red ball".split()
    data.write_text("".join(json.dumps({"text": " ".join(rng.choices(words, k=5)) + (" red" if i % 2 else " mat"), "label": "yes" if i % 2 else "no"}) + "\n" for i in range(60)))
    pairs = work / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"prompt": f"say {i}", "chosen": f"the cat {i}", "rejected": f"a mat no {i}"}) + "\n" for i in range(60)))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rewards)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    adapter = work / "adapter.json"
    adapter.write_text(json.dumps({"kind": "checkpoint", "model": str(golden / "tiny_llama"), "adapter": str(golden / "tiny_reward_lora")}))
    encoder = f"#encoder={golden / 'tiny_bert'}"
    kinds = {"brevity": "brevity:4", "lexicon": f"lexicon:{lexicon}",
             "linear_ngrams": f"linear_ngrams:{STORIES.parent / 'hatesonar' / 'model.json.gz'}#class=neither@0.5,1=2",
             "labelled": f"labelled:{data}{encoder}#positive_values=yes#l2=0.1=0.5", "preference": f"preference:{pairs}{encoder}",
             "head": f"head:{work / 'labelled' / 'rewards' / 'reward-0'}{encoder}", "not-head": f"not-head:{work / 'labelled' / 'rewards' / 'reward-0'}{encoder}",
             "checkpoint": f"checkpoint:{golden / 'tiny_reward'}", "adapter": str(adapter),
             "remote": f"remote:http://127.0.0.1:{server.server_address[1]}/get_reward#batch=3"}
    for kind, text in kinds.items():
        out = work / kind
        run = rlhf(work, out, "--reward", text, "--total-steps", 1)
        expect(run.returncode == 0, f"{text}: {run.returncode} {run.stderr}")
        (reward,) = json.loads((out / "summary.json").read_text())["rewards"]
        expect(reward["name"] == {"adapter": "checkpoint"}.get(kind, kind), f"{text}: {reward}")
        expect((reward["low"], reward["high"], reward["weight"]) == {"linear_ngrams": (0.5, 1, 2), "labelled": (0, 1, 0.5)}.get(kind, (0, 1, 1)), f"{text}: {reward}")
        trained = kind in ("labelled", "preference")
        expect((out / "rewards" / "reward-0" / "head.safetensors").exists() == trained, f"{text}: the head that was trained for it")
    scores = {kind: metrics(work / kind)[0]["objective/scores"] for kind in kinds}
    expect(abs(scores["head"] + scores["not-head"] - 1) < 1e-6 and abs(scores["head"] - 0.5) > 1e-4, f"a head and its opposite: {scores}")
    expect(abs(scores["labelled"] - scores["head"]) < 1e-12, f"the head that was trained is the head that was left: {scores}")
    expect(abs(scores["remote"] - 0.25) < 1e-6, f"the server's number: {scores}")
    server.shutdown()
    for text, part in [("brevty:4", "expected brevity:WORDS"), ("lexicon", "linear_ngrams:FILE#class=CLASS"), ("brevity:4@0", "@LOW,HIGH"), ("brevity:4=nan", 'found "nan"'),
                       ("brevity:4@0,inf", 'found "inf"'), ("brevity:0", "scale_words"), ("linear_ngrams:" + str(lexicon), "class"), ("brevity:4#colour=red", "colour")]:
        run = rlhf(work, work / "no", "--reward", text)
        expect(run.returncode == 2 and part in run.stderr and not (work / "no").exists(), f"{text}: {run.returncode} {run.stderr}")


class Rewards(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps({"rewards": [0.25] * len(asked["query"])}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


with tempfile.TemporaryDirectory() as scratch:
    root = pathlib.Path(scratch)
    (root / "kinds").mkdir()
    every_kind_of_reward(root / "kinds")
    (root / "another").mkdir()
    another_runs_checkpoint(root / "another")
    every_weight(root)
    checkpointing(root)
    kill_and_resume(root, [])
    kill_and_resume(root, ["--algorithm", "ppo", "--num-generations", "1", "--num-mini-batches", "2", "--per-device-train-batch-size", "2"])
print("rlhf: fine")
