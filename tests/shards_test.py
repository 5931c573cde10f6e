#!/usr/bin/env python3
"""A game in .npy files, solved in shards by the programs themselves: the solution has the bytes of one
machine's, and what does not belong together is refused."""
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

OUTCOMES = 530_000  # three segments


def write_npy(path, rows):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }" % (len(rows), OUTCOMES)
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    with open(path, "wb") as out:
        out.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        for row in rows:
            out.write(struct.pack("<%df" % OUTCOMES, *row))


def write_game(folder, name, divergence, normalization="max"):
    groups = [{"name": f"g{i}", "size": i + 2, "reward": {"file": "rewards.npy", "row": i}} for i in range(2)]
    game = {"candor": "game/1", "divergence": divergence, "normalization": normalization, "initial": {"file": "initial.npy", "row": 0}, "groups": groups}
    (folder / name).write_text(json.dumps(game))


def main(program):
    def candor(*arguments, code=0):
        result = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, cwd=folder, timeout=120)
        assert result.returncode == code, (arguments, result.returncode, result.stderr)
        return result.stderr if code else result.stdout

    def solve_in_shards(game, shards):
        state = []
        for rounds in range(1, 50):
            parts = [f"part{i}.json" for i in range(shards)]
            for i, part in enumerate(parts):
                candor("solve", game, "--shard", f"{i}/{shards}", *state, "--out", part)
            out = candor("merge", *parts, *state, "--out", f"state{rounds}.json", "--format", "json")
            if "done" not in json.loads(out):
                return out, rounds
            state = ["--state", f"state{rounds}.json"]

    with tempfile.TemporaryDirectory(prefix="candor-shards-") as name:
        folder = pathlib.Path(name)
        rng = random.Random(1)
        write_npy(folder / "initial.npy", [[0.1 + rng.random() for _ in range(OUTCOMES)]])
        write_npy(folder / "rewards.npy", [[rng.random() for _ in range(OUTCOMES)] for _ in range(2)])
        kl = {"name": "kl", "lambda": 0.5}
        for file, divergence, normalization in [("min_max.json", kl, "min_max"), ("kl.json", kl, "max"), ("js.json", {"name": "js", "lambda": 0.5}, "max")]:
            write_game(folder, file, divergence, normalization)
            whole = json.loads(candor("solve", file, "--format", "json"))
            for shards in (1, 4):
                found, rounds = solve_in_shards(file, shards)
                assert json.loads(found) == whole, f"{file} in {shards} shards: {found} is not {whole}"
            print(f"{file}: {rounds} rounds, the same numbers as on one machine")
        # part0..3 are now the last round of js.json.
        candor("solve", "kl.json", "--shard", "0/2", "--out", "k0.json")
        candor("solve", "kl.json", "--shard", "1/2", "--out", "k1.json")
        assert "is missing" in candor("merge", "k0.json", "--out", "s.json", code=3)
        assert "comes twice" in candor("merge", "k0.json", "k0.json", "k1.json", "--out", "s.json", code=3)
        assert "another game" in candor("merge", "k0.json", "part0.json", "--out", "s.json", code=3)
        assert "--out" in candor("merge", "k0.json", "k1.json", code=2)
        candor("merge", "k0.json", "k1.json", "--out", "s.json")
        assert "builds on the state none" in candor("merge", "k0.json", "k1.json", "--state", "s.json", "--out", "t.json", code=3)
        assert "another game" in candor("solve", "js.json", "--shard", "0/2", "--state", "s.json", code=3)
        for bad in ("2/2", "-1/2", "1", "a/b", "0/0"):
            assert "expected i/N" in candor("solve", "kl.json", "--shard=" + bad, code=2)
        text = (folder / "k0.json").read_text()
        (folder / "cut.json").write_text(text[: len(text) // 2])
        assert "cut.json" in candor("merge", "cut.json", "k1.json", "--out", "s.json", code=3)
        assert not (folder / "t.json").exists()
    print("shards: what does not belong together is refused")


main(pathlib.Path(sys.argv[1]).resolve())
