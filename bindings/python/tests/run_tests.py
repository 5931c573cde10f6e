#!/usr/bin/env python3
"""Builds the wheel of a clean copy of this repository in a fresh virtual environment and runs the
Python tests, the type check and the tutorial there. Exit 77, saying why, where pip cannot reach
packages."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import venv

ROOT = pathlib.Path(__file__).resolve().parents[3]
TOOLS = ["ipykernel==7.4.0", "matplotlib==3.11.2", "mypy==2.4.1", "nbclient==0.11.0"]
SAMPLE = """import candor
import numpy as np
game: candor.Game = candor.Game(np.ones(2), [candor.Report("a", 1, [1.0, 0.0])])
solution = candor.solve(game)
payment: float = solution.groups[0].payment
integers: list[int] = candor.settle(candor.Table([("A", 0)], [("a", 1, [5])])).groups[0].prices
"""
NOTEBOOK = """import nbformat, nbclient, sys
book = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute()
pictures = sum("image/png" in o.get("data", {}) for c in book.cells for o in c.get("outputs", []))
assert pictures >= 2, f"{pictures} pictures"
print("tutorial:", len(book.cells), "cells,", pictures, "pictures")
"""


def main(scratch):
    environment = scratch / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, *TOOLS]).returncode != 0:
        print("skipped: pip cannot install", ", ".join(TOOLS))
        sys.exit(77)
    source = scratch / "source"
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    subprocess.run([*pip, str(source)], check=True)
    tests = source / "bindings" / "python"
    subprocess.run([python, tests / "tests" / "test_candor.py"], cwd=scratch, check=True)
    for sample in re.findall(r"```python\n(.*?)```", (source / "README.md").read_text(), re.S):
        subprocess.run([python, "-c", sample], cwd=scratch, check=True)
    (scratch / "sample.py").write_text(SAMPLE)
    subprocess.run([python, "-m", "mypy", "--strict", "sample.py"], cwd=scratch, check=True)
    subprocess.run([python, "-c", NOTEBOOK, tests / "tutorial.ipynb"], cwd=scratch, check=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="candor-python-") as folder:
        main(pathlib.Path(folder))
