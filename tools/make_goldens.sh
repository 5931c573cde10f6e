#!/usr/bin/env bash
# make parity: the goldens of tests/golden made anew with the reference packages, in an environment
# of their own.
set -euo pipefail
cd "$(dirname "$0")/.."
env=build/parity-env
if [ ! -f "$env/.done" ]; then
  python3 -m venv "$env"
  "$env/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 transformers==5.3.0 tokenizers==0.22.2 gguf==0.19.0 mpmath==1.3.0 numpy==2.4.6 \
    safetensors==0.8.0 accelerate==1.15.0 peft==0.18.0 trl==1.16.0 datasets==5.2.0 onnxruntime==1.22.0
  touch "$env/.done"
fi
"$env/bin/python" tools/make_exact_goldens.py tests/golden/exact_games.jsonl
"$env/bin/python" tools/make_goldens.py
# The judge of examples/data/hatesonar: unzipped, never imported.
wheel=$env/hatesonar
if [ ! -d "$wheel" ]; then
  echo "hatesonar==0.1.0 --hash=sha256:969c56618bd628b3cb9b69d4e5170b461c8270737d2b0eb37ba0d55e207e9f37" >"$env/hatesonar.txt"
  "$env/bin/pip" download --quiet --disable-pip-version-check --no-deps --require-hashes -r "$env/hatesonar.txt" -d "$env/wheels"
  "$env/bin/python" -m zipfile -e "$env"/wheels/hatesonar-0.1.0-*.whl "$wheel"
fi
"$env/bin/python" tools/make_judge.py "$wheel/hatesonar/model/model.onnx" examples/data/hatesonar/model.json.gz tests/golden/hatesonar.jsonl
"$env/bin/python" tools/make_training_goldens.py
"$env/bin/python" tools/make_export_goldens.py
"$env/bin/python" tools/make_rlhf_goldens.py
"$env/bin/python" tools/make_reward_goldens.py
exec "$env/bin/python" tools/make_tokenizer_goldens.py
