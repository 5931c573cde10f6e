#!/usr/bin/env python3
"""Every claim of catalog/catalog.json through `candor catalog`; every file of the catalog through the
audits; and a planted fault that the catalog must see."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent / "catalog"


def candor(program, *arguments):
    result = subprocess.run([program, *map(str, arguments), "--format", "json"], capture_output=True, text=True, timeout=300)
    return result.returncode, json.loads(result.stdout)


def check_files(program):
    files = sorted(path for path in ROOT.rglob("*.json") if path.name != "catalog.json")
    used = {entry.get("file") for entry in json.loads((ROOT / "catalog.json").read_text())["entries"]}
    unused = [str(path) for path in files if str(path.relative_to(ROOT)) not in used]
    assert not unused, f"no entry uses {unused}"
    for path in files:
        assert candor(program, "audit", path)[0] == 0, f"{path}: affine payments must survive"
    return len(files)


def check_planted_fault(program):
    """A wrong number in the paper's table must make the catalog fail, and name it."""
    with tempfile.TemporaryDirectory(prefix="candor-catalog-") as folder:
        copy = pathlib.Path(folder) / "catalog"
        shutil.copytree(ROOT, copy)
        text = (copy / "catalog.json").read_text()
        assert "2.66" in text
        (copy / "catalog.json").write_text(text.replace("2.66", "2.76"))
        code, result = candor(program, "catalog", "table2_w321_valuation", "--dir", copy)
        assert code == 1 and not result["entries"][0]["agrees"], result


def check_sentences(program):
    """Every entry is a sentence of somebody's with a tolerance, and ours are not put into the paper's mouth."""
    entries = {entry["name"]: entry for entry in json.loads((ROOT / "catalog.json").read_text())["entries"]}
    names = ["thm3_3_dsic", "thm_a1_counterexample", "table2_w321_valuation"]
    printed = subprocess.run([program, "catalog", *names, "--dir", ROOT], capture_output=True, text=True, check=True).stdout
    assert "  the paper says: no lie gains under p^AFF\n  we find: the groups' largest gains are 0, 0 (at most 1e-09 allowed)" in printed, printed
    assert "  we say: at these rewards truth is optimal although t is not 0" in printed, printed
    assert "(tolerance 0.02)" in printed, printed
    for entry in candor(program, "catalog", "--dir", ROOT)[1]["entries"]:
        by = entries[entry["name"]]["by"]
        assert entry["claim"].startswith("we say: " if by == "us" else "the paper says: "), entry
        assert entry["finding"].startswith("we find: ") and entry["tolerance"], entry
        assert "{}" not in entry["claim"] + entry["finding"], entry
        assert by == "us" or not entries[entry["name"]]["source"].startswith("Ours"), entry


def check_errors(program):
    """A catalog that is wrong is refused with the place."""
    entry = {"name": "a", "source": "s", "by": "paper", "claim": "c", "run": {"command": "solve"}, "value": "welfare",
             "file": "sun2025/fig1_shape.json", "says": {"at_least": 0}, "finding": "{}"}
    wrong = [({"by": "somebody"}, "entries[0].by"), ({"finding": {"yes": "y"}}, "entries[0].finding.no"),
             ({"value": "groups/*/nothing"}, 'nothing at "nothing" of "groups/*/nothing"')]
    for change, message in wrong:
        with tempfile.TemporaryDirectory(prefix="candor-catalog-") as folder:
            copy = pathlib.Path(folder) / "catalog"
            shutil.copytree(ROOT, copy)
            (copy / "catalog.json").write_text(json.dumps({"candor": "catalog/1", "entries": [entry | change]}))
            result = subprocess.run([program, "catalog", "--dir", copy], capture_output=True, text=True)
            assert result.returncode == 3 and message in result.stderr, (result.returncode, result.stderr)


def main(program):
    code, result = candor(program, "catalog", "--dir", ROOT)
    wrong = [entry for entry in result["entries"] if not entry["agrees"]]
    assert code == 0 and not wrong, wrong
    check_planted_fault(program)
    check_sentences(program)
    check_errors(program)
    print(f"catalog: {len(result['entries'])} claims agree, {check_files(program)} files audited")


main(sys.argv[1])
