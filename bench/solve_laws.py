#!/usr/bin/env python3
"""Every divergence, solved by two builds in interleaved short rounds; prints one JSON record.

    python bench/solve_laws.py NEW/solve_laws OLD/solve_laws --outcomes 10000 --groups 2 [--stream] [--rounds 15] [--seconds 0.02]

Per case: the medians of each build's rounds (a round is the least time in about --seconds), and the median of
new/old within a round. A build older than bench/solve_laws.cc compiles that file beside its own bench/.
"""
import argparse
import json
import statistics
import subprocess


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("new")
    parser.add_argument("old")
    parser.add_argument("--outcomes", type=int, default=10_000)
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.02)
    parser.add_argument("--cases", nargs="*", default=[])
    options = parser.parse_args()
    arguments = [str(options.outcomes), str(options.groups), "stream" if options.stream else "memory", str(options.seconds), *options.cases]
    rounds = {"new": [], "old": []}
    for index in range(options.rounds):
        # Neither build always goes first.
        for name in ("new", "old") if index % 2 else ("old", "new"):
            printed = subprocess.run([getattr(options, name), *arguments], capture_output=True, text=True, check=True).stdout
            rounds[name].append(json.loads(printed))
    cases = {}
    for case in rounds["new"][0]["cases"]:
        new, old = ([one["cases"][case]["s"] for one in rounds[name]] for name in ("new", "old"))
        cases[case] = {"old_s": statistics.median(old), "new_s": statistics.median(new),
                       "ratio": round(statistics.median(a / b for a, b in zip(new, old)), 3),
                       "old_reads": rounds["old"][0]["cases"][case]["reads"], "new_reads": rounds["new"][0]["cases"][case]["reads"]}
    probe = statistics.median(one["exp_s"] for both in rounds.values() for one in both)
    print(json.dumps({"bench": "solve_laws", "outcomes": options.outcomes, "groups": options.groups, "stream": options.stream,
                      "rounds": options.rounds, "exp_s": probe, "cases": cases}))


main()
