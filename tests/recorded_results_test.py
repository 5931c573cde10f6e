#!/usr/bin/env python3
"""Recorded studies (docs/results) still mean what they say: every table settles to the recorded bytes,
no lie gains under its payments, and every receipt charges what the settlement says, in money by exact
rationals."""
import json
import math
import pathlib
import subprocess
import sys
from fractions import Fraction

ROOT = pathlib.Path(__file__).resolve().parent.parent
candor = sys.argv[1]


def amount(receipt: dict) -> str:
    """Payment x unit price as an exact fraction, rounded down once to the currency's last digit."""
    digits = receipt.get("exponent", 2)  # receipts before money was decimal are in euros
    owed = Fraction(int(receipt["payment"]), 2**32) * Fraction(receipt["unit_price"])
    minor = math.floor(owed * 10**digits)
    text = str(abs(minor)).zfill(digits + 1)
    point = len(text) - digits
    return ("-" if minor < 0 else "") + text[:point] + ("." + text[point:] if digits else "")


def check(folder: pathlib.Path) -> None:
    table = folder / "table.json"
    settled = subprocess.run([candor, "settle", table, "--format", "json", "--prices"],
                             capture_output=True, check=True).stdout
    recorded = json.loads((folder / "settlement.json").read_text())
    again = json.loads(settled)
    assert again["winner"] == recorded["winner"], folder
    assert again["table"] == recorded["table"], folder
    for mine, theirs in zip(again["groups"], recorded["groups"], strict=True):
        for key in theirs:
            assert mine[key] == theirs[key], (folder, key)
        assert mine["payment"] == mine["prices"][again["winner"]], folder
    subprocess.run([candor, "audit", table], capture_output=True, check=True)
    if (folder / "run.json").exists():
        verdict = subprocess.run([candor, "verify", folder], capture_output=True, text=True)
        assert verdict.returncode == 0 and " 0 fail, " in verdict.stdout, (folder, verdict.stdout, verdict.stderr)
    receipts = sorted((folder / "receipts").glob("*.json"))
    assert len(receipts) == len(recorded["groups"]), folder
    opened = [json.loads(path.read_text()) for path in receipts]
    for receipt in opened:
        assert receipt["amount"] == amount(receipt), (folder, receipt["group"], receipt["amount"], amount(receipt))
    paid = {receipt["group"]: receipt["payment"] for receipt in opened}
    for group in recorded["groups"]:
        assert paid[group["name"]] == group["payment"], (folder, group["name"])


folders = sorted(path.parent for path in (ROOT / "docs" / "results").rglob("table.json"))
assert folders, "no recorded study"
for folder in folders:
    check(folder)
    print(f"{folder.relative_to(ROOT)}: settles to what it says")
