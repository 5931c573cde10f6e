"""Converts hatesonar's model (TF-IDF and logistic regression in ONNX) to linear-ngrams/1, and scores
texts with it through onnxruntime: goldens for the kind `linear_ngrams`.

  make_judge.py MODEL.onnx OUTPUT.json.gz             no package needed: the protobuf is read here
  make_judge.py MODEL.onnx OUTPUT.json.gz GOLDEN.jsonl    also the goldens (needs onnxruntime, numpy)
"""
import gzip
import json
import struct
import sys

TEXTS = [
    "", "Good morning, how are you?", "you are a stupid bitch", "I HATE all of you, get out of my country",
    "Thanks for the recipe! It worked.", "kill yourself", "lol that hoe is crazy", "The committee meets on Tuesday at 10.",
    "na\u00efve caf\u00e9 \u00c9COLE stra\u00dfe", "under_score and 123 numbers 00", "\u4f60\u597d", "What the hell is wrong with these people???",
    "Trash trash TRASH", "a", "My grandmother's garden has bright yellow birds.", "these idiots must go back to where they came from",
]


def varint(data, place):
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place


def fields(data):
    """(number, value) of every field of a protobuf message."""
    place = 0
    while place < len(data):
        key, place = varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = varint(data, place)
        else:
            size = {1: 8, 5: 4}.get(wire)
            if size is None:
                size, place = varint(data, place)
            value, place = data[place : place + size], place + size
        yield number, value


def floats(values):
    """Packed or single floats."""
    return [x for value in values for x in struct.unpack(f"<{len(value) // 4}f", value)]


def integers(values):
    return [v if isinstance(v, int) else v for v in values]


def read_model(data):
    """{operator: {attribute: {field: [values]}}} and {initializer name: floats}."""
    (graph,) = [value for number, value in fields(data) if number == 7]
    nodes, constants = {}, {}
    for number, value in fields(graph):
        if number == 1:
            node = list(fields(value))
            kind = next(v for n, v in node if n == 4).decode()
            attributes = {}
            for n, v in node:
                if n == 5:
                    attribute = {}
                    for field, content in fields(v):
                        attribute.setdefault(field, []).append(content)
                    attributes[attribute[1][0].decode()] = attribute
            nodes.setdefault(kind, attributes)
        elif number == 5:
            tensor = {}
            for field, content in fields(value):
                tensor.setdefault(field, []).append(content)
            if tensor.get(2) == [1]:  # float
                constants[tensor[8][0].decode()] = floats(tensor[4]) if 4 in tensor else floats(tensor[9])
    return nodes, constants


def convert(data):
    nodes, constants = read_model(data)
    tfidf, linear = nodes["TfIdfVectorizer"], nodes["LinearClassifier"]
    expect = [
        (nodes["Tokenizer"]["tokenexp"][4], [b"[a-zA-Z0-9_]+"]), (nodes["StringNormalizer"]["case_change_action"][4], [b"LOWER"]),
        (nodes["Normalizer"]["norm"][4], [b"L2"]), (tfidf["mode"][4], [b"TF"]), (tfidf["max_gram_length"][3], [1]),
        (tfidf["ngram_counts"][8], [0]), (linear["post_transform"][4], [b"SOFTMAX"]), (integers(linear["classlabels_ints"][8]), [0, 1, 2])]
    for found, wanted in expect:
        if found != wanted:
            raise SystemExit(f"another model than this converter knows: found {found}, expected {wanted}")
    terms = [t.decode() for t in tfidf["pool_strings"][9]]
    columns = tfidf["ngram_indexes"][8]
    idf = constants["idfcst"]
    coefficients, intercepts = floats(linear["coefficients"][7]), floats(linear["intercepts"][7])
    count = len(terms)
    if len(idf) != count or len(coefficients) != 3 * count or sorted(columns) != list(range(count)):
        raise SystemExit("the model's arrays do not fit together")

    def number(x):  # shortest text that reads back as the same float
        return float(f"{x:.9g}")

    rows = {t: [number(idf[c])] + [number(coefficients[k * count + c]) for k in range(3)] for t, c in zip(terms, columns)}
    return {"candor": "linear-ngrams/1", "classes": ["hate_speech", "offensive_language", "neither"],
            "intercepts": [number(x) for x in intercepts], "terms": rows}


def encode(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def message(number, body):
    return encode(number << 3 | 2) + encode(len(body)) + body


def field_bytes(number, value):
    return encode(number << 3) + encode(value) if isinstance(value, int) else message(number, value)


def with_locale(data):
    """The model with the string normaliser's locale named: its default, en_US, is rarely installed."""
    locale = message(1, b"locale") + message(4, b"C.UTF-8") + field_bytes(20, 3)
    out = b""
    for number, value in fields(data):
        if number == 7:
            graph = b""
            for inner, node in fields(value):
                if inner == 1 and (4, b"StringNormalizer") in list(fields(node)):
                    node += message(5, locale)
                graph += field_bytes(inner, node)
            value = graph
        out += field_bytes(number, value)
    return out


def write_goldens(path, model):
    import numpy
    import onnxruntime

    with open(model, "rb") as file:
        session = onnxruntime.InferenceSession(with_locale(file.read()), providers=["CPUExecutionProvider"])
    with open(path, "w", encoding="utf-8") as out:
        for text in TEXTS:
            _, rows = session.run(None, {"text": numpy.array([text], dtype=object)})
            out.write(json.dumps({"text": text, "probabilities": [float(rows[0][k]) for k in (0, 1, 2)]}) + "\n")


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        judged = convert(file.read())
    with open(sys.argv[2], "wb") as file:
        file.write(gzip.compress(json.dumps(judged, sort_keys=True, separators=(",", ":")).encode(), 9, mtime=0))
    if len(sys.argv) > 3:
        write_goldens(sys.argv[3], sys.argv[1])
