#!/usr/bin/env python3
"""Decoding and scoring of a 135M Llama in bf16 against llama.cpp, interleaved in one run; prints one JSON record.

    python bench/decode.py build/full/bench/decode MODEL.gguf [--peer build/llama] [--rounds 3] [--threads 2]

The peer is llama-cpp-python (an sdist of PyPI, pinned), built for this machine in a virtual environment under
--peer on the first run. It runs the same weights de-quantised to BF16, and to F16 where --peer-types asks: the
faster of them counts. Ours includes drawing tokens, their log-probabilities and, when scoring, the softmax;
the peer's side is llama_decode with logits alone. Medians over rounds.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

PINS = ["llama-cpp-python==0.3.16", "gguf==0.17.1"]
DECODES = [(1, 16, 128), (8, 16, 64), (32, 16, 64)]
SCORE = (32, 128)
SOUPS = (33, 16, 64)
GOALS = {"decode_1": 1.3, "decode_8": 2.2, "decode_32": 7.0, "score": 2.5, "soups": 0.85}


def make_peer(folder):
    python = folder / "env" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    done = folder / "done"
    if not done.exists():
        flags = "-DGGML_NATIVE=ON -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAVA_BUILD=OFF"
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-binary", "llama-cpp-python", *PINS],
                       check=True, env={**os.environ, "CMAKE_ARGS": flags})
        done.touch()
    return python


class Side:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.load = json.loads(self.process.stdout.readline())

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def work(self, *words):
        return self.ask(*words)["tokens_per_second"]


def limit_of(machine, rows):
    """Tokens a second when a step takes the longer of one read of the weights and its flops."""
    return rows / max(machine["step_bytes"] / (machine["read_gb_per_second"] * 1e9),
                      rows * machine["token_flops"] / (machine["product_gflops"] * 1e9))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("probe")
    parser.add_argument("model")
    parser.add_argument("--peer", type=pathlib.Path, default=pathlib.Path("build/llama"))
    parser.add_argument("--peer-types", default="BF16,F16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    python = make_peer(options.peer)
    script = pathlib.Path(__file__).with_name("decode_peer.py")
    ours = Side([options.probe, options.model, "bf16", str(options.threads)])
    peers = {}
    for kind in options.peer_types.split(","):
        weights = options.peer / f"{pathlib.Path(options.model).stem}.{kind}.gguf"
        if not weights.exists():
            subprocess.run([str(python), str(script), "convert", options.model, str(weights), kind], check=True)
        peers[kind] = Side([str(python), str(script), "serve", str(weights), str(options.threads)])
    times = {}

    def note(name, side, value):
        times.setdefault(name, {}).setdefault(side, []).append(value)

    machine = ours.ask("limits")
    for _ in range(options.rounds):
        for size in DECODES:
            note(f"decode_{size[0]}", "candor", ours.work("decode", *size))
            for kind, peer in peers.items():
                note(f"decode_{size[0]}", kind, peer.work("decode", *size))
        note("score", "candor", ours.work("score", *SCORE))
        for kind, peer in peers.items():
            note("score", kind, peer.work("score", *SCORE))
        note("soups", "one_model", ours.work("decode", *SOUPS))
        note("soups", "candor", ours.work("soups", *SOUPS))
    record = {"bench": "decode", "threads": options.threads, "rounds": options.rounds, "peer": PINS[0], "load_s": ours.load["seconds"],
              "instruction_set": ours.load["instruction_set"], "peer_system": next(iter(peers.values())).load["system"],
              "machine": {name: round(value, 1) for name, value in machine.items() if name != "work"}}
    for name, sides in times.items():
        medians = {side: statistics.median(values) for side, values in sides.items()}
        best = max(value for side, value in medians.items() if side != "candor")
        record[name] = {**{side: round(value, 1) for side, value in medians.items()}, "ratio": round(medians["candor"] / best, 3), "goal": GOALS[name]}
    for name, rows in (("decode_1", 1), ("decode_8", 8), ("decode_32", 32), ("score", 1 << 20)):
        record[name]["limit"] = round(limit_of(machine, rows), 1)
    print(json.dumps(record))


main()
