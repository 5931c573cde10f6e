#!/usr/bin/env python3
"""KL games of 10,000 outcomes and two groups: SW-Max and both payments (three solves) by Candor and by
cvxopt's `cp` with a hand-written KKT solver, interleaved; prints one JSON record.

    python bench/solve_many.py build/full/bench/solve_many [--games 5]      # needs numpy, cvxopt 1.3

Each cvxopt solve maximises <s, p> - L sum p log(p/p0) over the simplex; its KKT systems are diagonal
plus one row and are solved in O(m) by the elimination below, which is the fastest that package can do.
"""
import argparse
import json
import subprocess
import time

import numpy as np
from cvxopt import matrix, solvers, spmatrix


def cvxopt_welfare(total, initial, strength):
    m = len(total)
    s, log_initial = matrix(total), np.log(initial)
    ones = spmatrix(1.0, [0] * m, range(m))
    inequality, bound = spmatrix(-1.0, range(m), range(m)), matrix(0.0, (m, 1))

    def objective(p=None, z=None):
        if p is None:
            return 0, matrix(initial)
        if min(p) <= 0:
            return None
        values = np.array(p).ravel()
        logs = np.log(values) - log_initial
        value = -float(total @ values) + strength * float(values @ logs)
        slope = matrix(-total + strength * (logs + 1)).T
        if z is None:
            return value, slope
        return value, slope, spmatrix(z[0] * strength / values, range(m), range(m))

    def kkt(p, z, scaling):
        d = np.array(scaling["di"]).ravel() ** 2
        h = z[0] * strength / np.array(p).ravel() + d
        factor = 1.0 / np.sum(1.0 / h)

        def solve(x, y, zz):
            right = np.array(x).ravel() - np.array(scaling["di"]).ravel() ** 2 * np.array(zz).ravel()
            multiplier = factor * (np.sum(right / h) - y[0])
            step = (right - multiplier) / h
            x[:] = matrix(step)
            y[0] = multiplier
            zz[:] = matrix(np.array(scaling["di"]).ravel() * (-step - np.array(zz).ravel()))

        return solve

    found = solvers.cp(objective, G=inequality, h=bound, A=ones, b=matrix(1.0), kktsolver=kkt)
    return -found["primal objective"], found["status"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--games", type=int, default=5)
    options = parser.parse_args()
    solvers.options.update(show_progress=False, abstol=1e-9, reltol=1e-9, feastol=1e-9)
    m, strength, rng = 10_000, 1.0, np.random.default_rng(1)
    ours, streamed, theirs, errors = [], [], [], []
    for _ in range(options.games):
        initial = rng.random(m) + 0.1
        initial /= initial.sum()
        rewards = rng.random((2, m))
        rewards /= rewards.max(axis=1, keepdims=True)
        sizes = np.array([2.0, 3.0])
        text = f"1 {m} 2 {strength}\n" + " ".join(map(repr, map(float, np.concatenate([initial, [sizes[0]], rewards[0], [sizes[1]], rewards[1]]))))
        printed = subprocess.run([options.program], input=text, capture_output=True, text=True, check=True).stdout.split()
        ours.append(float(printed[1]))
        streamed.append(float(printed[2]))
        begin = time.perf_counter()
        welfare, status = cvxopt_welfare(sizes @ rewards, initial, strength)
        for group in range(2):
            cvxopt_welfare(sizes[1 - group] * rewards[1 - group], initial, strength)
        theirs.append(time.perf_counter() - begin)
        errors.append(abs(welfare - float(printed[0])))
        assert status == "optimal" and errors[-1] < 1e-6, (status, errors[-1])
    import cvxopt
    print(json.dumps({"bench": "solve_many", "outcomes": m, "groups": 2, "solves": 3, "games": options.games, "cvxopt": cvxopt.__version__,
                      "candor_s": float(np.median(ours)), "cvxopt_s": float(np.median(theirs)),
                      "ratio": float(np.median(theirs) / np.median(ours)),
                      "stream_s": float(np.median(streamed)), "stream_ratio": float(np.median(theirs) / np.median(streamed)), "largest_welfare_difference": max(errors)}))


main()
