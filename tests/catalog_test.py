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


def main(program):
    code, result = candor(program, "catalog", "--dir", ROOT)
    wrong = [entry for entry in result["entries"] if not entry["agrees"]]
    assert code == 0 and not wrong, wrong
    check_planted_fault(program)
    print(f"catalog: {len(result['entries'])} claims agree, {check_files(program)} files audited")


main(sys.argv[1])
