#!/usr/bin/env python3
"""Limits on the size of files and lines (CONTRIBUTING.md). Run by the tests."""
import pathlib
import sys

LIMITS = {".h": 250, ".cc": 800}
LONGEST_LINE = 120  # clang-format keeps to 100 where it can break a line


def problems(root: pathlib.Path):
    for path in sorted(list((root / "src").rglob("*.h")) + list((root / "src").rglob("*.cc"))):
        lines = path.read_text().splitlines()
        if len(lines) > LIMITS[path.suffix]:
            yield f"{path}: {len(lines)} lines; the limit is {LIMITS[path.suffix]}"
        for number, line in enumerate(lines, 1):
            if "\t" in line:
                yield f"{path}:{number}: a tab"
            if len(line) > LONGEST_LINE and "R\"" not in line and "\"" not in line:
                yield f"{path}:{number}: {len(line)} columns; the limit is {LONGEST_LINE}"
        if path.suffix == ".h" and "#pragma once" not in lines[:3]:
            yield f"{path}: does not begin with #pragma once"


if __name__ == "__main__":
    found = list(problems(pathlib.Path(sys.argv[1])))
    print("\n".join(found) if found else "style: fine")
    sys.exit(1 if found else 0)
