#!/usr/bin/env python3
"""Small games solved in 100-digit arithmetic, straight from the definitions of MATH 2 and 3.

    python tools/make_exact_goldens.py tests/golden/exact_games.jsonl [GAMES]

One game a line; needs mpmath. Nothing is shared with the C++ solver: generators and inverse slopes
are the textbook ones, the dual variable is found by a bracketing root finder, and a payment is the
plain difference of two welfares. `core/exact_games_test.cc` compares.
"""
import json
import multiprocessing
import random
import sys

from mpmath import exp, findroot, lambertw, log, mp, mpf, sqrt

mp.dps = 100


def family(name, a):
    """f, f' and its inverse at strength 1."""
    if name == "kl":
        return lambda r: r * log(r) if r else mpf(0), lambda r: log(r) + 1, lambda t: exp(t - 1)
    if name == "chi2":
        return lambda r: (r - 1) ** 2, lambda r: 2 * (r - 1), lambda t: max(mpf(0), 1 + t / 2)
    if name == "reverse_kl":
        return lambda r: -log(r), lambda r: -1 / r, lambda t: -1 / t
    if name == "js":
        return (lambda r: (r * log(r) - (r + 1) * log((r + 1) / 2)) / 2, lambda r: log(2 * r / (r + 1)) / 2,
                lambda t: exp(2 * t) / (2 - exp(2 * t)))
    if name == "hellinger":
        return lambda r: (sqrt(r) - 1) ** 2, lambda r: 1 - 1 / sqrt(r), lambda t: 1 / (1 - t) ** 2
    if name == "jeffreys":
        return (lambda r: (r - 1) * log(r), lambda r: log(r) + 1 - 1 / r,
                lambda t: 1 / lambertw(exp(1 - t)).real)
    if name == "alpha":
        def inverse(t):
            base = 1 + (a - 1) * t
            return base ** (1 / (a - 1)) if base > 0 else mpf(0)
        return (lambda r: (r**a - a * r - (1 - a)) / (a * (a - 1)), lambda r: (r ** (a - 1) - 1) / (a - 1), inverse)
    raise ValueError(name)


def solve(functions, strength, initial, total):
    """Ratios of the SW-Max model for the total reward, and its welfare."""
    value, slope, inverse = functions
    best = max(total)
    top = sum(p for p, s in zip(initial, total) if s == best)

    def excess(mu):
        return sum(p * inverse((s - mu) / strength) for p, s in zip(initial, total)) - 1

    low, high = best - strength * slope(1 / top), best - strength * slope(mpf(1))
    if high - low < mpf(10) ** -90:
        mu = high
    elif excess(low) <= 0:
        mu = low
    else:
        mu = findroot(excess, (low, high), solver="anderson", tol=mpf(10) ** -180, maxsteps=1000, verify=False)
    assert abs(excess(mu)) < mpf(10) ** -85, (excess(mu), mu)
    return [inverse((s - mu) / strength) for s in total]


def welfare(functions, strength, initial, total, ratios):
    return sum(p * (r * s - strength * functions[0](r)) for p, s, r in zip(initial, total, ratios))


def one_game(random_source, name):
    orders = ["-1.5", "0.25", "0.95", "1.25", "1.5", "3"]
    order = random_source.choice(orders) if name == "alpha" else "2"
    outcomes, groups = random_source.randint(2, 6), random_source.randint(1, 4)
    strength = random_source.choice([1, 2, 4, 8, 16, 64]) / 4
    weights = [random_source.randint(1, 64) for _ in range(outcomes)]
    sizes = [random_source.randint(1, 9) for _ in range(groups)]
    rewards = [[random_source.randint(0, 64) for _ in range(outcomes)] for _ in range(groups)]
    for reward in rewards:
        reward[random_source.randrange(outcomes)] = 64
    functions = family(name, mpf(order))
    initial = [mpf(w) / sum(weights) for w in weights]
    total = [sum(mpf(w * r[x]) / 64 for w, r in zip(sizes, rewards)) for x in range(outcomes)]
    ratios = solve(functions, mpf(strength), initial, total)
    payments = []
    for size, reward in zip(sizes, rewards):
        others = [s - mpf(size * r) / 64 for s, r in zip(total, reward)]
        alone = solve(functions, mpf(strength), initial, others)
        payments.append(welfare(functions, strength, initial, others, alone)
                        - welfare(functions, strength, initial, others, ratios))
    return {"divergence": name, "alpha": float(order), "lambda": strength, "initial": weights, "sizes": sizes,
            "rewards_64": rewards, "welfare": float(welfare(functions, strength, initial, total, ratios)),
            "payments": [float(p) for p in payments]}


NAMES = ["kl", "chi2", "reverse_kl", "js", "hellinger", "jeffreys", "alpha"]


def line(index):
    source = random.Random(f"20261124 {index}")
    return json.dumps(one_game(source, NAMES[index % len(NAMES)]), separators=(",", ":")) + "\n"


def main(path, games):
    with multiprocessing.Pool() as pool, open(path, "w", encoding="utf-8") as out:
        out.writelines(pool.imap(line, range(games), chunksize=50))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10000)
