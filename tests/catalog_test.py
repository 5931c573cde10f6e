#!/usr/bin/env python3
"""Every instance of catalog/ through the commands, against what the literature or a proof says."""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent / "catalog"
UNIT = 2.0**32


def candor(program, *arguments):
    result = subprocess.run([program, *map(str, arguments), "--format", "json"], capture_output=True, text=True, timeout=120)
    return result.returncode, json.loads(result.stdout)


def main(program):
    seen = sorted(ROOT.rglob("*.json"))
    assert len(seen) >= 4, seen
    for file in seen:
        assert candor(program, "audit", file)[0] == 0, f"{file}: affine payments must survive"
        assert candor(program, "audit", file, "--payments", "zero")[0] == 1, f"{file}: without payments lying pays"
    # MATH 3: both problems 10 against 10; the leave-one-out one is at its boundary: 4 each, not 6.25.
    solution = candor(program, "solve", ROOT / "chi2_active.json")[1]
    assert all(abs(g["payment"] - 4) < 1e-12 for g in solution["groups"]), solution
    # NeurIPS Table 2, sizes (3,2,1), truthful column: valuation 2.66, utility .57, welfare 3.08.
    code, settled = candor(program, "settle", ROOT / "sun2025" / "table2_w321.json")
    helpful = settled["groups"][0]
    assert abs(int(helpful["valuation"]) / UNIT - 2.66) < 0.02 and abs(int(helpful["utility"]) / UNIT - 0.57) < 0.02
    assert abs(int(settled["welfare"]) / UNIT - 3.08) < 0.02 and settled["winner"] == 2
    # Figure 1's shape: group 1 gets more by a report that is not its own, when nobody pays.
    audit = candor(program, "audit", ROOT / "sun2025" / "fig1_shape.json", "--payments", "zero")[1]
    reward_only = [f for f in audit["groups"][0]["families"] if f["family"] == "best_reward"][0]
    assert reward_only["deviation_gain"] > 0.01, audit["groups"][0]
    # Thm 3.2, case 2: lowering the worst outcome alone pays.
    audit = candor(program, "audit", ROOT / "sun2025" / "thm3_2_case2.json", "--payments", "zero")[1]
    for group in audit["groups"]:
        assert [f for f in group["families"] if f["family"] == "theorem_3_2"][0]["deviation_gain"] > 0, group
    print(f"catalog: {len(seen)} instances fine")


main(sys.argv[1])
