#!/usr/bin/env python3
"""Streamed solving against the machine's limits and against numpy and scipy, in one run.

    python bench/solve_large.py build/full/bench/solve_large [--outcomes 10000000] [--groups 8]

Needs numpy and scipy. Makes the games in a temporary folder, runs each contender in turn and
prints one JSON record: medians in seconds, ratios, versions, machine.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time

import numpy as np
import scipy
from scipy.special import logsumexp


def timed(work, rounds):
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def kl_scipy(initial, rewards, sizes, strength):
    """Welfare and payments as one writes them down: logsumexp for each of the n + 1 problems."""
    log_initial = np.log(initial)
    total = sizes @ rewards
    full = strength * logsumexp(total / strength + log_initial)
    model = np.exp(total / strength + log_initial - full / strength)
    payments = []
    for size, reward in zip(sizes, rewards):
        without = strength * logsumexp((total - size * reward) / strength + log_initial)
        payments.append(without - (full - size * (model @ reward)))
    return full, payments


def kl_numpy(initial, rewards, sizes, strength):
    """The same in place: one exponential per problem, buffers reused, no logarithm of p0."""
    total = sizes @ rewards
    weight = np.empty_like(total)
    np.subtract(total, total.max(), out=weight)
    weight /= strength
    np.exp(weight, out=weight)
    weight *= initial
    mass = weight.sum()
    full = total.max() + strength * np.log(mass)
    payments = []
    other = np.empty_like(total)
    for size, reward in zip(sizes, rewards):
        mean = weight @ reward / mass
        np.subtract(reward, mean, out=other)
        other *= -size / strength
        np.exp(other, out=other)
        payments.append(strength * np.log(weight @ other / mass))
    return full, payments


def make_games(folder, outcomes, groups):
    random = np.random.default_rng(1)
    initial = random.random(outcomes) + 0.1
    initial /= initial.sum()
    rewards = random.random((groups, outcomes))
    rewards /= rewards.max(axis=1, keepdims=True)
    np.save(folder / "initial.npy", initial)
    np.save(folder / "r64.npy", rewards)
    np.save(folder / "r32.npy", rewards.astype(np.float32))
    sizes = np.arange(1, groups + 1, dtype=float)
    strength = float(sizes.sum()) / 7
    for name, column, divergence in [
        ("kl_f64", "r64.npy", {"name": "kl", "lambda": strength}),
        ("kl_f32", "r32.npy", {"name": "kl", "lambda": strength}),
        ("chi2_inactive", "r64.npy", {"name": "chi2", "lambda": 2 * float(sizes.sum())}),
        ("chi2_active", "r64.npy", {"name": "chi2", "lambda": float(sizes.sum()) / 9}),
        ("js", "r64.npy", {"name": "js", "lambda": strength}),
    ]:
        entries = [{"name": f"g{i}", "size": i + 1, "reward": {"file": column, "row": i}} for i in range(groups)]
        game = {"candor": "game/1", "divergence": divergence, "normalization": "max",
                "initial": {"file": "initial.npy"}, "groups": entries}
        (folder / f"{name}.json").write_text(json.dumps(game))
    return initial, rewards, sizes, strength


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--outcomes", type=int, default=10_000_000)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    record = {"bench": "solve_large", "numpy": np.__version__, "scipy": scipy.__version__,
              "machine": platform.processor() or platform.machine(), "threads": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        initial, rewards, sizes, strength = make_games(folder, options.outcomes, options.groups)
        for game in ["kl_f64", "kl_f32", "chi2_inactive", "chi2_active", "js"]:
            rounds = options.rounds if game != "js" and game != "chi2_active" else 3
            output = subprocess.run([options.program, str(folder / f"{game}.json"), str(rounds)],
                                    capture_output=True, text=True, check=True).stdout
            record[game] = json.loads(output)
        # Peers between two measurements of ours, so that a busy host shows.
        record["scipy_kl_s"] = timed(lambda: kl_scipy(initial, rewards, sizes, strength), 3)
        record["numpy_kl_s"] = timed(lambda: kl_numpy(initial, rewards, sizes, strength), 3)
        output = subprocess.run([options.program, str(folder / "kl_f64.json"), str(options.rounds)],
                                capture_output=True, text=True, check=True).stdout
        record["kl_f64_again"] = json.loads(output)
    ours = record["kl_f64"]
    record["kl_f64_over_limit"] = ours["solve_s"] / max(ours["read_s"], ours["exp_s"])
    record["scipy_over_kl_f64"] = record["scipy_kl_s"] / ours["solve_s"]
    record["numpy_over_kl_f64"] = record["numpy_kl_s"] / ours["solve_s"]
    record["scipy_over_kl_f32"] = record["scipy_kl_s"] / record["kl_f32"]["solve_s"]
    record["numpy_over_kl_f32"] = record["numpy_kl_s"] / record["kl_f32"]["solve_s"]
    record["chi2_inactive_read_share"] = record["chi2_inactive"]["read_s"] / record["chi2_inactive"]["solve_s"]
    print(json.dumps(record))


main()
