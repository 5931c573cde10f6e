"""Writes tests/golden/tokenizer_components.json and code_points.json with the tokenizers library
(run by `make parity`).

tokenizer_components.json: small tokenizers trained here, one per component of tokenizer.json that
Candor supports, with texts, their ids and what the ids decode to. code_points.json: a digest, per
4,096 code points, of the ids of a short text around every code point, for the real vocabularies.
"""
import hashlib
import json
import os
import random

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from make_goldens import GOLDEN, MINILM, TEXTS, smollm2_reference_tokenizer, write

CORPUS = ["The quick brown fox's jumps over 123 lazy dogs. don't", "éàü ñ Привет мир", "中文 日本語 한국",
          "  spaces   and\ttabs\n\n", "AbC def_ghi(x)"] * 5
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
EXTRA = ["a\u180eb \u180e", "'S 'LL '\u017f", "a.b,a.b  c", "\u2581x \u2581\u2581y", "ﬁ Ⅳ ǆ İ ΟΔΟΣ", "<s>a<s> b", " <s> x", "don't  123456789"]
# Characters whose category changed between the Unicode versions of the reference library and ours.
CHANGED = {0x166D, 0x1734, 0x1885, 0x1886, 0xA9BD, 0x111C9}


def byte_level(**options):
    return pre_tokenizers.ByteLevel(**({"add_prefix_space": False} | options))


def train(normalizer, pre_tokenizer, decoder, pieces=False, ignore_merges=False, template=False):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>" if pieces else None, byte_fallback=pieces, fuse_unk=pieces,
                                     ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    bytes_ = ["<0x%02X>" % i for i in range(256)] if pieces else []
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=[] if pieces else pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<unk>", "<s>"] + bytes_, show_progress=False))
    if decoder:
        tokenizer.decoder = decoder
    if template:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A <s>", special_tokens=[("<s>", 1)])
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = [t for t in description["added_tokens"] if not t["content"].startswith("<0x")]
    return description


def descriptions():
    sequence, split = pre_tokenizers.Sequence, pre_tokenizers.Split
    plain, llama = decoders.ByteLevel(), [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    strip = decoders.Sequence(llama + [decoders.Strip(" ", 1, 0)])
    out = {
        "prefix_space": train(None, byte_level(add_prefix_space=True), plain, template=True),
        "nfkc_lower": train(normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), byte_level(), plain),
        "nfkd_strip": train(normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents()]), byte_level(), plain),
        "nfd_digits": train(normalizers.NFD(), sequence([pre_tokenizers.Digits(), byte_level()]), plain),
        "llama3": train(None, sequence([split(Regex(LLAMA3), "isolated"), byte_level(use_regex=False)]), plain, ignore_merges=True),
        "removed": train(None, sequence([split(Regex(r"\s+|,"), "removed"), byte_level(use_regex=False)]), plain),
        "split_text": train(None, sequence([split("a.b", "removed"), split(" ", "isolated"), byte_level(use_regex=False)]), plain),
        "white_space": train(None, sequence([pre_tokenizers.WhitespaceSplit(), byte_level()]), None),
        "no_strip": train(normalizers.Replace(" ", "\u2581"), None, decoders.Sequence(llama), pieces=True),
    }
    for scheme in ("first", "always", "never"):
        out["metaspace_" + scheme] = train(None, pre_tokenizers.Metaspace(prepend_scheme=scheme, split=scheme != "first"), strip, pieces=True)
    return out


def component_goldens():
    random.seed(3)
    tokenizers = []
    for name, description in descriptions().items():
        reference = Tokenizer.from_str(json.dumps(description))
        texts = [{"text": t, "ids": reference.encode(t).ids} for t in TEXTS[::2] + EXTRA]
        size = reference.get_vocab_size()
        rows = [[random.randrange(size) for _ in range(6)] for _ in range(20)]
        decoded = [{"ids": r, "text": reference.decode(r, skip_special_tokens=True)} for r in rows]
        tokenizers.append({"name": name, "tokenizer": description, "texts": texts, "decoded": decoded})
    write("tokenizer_components.json", {"tokenizers": tokenizers})


def digests(tokenizer):
    blocks = []
    for begin in range(0, 0x20000, 4096):
        points = [p for p in range(begin, begin + 4096) if not 0xD800 <= p < 0xE000 and p not in CHANGED]
        texts = ["a{0}b 1{0}\n{0}{0} x{0}'{0}".format(chr(p)) for p in points]
        lines = [" ".join(map(str, e.ids)) for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
        blocks.append(hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()[:16])
    return blocks


def code_point_goldens():
    minilm = Tokenizer.from_file(os.path.join(MINILM, "tokenizer.json"))
    minilm.no_padding()
    minilm.no_truncation()
    write("code_points.json", {"without": sorted(CHANGED), "smollm2": digests(smollm2_reference_tokenizer()[0]), "minilm": digests(minilm)})


if __name__ == "__main__":
    component_goldens()
    code_point_goldens()
