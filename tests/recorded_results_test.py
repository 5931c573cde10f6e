#!/usr/bin/env python3
"""Recorded studies (docs/results) still mean what they say: every table settles to the recorded bytes,
no lie gains under its payments, and every receipt charges what the settlement says."""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
candor = sys.argv[1]


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
    receipts = sorted((folder / "receipts").glob("*.json"))
    assert len(receipts) == len(recorded["groups"]), folder
    paid = {r["group"]: r["payment"] for r in map(lambda p: json.loads(p.read_text()), receipts)}
    for group in recorded["groups"]:
        assert paid[group["name"]] == group["payment"], (folder, group["name"])


folders = sorted(path.parent for path in (ROOT / "docs" / "results").rglob("table.json"))
assert folders, "no recorded study"
for folder in folders:
    check(folder)
    print(f"{folder.relative_to(ROOT)}: settles to what it says")
