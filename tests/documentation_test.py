#!/usr/bin/env python3
"""Runs what the documents show. In README.md and docs/, a block ```console holds commands after "$ "
and, below each, what they print; a block ```json file=NAME is written to NAME first. "..." in the
expected output stands for anything. Commands run in a scratch folder with catalog/ and examples/ in
it and `candor` on the path; blocks marked ```sh are for people (long or installing) and do not run."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def blocks(text):
    for match in re.finditer(r"^```(console|json file=(\S+))\n(.*?)^```$", text, re.M | re.S):
        yield match.group(2), match.group(3)


def commands(block):
    command, expected = None, []
    for line in block.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, "\n".join(expected)
            command, expected = line[2:], []
        else:
            expected.append(line)
    if command:
        yield command, "\n".join(expected)


def matches(expected, printed):
    pattern = r"[\s\S]*?".join(re.escape(part) for part in expected.strip().split("..."))
    return re.fullmatch(pattern, printed.strip()) is not None


def main(program):
    ran = 0
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    with tempfile.TemporaryDirectory(prefix="candor-docs-") as folder:
        folder = pathlib.Path(folder)
        (folder / "bin").mkdir()
        (folder / "bin" / "candor").symlink_to(pathlib.Path(program).resolve())
        for name in ("catalog", "examples"):
            (folder / name).symlink_to(ROOT / name)
        env = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
        for document in documents:
            for name, block in blocks(document.read_text()):
                if name:
                    (folder / name).write_text(block)
                    continue
                for command, expected in commands(block):
                    result = subprocess.run(command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=60)
                    printed = result.stdout + result.stderr
                    if not matches(expected, printed):
                        print(f"{document.name}: {command}\nshould print\n{expected}\nprinted\n{printed}")
                        sys.exit(1)
                    ran += 1
    if ran < 5:
        print(f"only {ran} commands found in the documents")
        sys.exit(1)
    print(f"documentation: {ran} commands print what they show")


main(sys.argv[1])
