"""Solves a game/1 file whose arrays lie in files as rounds of map and reduce on Dask.

    pip install dask distributed
    python examples/shards_dask.py GAME.json 8        # 8 shards a round

Every worker needs the `candor` program and the game's folder (a shared file system); a worker reads
only its own shard's part of the arrays. Any other batch system does: a round is one `candor solve
--shard` a worker and one `candor merge`.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

from dask.distributed import Client


def candor(*arguments):
    result = subprocess.run(["candor", *map(str, arguments)], capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip())
    return result.stdout


def main(game, shards):
    with Client() as client, tempfile.TemporaryDirectory(dir=pathlib.Path(game).resolve().parent) as folder:
        folder, state = pathlib.Path(folder), []
        for rounds in range(1, 100):
            parts = [folder / f"part-{rounds}-{shard}.json" for shard in range(shards)]
            jobs = [client.submit(candor, "solve", game, "--shard", f"{shard}/{shards}", *state, "--out", part)
                    for shard, part in enumerate(parts)]
            client.gather(jobs)
            following = folder / f"state-{rounds}.json"
            merged = json.loads(candor("merge", *parts, *state, "--out", following, "--format", "json"))
            if merged.get("candor") == "solution/1":
                print(json.dumps(merged, indent=2))
                print(f"{rounds} rounds of {shards} shards", file=sys.stderr)
                return
            state = ["--state", following]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
