"""The Python package against formulas written in NumPy. Run by run_tests.py in a fresh environment."""
import ast
import pathlib
import re
import signal
import subprocess
import sys
import time

import candor
import numpy as np

FIGURE_1 = candor.Game([0.25] * 4, [candor.Report("a", 1, [1, 0.7, 0.3, 0.1]), candor.Report("b", 1, [0.2, 0.5, 1, 0.6])])


def raises(message, call, kind=candor.CandorError):
    try:
        call()
    except kind as error:
        assert message in str(error), f"{message!r} is not in {error}"
        return
    raise AssertionError(f"nothing was raised; expected {message!r}")


def random_game(rng, **more):
    m, n = rng.integers(3, 30), rng.integers(1, 5)
    rewards = rng.random((n, m))
    rewards /= rewards.max(axis=1, keepdims=True)
    sizes = rng.integers(1, 9, n)
    initial = rng.random(m) + 0.05
    groups = [candor.Report(f"g{i}", w, r) for i, (w, r) in enumerate(zip(sizes, rewards))]
    return candor.Game(initial, groups, **more), initial / initial.sum(), rewards, sizes


def test_kl_is_the_log_partition():
    rng = np.random.default_rng(1)
    for _ in range(50):
        strength = rng.uniform(0.2, 5)
        game, p0, rewards, sizes = random_game(rng, divergence=candor.Divergence("kl", strength))
        solution = candor.solve(game)
        log_z = lambda total: strength * np.log(p0 @ np.exp(total / strength))
        total = sizes @ rewards
        assert abs(solution.welfare - log_z(total)) < 1e-10
        p = p0 * np.exp(total / strength)
        np.testing.assert_allclose(solution.allocation, p / p.sum(), rtol=1e-10)
        for i, group in enumerate(solution.groups):
            own = sizes[i] * (rewards[i] @ solution.allocation)
            assert abs(group.payment - (log_z(total - sizes[i] * rewards[i]) - (solution.welfare - own))) < 1e-9


def test_interior_chi2_payments_are_variances():
    rng = np.random.default_rng(2)
    for _ in range(20):
        game, p0, rewards, sizes = random_game(rng, divergence=candor.Divergence("chi2", 1000))
        for i, group in enumerate(candor.solve(game).groups):
            variance = p0 @ rewards[i] ** 2 - (p0 @ rewards[i]) ** 2
            assert abs(group.payment - sizes[i] ** 2 * variance / 4000) < 1e-12 + 1e-9 * group.payment


def test_min_max_takes_raw_scores():
    rng = np.random.default_rng(4)
    for _ in range(20):
        _, p0, rewards, sizes = random_game(rng)
        raw = 7 * rewards - rng.uniform(0, 9, (len(rewards), 1))
        low, high = raw.min(axis=1, keepdims=True), raw.max(axis=1, keepdims=True)
        welfare = np.log(p0 @ np.exp(sizes @ ((raw - low) / (high - low))))
        groups = [candor.Report(f"g{i}", w, r) for i, (w, r) in enumerate(zip(sizes, raw))]
        game = candor.Game(p0, groups, normalization="min_max")
        assert abs(candor.solve(game).welfare - welfare) < 1e-10
        assert abs(candor.solve_arrays(p0, raw, [float(w) for w in sizes], normalization="min_max").welfare - welfare) < 1e-10
        raises("Thm 4.11", lambda: candor.fee_room(game, 0))
    flat = [candor.Report("flat", 1, [2, 2])]
    raises('group "flat" has the reward 2 on every outcome', lambda: candor.Game([1, 1], flat, normalization="min_max"))


def test_arrays_are_not_copied():
    m = 4_000_000
    rng = np.random.default_rng(3)
    rewards, initial = rng.random((2, m), dtype=np.float32), rng.random(m, dtype=np.float32) + 0.1
    status = lambda: int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/self/status").read_text()).group(1)) * 1024
    before = status()
    streamed = candor.solve_arrays(initial, rewards, [2, 3])
    assert status() - before < 0.5 * rewards.nbytes, "memory grew by the size of the arrays"
    few = slice(0, 5000)
    game = candor.Game(initial[few], [candor.Report("a", 2, rewards[0, few]), candor.Report("b", 3, rewards[1, few])])
    small = candor.solve_arrays(np.ascontiguousarray(initial[few]), np.ascontiguousarray(rewards[:, few]), [2, 3])
    assert abs(small.welfare - candor.solve(game).welfare) < 1e-9
    assert streamed.groups[0].payment > 0
    raises("not C-contiguous", lambda: candor.solve_arrays(initial[few], rewards[:, ::2], [2, 3]))
    raises("float32 or float64", lambda: candor.solve_arrays(np.ones(5, int), np.ones((2, 5), int), [2, 3]))


def test_views_outlive_their_owner_and_cannot_be_written():
    allocation = candor.solve(FIGURE_1).allocation
    assert abs(allocation.sum() - 1) < 1e-12
    raises("read-only", lambda: allocation.__setitem__(0, 1.0), ValueError)


def test_audit_finds_lies_only_without_payments():
    assert candor.audit(FIGURE_1, "zero").profitable
    audit = candor.audit(FIGURE_1)
    assert not audit.profitable and all(g.bound == "exact" for g in audit.groups)
    giant = candor.Game([0.5, 0.5], [candor.Report("big", 2**31 - 1, [1, 1]), candor.Report("small", 1, [1, 0])])
    big, small = candor.audit(giant, "zero").groups
    assert small.profitable and small.threshold < 1e-13 and not big.profitable
    raises("expected one of affine", lambda: candor.audit(FIGURE_1, "free"))
    assert audit.groups[0].assumptions["thm_3_2"][0] and not audit.groups[0].assumptions["thm_e_2_1"][0]
    assert len(audit.groups[0].t) == 4


def test_moduli_and_the_fee_formula():
    paper, sharp = candor.continuity_modulus(FIGURE_1.divergence, 0.05)
    assert paper < sharp and abs(candor.initial_modulus(FIGURE_1, 0.05)[0] - sharp) < 1e-12
    formula = candor.kl_fee_formula(FIGURE_1, "a")
    assert formula.holds and abs(formula.largest - candor.fee_room(FIGURE_1, "a").largest) < 1e-12


def test_tables_are_integers():
    unit = candor.UNIT
    assert unit == 2**32
    table = candor.Table([("A", 0), ("B", unit // 4)], [("a", 3, [0, unit]), ("b", 2, [unit, unit // 2])])
    settled = candor.settle(table)
    assert settled.winner == 1 and settled.groups[0].payment == 2 * unit - (unit - unit // 4)
    assert settled.groups[0].prices[settled.winner] == settled.groups[0].payment
    assert not candor.audit_table(table).profitable
    pieces = candor.size_inflation_pieces(table, 0, 2.0)
    assert [p.winner for p in pieces] == [0, 1] and abs(pieces[1].begin - 1.25 / 3) < 1e-15
    raises("groups[0]", lambda: candor.Table([("A", 0)], [("a", 1, [2 * unit])]))


def test_own_rules():
    def first(game):
        model = np.zeros(game.outcome_count)
        model[0] = 1
        return model

    def contrary(game):
        return 1 - candor.solve(game).allocation if game.outcome_count == 2 else first(game)

    constant = candor.study_rule(first, FIGURE_1, search_runs=40)
    assert constant.verdict == "none_found" and constant.implementable is None
    assert constant.incentives.payments_exist and 24 < constant.rule_runs <= 24 + 40
    two = candor.Game([0.5, 0.5], [candor.Report("a", 3, [1, 0]), candor.Report("b", 1, [0, 1])])
    study = candor.study_rule(contrary, two)
    assert study.implementable is False and study.incentives.worst_cycle_length < 0
    assert study.rule == "contrary" and study.verdict == "no"
    # A model that is not exact says so, and no witness rests on its error; two numbers are a model.
    assert candor.study_rule(lambda game: (contrary(game), 2.0), two, search_runs=0).verdict == "none_found"
    assert candor.train(lambda game: (0.25, 0.75), two) == [0.25, 0.75]
    raises("the rule's error", lambda: candor.train(lambda game: ([0.5, 0.5], -1.0), two))
    raises("sums to", lambda: candor.train(lambda game: [0.5] * 4, FIGURE_1))
    raises("broken", lambda: candor.train(lambda game: (_ for _ in ()).throw(RuntimeError("broken")), FIGURE_1))
    np.testing.assert_allclose(candor.train("sw_max", FIGURE_1), candor.solve(FIGURE_1).allocation, rtol=1e-12)


def test_verdicts():
    """Provably not implementable; `none_found` before the search knew types of one stake."""
    for rule in ("nash", "mean_of_optima", "median_of_optima"):
        study = candor.study_rule(rule, FIGURE_1)
        assert study.verdict == "no", study.why
        witness = study.worst_cycle_types
        length = 0.0
        for here, there in zip(witness, witness[1:] + witness[:1]):
            model = [candor.train(rule, FIGURE_1.with_report("a", t.size, t.reward)) for t in (here, there)]
            length += there.size * np.dot(there.reward, np.subtract(model[1], model[0]))
        assert abs(length - study.incentives.worst_cycle_length) < 1e-12 and length < 0
        assert candor.study_rule(rule, FIGURE_1, types=witness).verdict == "no"
    proved = candor.study_rule("sw_max", FIGURE_1)
    assert proved.implementable is True and "subgradient" in proved.why and proved.types_searched == 24


def test_sweep_reports_progress():
    seen = []
    points = candor.sweep(FIGURE_1, "a", "size_inflation", [0.5, 1, 2], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert max(points, key=lambda p: p.utility).parameter == 1


def test_errors_say_what_is_wrong():
    raises("entries", lambda: candor.Game([0.5, 0.5], [candor.Report("a", 1, [1])]))
    raises("whole number", lambda: candor.Game([0.5, 0.5], [candor.Report("a", 1.5, [1, 0])]))
    raises("expected one of", lambda: candor.Divergence("k1"))
    raises("no group is named", lambda: candor.price_menu(FIGURE_1, "zed"))


def test_what_is_no_game_is_refused():
    nan, inf = float("nan"), float("inf")
    one = lambda: [1.0] * 4
    raises("types: found 0", lambda: candor.study_rule("sw_max", FIGURE_1, type_count=0))
    raises("types: found 600", lambda: candor.study_rule("sw_max", FIGURE_1, type_count=600))
    raises("not normalised", lambda: candor.study_rule("sw_max", FIGURE_1, types=[candor.Report("t", 1, [2, 1, 1, 1])]))
    raises("the game has 4", lambda: candor.study_rule("sw_max", FIGURE_1, types=[candor.Report("t", 1, [1, 1])]))
    for size in (-1, 0, nan, inf):
        raises("size: found", lambda size=size: FIGURE_1.with_report("a", size, one()))
        raises("size: found", lambda size=size: candor.best_response_without_payments(FIGURE_1, "a", size))
    raises("reward[2]: is not finite", lambda: FIGURE_1.with_report("a", 1, [1, 1, nan, 1]))
    raises("model[0]: is not finite", lambda: candor.affine_social_welfare(FIGURE_1, [nan, 1, 0, 0]))
    raises("group 7", lambda: candor.affine_social_welfare(FIGURE_1, [0.25] * 4, without=7), IndexError)
    raises("value[1]: is not finite", lambda: candor.check_implementable([[0, nan], [0, 0]]))
    raises("error[0]: is not finite", lambda: candor.check_implementable([[0]], nan))
    raises("divergence.lambda", lambda: candor.Divergence("kl", -1))
    raises("divergence.alpha", lambda: candor.Divergence("alpha", 1, 1.0))
    raises("ratio: found", lambda: candor.generator_slope(candor.Divergence("kl"), 0))
    raises("ratio: found", lambda: candor.generator(candor.Divergence("kl"), -1))
    assert candor.generator(candor.Divergence("kl"), 0) == 0
    raises("beyond 64 bits", lambda: candor.Table([("A", 2**70)], [("a", 1, [0])]))
    raises("beyond 64 bits", lambda: candor.Table([("A", 0)], [("a", 1, [-(2**64)])]))
    raises("expected one of affine, zero, pay_report", lambda: candor.audit(FIGURE_1, "zeor"))
    raises("expected one of uniform", lambda: candor.study_noise(FIGURE_1, "unifrom"))


def test_plans_say_what_they_rest_on():
    assumed = candor.plan_sampling(0.02, groups=2, candidates=11, between=0.02, within=0.05)
    assert (assumed.basis, assumed.prompts, assumed.replies, assumed.samples) == ("assumed", 2590, 1, 28490)
    two = candor.Game([1, 1, 1, 1], [candor.Report("a", 1, [1, 1, 1, 1])], candor.Divergence("kl", 1), blocks=[2, 2])
    plan = candor.plan_sampling(0.02, pilot=two)
    assert (plan.basis, plan.prompts, plan.prompts_hoeffding) == ("hoeffding", 4612, 4612)
    assert plan.least_pilot > 50 and plan.forecast_prompts > 4612
    raises("at least 2 blocks", lambda: candor.plan_sampling(0.02, pilot=FIGURE_1))


def test_stubs_name_everything():
    """The type stubs and the module list the same classes, attributes and functions."""
    from candor import _core

    tree = ast.parse((pathlib.Path(candor.__file__).parent / "_core.pyi").read_text())
    public = lambda names: {name for name in names if not name.startswith("_")}
    functions = public(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    runtime = {name: getattr(_core, name) for name in public(dir(_core))}
    assert functions | classes.keys() | {"UNIT"} == runtime.keys(), (functions | classes.keys()) ^ runtime.keys()
    for name, node in classes.items():
        stub = public(item.name for item in node.body if isinstance(item, ast.FunctionDef))
        if name != "CandorError":
            assert stub == public(dir(runtime[name])), f"{name}: {stub ^ public(dir(runtime[name]))}"
    undocumented = [name for name in functions if len((runtime[name].__doc__ or "").splitlines()) < 2]
    assert not undocumented, undocumented


def test_control_c_stops_long_work():
    code = (
        "import candor, numpy as np\n"
        "r = np.random.default_rng(1); m = 40000\n"
        "g = [candor.Report(f'g{i}', 3, r.random(m)) for i in range(4)]\n"
        "game = candor.Game(r.random(m) + .1, g, candor.Divergence('jeffreys', 1))\n"
        "print('go', flush=True)\n"
        "candor.audit(game, 'zero')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "go\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt" in error, error


if __name__ == "__main__":
    tests = [(name, test) for name, test in list(globals().items()) if name.startswith("test_")]
    for name, test in tests:
        test()
        print("ok", name)
