#!/usr/bin/env python3
"""Checks that includes only point up the table of modules (ARCHITECTURE.md). Run by the tests."""
import pathlib
import re
import sys

MAY_INCLUDE = {
    "base": set(),
    "core": {"base"},
    "formats": {"base"},
    "receipt": {"base"},
    "files": {"base", "receipt"},
    "report": {"base", "core"},
    "study": {"base", "core", "formats", "receipt", "files", "report"},
    "lm": {"base", "core", "formats"},
    "worker": {"base", "core", "formats", "study", "lm"},
    "apps": {"base", "core", "formats", "receipt", "files", "report", "study", "lm", "worker"},
}
# What of study the worker may use: descriptions of sources and stages, not runs.
WORKER_FROM_STUDY = {"study/divergence_spec.h", "study/source.h", "study/stage_kind.h"}
# What of core the language-model side may use: the laws of divergences, nothing about incentives.
TENSORS_FROM_CORE = {"core/divergence.h", "core/divergence_law.h"}
# Only these may see LibTorch.
TORCH = re.compile(r"#include <(ATen|torch|c10)/")


def problems(root: pathlib.Path):
    for path in sorted((root / "src").rglob("*.[ch]*")):
        module = path.relative_to(root / "src").parts[0]
        if module not in MAY_INCLUDE:
            yield f"{path}: the module {module} is not in the table"
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if TORCH.search(line) and module not in ("lm", "worker"):
                yield f"{path}:{number}: {module} must not include LibTorch"
            match = re.match(r'#include "([a-z]+)/', line)
            if not match or match.group(1) == module:
                continue
            if match.group(1) not in MAY_INCLUDE[module]:
                yield f"{path}:{number}: {module} must not include {match.group(1)}"
            header = re.match(r'#include "([^"]+)"', line).group(1)
            if module == "worker" and match.group(1) == "study" and header not in WORKER_FROM_STUDY:
                yield f"{path}:{number}: worker may include {sorted(WORKER_FROM_STUDY)} of study only"
            if module in ("lm", "worker") and match.group(1) == "core" and header not in TENSORS_FROM_CORE:
                yield f"{path}:{number}: {module} may include {sorted(TENSORS_FROM_CORE)} of core only"


if __name__ == "__main__":
    found = list(problems(pathlib.Path(sys.argv[1])))
    print("\n".join(found) if found else "layers: fine")
    sys.exit(1 if found else 0)
