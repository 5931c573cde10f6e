"""Writes fuzz/corpus: small files that are right, or wrong in one way, for every parser."""
import gzip
import json
import os
import struct

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def write(parser, name, data):
    folder = os.path.join(ROOT, parser)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as out:
        out.write(data if isinstance(data, bytes) else data.encode("utf-8"))


def text(value):
    data = value.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def gguf_value(value):
    """The type number and the bytes of a metadata value."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, text(value)
    kind = gguf_value(value[0])[0]
    return 9, struct.pack("<IQ", kind, len(value)) + b"".join(gguf_value(v)[1] for v in value)


def gguf(keys, tensors=(), version=3, alignment=32):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys))
    for key, value in keys.items():
        kind, data = gguf_value(value)
        out += text(key) + struct.pack("<I", kind) + data
    data = b""
    for name, shape, kind, payload in tensors:
        out += text(name) + struct.pack("<I", len(shape))
        out += b"".join(struct.pack("<Q", extent) for extent in reversed(shape))
        out += struct.pack("<IQ", kind, len(data))
        data += payload + b"\0" * (-len(payload) % alignment)
    return out + b"\0" * (-len(out) % alignment) + data


def gguf_corpus():
    byte_level = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": ["<s>", "a", "b", "ab", "\u0120", "1", "2"],
        "tokenizer.ggml.token_type": [3, 1, 1, 1, 1, 1, 1],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.add_bos_token": True,
    }
    tensors = [
        ("f32", [2, 3], 0, struct.pack("<6f", *range(6))),
        ("f16", [4], 1, b"\x00\x3c" * 4),
        ("q4_0", [32], 2, b"\x00\x38" + bytes(range(16))),
        ("q4_1", [2, 32], 3, (b"\x00\x38\x00\x3c" + bytes(range(16))) * 2),
        ("q8_0", [1, 1, 1, 32], 8, b"\x00\x38" + bytes(range(32))),
        ("bf16", [2], 30, b"\x80\x3f" * 2),
        ("q4_k", [256], 12, b"\0" * 144),
    ]
    write("gguf", "byte_level.gguf", gguf(byte_level, tensors))
    write("gguf", "version2.gguf", gguf({"general.alignment": 64}, tensors, version=2, alignment=64))
    scores = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "b", "ab"],
        "tokenizer.ggml.scores": [0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -3.0, -0.5],
        "tokenizer.ggml.token_type": [2, 3, 3, 6, 1, 1, 1, 1],
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0, "rope.scale": 0.5,
    }
    write("gguf", "scores.gguf", gguf(scores))
    for name, pre in [("qwen2", "qwen2"), ("llama3", "llama-bpe"), ("unknown_pre", "falcon")]:
        write("gguf", name + ".gguf", gguf(byte_level | {"tokenizer.ggml.pre": pre}))
    write("gguf", "lying_counts.gguf", b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60))
    write("gguf", "lying_text.gguf", b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63))
    write("gguf", "lying_array.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 0, 2**61))
    write("gguf", "nested_array.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1))
    write("gguf", "lying_shape.gguf", gguf({}, [("w", [2**31, 2**31], 0, b"\0" * 32)]))
    write("gguf", "five_dimensions.gguf", gguf({}, [("w", [1, 1, 1, 1, 1], 0, b"\0" * 32)]))
    write("gguf", "duplicate_tensor.gguf", gguf({}, [("w", [1], 0, b"\0" * 4)] * 2))


def safetensors(header, data, size=None):
    head = (header if isinstance(header, str) else json.dumps(header)).encode("utf-8")
    return struct.pack("<Q", len(head) if size is None else size) + head + data


def array_corpus():
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    other = {"dtype": "BF16", "shape": [3], "data_offsets": [16, 22]}
    write("safetensors", "two.safetensors", safetensors({"__metadata__": {"a": "b"}, "w": entry, "b": other}, b"\0" * 22))
    write("safetensors", "f64.safetensors", safetensors({"w": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}}, b"\0" * 16))
    write("safetensors", "empty.safetensors", safetensors({}, b""))
    write("safetensors", "lying_size.safetensors", safetensors({"w": entry}, b"\0" * 16, 2**62))
    write("safetensors", "overlap.safetensors", safetensors({"w": entry, "v": entry}, b"\0" * 16))
    write("safetensors", "overflow.safetensors", safetensors({"w": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 16]}}, b"\0" * 16))
    write("safetensors", "duplicate.safetensors", safetensors('{"w":%s,"w":%s}' % ((json.dumps(entry),) * 2), b"\0" * 16))

    def npy(descr, shape, data, order="False", version=b"\x01\x00"):
        head = "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n" % (descr, order, shape)
        return b"\x93NUMPY" + version + struct.pack("<H" if version[0] == 1 else "<I", len(head)) + head.encode() + data
    write("npy", "f8.npy", npy("<f8", "(3,)", b"\0" * 24))
    write("npy", "f4.npy", npy("<f4", "(2, 3)", b"\0" * 24))
    write("npy", "i8.npy", npy("<i8", "(2, 2)", b"\1" * 32, version=b"\x02\x00"))
    write("npy", "fortran.npy", npy("<f8", "(3,)", b"\0" * 24, order="True"))
    write("npy", "lying_shape.npy", npy("<f8", "(4294967296, 4294967296)", b"\0" * 24))
    write("npy", "object.npy", npy("|O", "(3,)", b"\0" * 24))


def tokenizer_corpus():
    bpe = {"type": "BPE", "unk_token": None, "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3, "\u0120": 4, "l": 5}, "merges": ["a b"]}
    added = [{"id": 0, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}]
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}}

    def tokenizer(name, **parts):
        write("tokenizer_json", name + ".json", json.dumps({"version": "1.0", "added_tokens": added, "model": bpe} | parts))
    tokenizer("byte_level", pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
              post_processor=template, decoder={"type": "ByteLevel"})
    tokenizer("split", normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}, pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "(?i:'s)|\\p{N}{1,3}|\\s+(?!\\S)"}, "behavior": "Isolated", "invert": False},
        {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": False}, {"type": "Digits", "individual_digits": True}]})
    pieces = {"<unk>": 0, "<s>": 1, "\u2581": 2, "a": 3, "b": 4, "ab": 5, "<0x0A>": 6, "<0xC3>": 7, "<0xA9>": 8}
    tokenizer("byte_fallback", added_tokens=[dict(added[0], id=1)],
              normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
              model={"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": pieces, "merges": [["a", "b"]]},
              decoder={"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                                                        {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})
    tokenizer("metaspace", pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False})
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "##b": 5, "hello": 6}
    tokenizer("word_piece", added_tokens=[dict(added[0], id=i, content=c) for c, i in words.items() if c[0] == "["],
              normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
              pre_tokenizer={"type": "BertPreTokenizer"}, post_processor={"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
              model={"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": words},
              decoder={"type": "WordPiece", "prefix": "##", "cleanup": True})
    tokenizer("unigram", model={"type": "Unigram", "vocab": [["a", 0.0]]})
    tokenizer("lying_id", model=bpe | {"vocab": {"a": 2**40}})
    tokenizer("same_id", model=bpe | {"vocab": {"a": 1, "b": 1}, "merges": []})
    tokenizer("unknown_merge", model=bpe | {"merges": ["a z"]})
    tokenizer("bad_regex", pre_tokenizer={"type": "Split", "pattern": {"Regex": "(["}, "behavior": "Isolated", "invert": False})
    tokenizer("word_boundary", pre_tokenizer={"type": "Split", "pattern": {"Regex": "\\b"}, "behavior": "Isolated", "invert": False})
    write("tokenizer_json", "deep.json", "[" * 200 + "]" * 200)


def record_corpus():
    write("jsonl", "records.jsonl", '{"text":"a\\u00e9\\ud83d\\ude00","label":1,"x":[1.5e300,-0.0,null,true]}\r\n{"text":"b","label":0}\n')
    write("jsonl", "chat.jsonl", '{"input":[{"role":"user","content":"hi"}],"ideal":"1"}\n\n')
    write("jsonl", "duplicate.jsonl", '{"a":1,"a":2}\n')
    write("jsonl", "overflow.jsonl", '{"a":1e999}\n')
    write("jsonl", "not_utf8.jsonl", b'{"a":"\xff"}\n')
    write("jsonl", "blank_line.jsonl", '1\n\n2\n')
    write("csv", "quoted.csv", 'x,y\r\n1,"a, ""b""\nc"\r\n2,\r\n')
    write("csv", "mark.csv", "\ufefftext,label\nhi,1\n")
    write("csv", "open_quote.csv", 'x,y\n1,"a')
    write("csv", "after_quote.csv", 'x,y\n1,"a"b\n')
    write("csv", "ragged.csv", "x,y\n1\n")
    write("csv", "twice.csv", "x,x\n1,2\n")
    write("csv", "not_utf8.csv", b"x,y\n1,\xff\n")
    head = "{% for message in messages %}"
    turn = "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    tail = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    system = ("{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, "
              "trained by Hugging Face<|im_end|>\\n' }}{% endif %}")
    write("chat_template", "chatml.jinja", head + turn + tail)
    write("chat_template", "smollm2.jinja", head + system + turn + tail)
    write("chat_template", "smollm2_lines.jinja", (head + system + turn + tail).replace("\\n", "\n"))
    write("chat_template", "unknown.jinja", head + "{{ message['content'] }}{% endfor %}")


def preference_corpus():
    hh = "\n\nHuman: Hi\n\nAssistant: "
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Fine."}]
    summaries = [{"text": "a"}, {"text": "b"}]
    records = {
        "hh": {"chosen": hh + "Fine.", "rejected": hh + "No."},
        "hh_fork": {"chosen": hh + "A\n\nHuman: B\n\nAssistant: C", "rejected": "\n\nHuman: Hi"},
        "hh_one": {"chosen": hh, "rejected": "No."},
        "standard": {"prompt": "Hi", "chosen": "Fine.", "rejected": "No."},
        "prompt_hh": {"prompt": hh, "chosen": "Fine.", "rejected": "No."},
        "conversation": {"prompt": chat[:1], "chosen": chat[1:], "rejected": chat[1:]},
        "implicit": {"chosen": chat, "rejected": chat[:1]},
        "empty_list": {"chosen": [], "rejected": []},
        "comparison": {"info": {"post": "p", "title": "t", "subreddit": "s"}, "summaries": summaries, "choice": 1},
        "article": {"info": {"article": "p"}, "summaries": summaries, "choice": 0},
        "choice_2": {"info": {"post": "p"}, "summaries": summaries, "choice": 2},
        "demonstration": {"post": "p", "title": "t", "summary": "s"},
        "messages": {"messages": chat},
    }
    for name, record in records.items():
        write("preferences", name + ".jsonl", json.dumps(record) + "\n")
    packed = gzip.compress(b'{"a":1}\n' * 50, mtime=0)
    write("gzip", "lines.gz", packed)
    write("gzip", "two.gz", packed + packed)
    write("gzip", "cut.gz", packed[:-3])
    write("gzip", "checksum.gz", packed[:-8] + b"\0" * 8)
    write("gzip", "after.gz", packed + b"after")
    write("gzip", "large.gz", gzip.compress(b"\0" * (1 << 21), mtime=0))
    write("gzip", "plain.gz", b"plain text")


def study_corpus():
    """The files of the theory: a right one of each kind, and each with one thing wrong."""
    groups = [{"name": "a", "size": 3, "reward": [1, 0.5, 0]}, {"name": "b", "size": 2, "reward": [0, 0.5, 1]}]
    game = {"candor": "game/1", "divergence": {"name": "kl", "lambda": 0.5}, "normalization": "max", "initial": [1, 1, 2], "groups": groups}
    table = {"candor": "table/1", "candidates": [{"name": "A", "divergence": "0"}, {"name": "B", "divergence": "5"}],
             "groups": [{"name": "a", "size": 3, "valuations": ["0", "4294967296"]}], "menu_depends_on_reports": False, "half_widths": [["1", 2]]}
    outline = {"digest": "sha256:0", "divergence": {"name": "kl", "lambda": 0.5}, "normalization": "max", "outcomes": 70000,
               "groups": [{"name": "a", "size": 3}]}
    measure = [1.0, 0.5, 1.5, 1.0, 1.0, 2.0, 0.0, 1.0, 1.0, 0.5]
    files = {
        "game": game, "table": table,
        "blocks": {**game, "blocks": [1, 2]}, "bad_blocks": {**game, "blocks": [1e300]},
        "candidates": {**game, "candidates": [[1, 0, 0], [0, 1, 1]]},
        "array_elsewhere": {**game, "initial": {"file": "../none.npy"}},
        "types": {"candor": "types/1", "types": [{"size": 1, "reward": [0, 1, 1]}]},
        "rule": {"candor": "rule/1", "name": "r", "rows": [{"size": 1, "reward": [0, 1, 1], "allocation": [0, 0.5, 0.5]}]},
        "state": {"candor": "state/1", "game": outline, "passes": [{"name": "measure", "parts": [measure]}]},
        "state_short": {"candor": "state/1", "game": outline, "passes": [{"name": "measure", "parts": [measure[:3]]}]},
        "state_moments": {"candor": "state/1", "game": {**outline, "divergence": {"name": "js", "lambda": 1}},
                          "passes": [{"name": "measure", "parts": [measure]}, {"name": "moments", "parts": [[1, 0, 1, 0, 1, 0, 1, 0, 0, 1]]}]},
        "accumulator": {"candor": "accumulator/1", "game": outline, "state": "none", "pass": "measure", "first_segment": 0, "parts": [measure]},
        "accumulator_beyond": {"candor": "accumulator/1", "game": outline, "state": "none", "pass": "measure", "first_segment": 9, "parts": [measure]},
        "accumulator_zeros": {"candor": "accumulator/1", "game": outline, "state": "none", "pass": "measure", "first_segment": 0, "parts": [[0.0] * 10]},
    }
    for name, value in files.items():
        write("study_json", name + ".json", json.dumps(value).encode())
    write("study_json", "not_json.json", b"{\"candor\": ")


if __name__ == "__main__":
    gguf_corpus()
    array_corpus()
    tokenizer_corpus()
    record_corpus()
    preference_corpus()
    study_corpus()
