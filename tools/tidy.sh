#!/usr/bin/env bash
# clang-format on every file; clang-tidy on the sources that differ from origin/main (or the last
# commit's parent where there is no origin), because one file with LibTorch takes 40 seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files '*.h' '*.cc' | xargs clang-format --dry-run --Werror
base=$(git merge-base HEAD origin/main 2>/dev/null || git rev-parse HEAD~1 2>/dev/null || git rev-parse HEAD)
[ "$base" != "$(git rev-parse HEAD)" ] || base=$(git rev-parse HEAD~1 2>/dev/null || git rev-parse HEAD)
mapfile -t changed < <(git diff --name-only --diff-filter=d "$base" -- 'src/*.cc' | head -n "${TIDY_LIMIT:-40}")
# Clang's own omp.h (libomp-dev) is not among our packages; files that see LibTorch or OpenMP need it.
if ! echo '#include <omp.h>' | clang -fopenmp -fsyntax-only -x c++ - 2>/dev/null; then
  mapfile -t skipped < <(grep -lE '<(omp\.h|ATen/|torch/)' "${changed[@]}" /dev/null || true)
  [ ${#skipped[@]} -eq 0 ] || echo "tidy: skipped without libomp-dev: ${skipped[*]}"
  mapfile -t changed < <(printf '%s\n' "${changed[@]}" | grep -vxFf <(printf '%s\n' "${skipped[@]:-none}") | grep . || true)
fi
[ ${#changed[@]} -gt 0 ] || { echo "tidy: nothing changed"; exit 0; }
[ -f build/full/compile_commands.json ] || cmake --preset full >/dev/null
printf '%s\n' "${changed[@]}" | xargs -P 2 -n 1 clang-tidy --quiet -p build/full
echo "tidy: ${#changed[@]} files fine"
