#!/usr/bin/env bash
# Make the environment .venv with the exact versions of requirements.lock.
# It needs Python 3.11 or newer and nothing else, and ends at once when .venv is up to date.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "envs/create.sh: $1" >&2
  exit 2
}

find_python() { # the lock is compiled for 3.11, and holds for newer ones too
  for name in python3.11 python3.12 python3.13 python3; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  fail "no Python 3.11 or newer; install one (Debian, Ubuntu: apt-get install python3)"
}

add_venv_module() { # Debian and Ubuntu keep it in a package of its own
  package="python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
  as_root=""
  if [ "$(id -u)" != 0 ]; then as_root=sudo; fi
  if ! command -v apt-get >/dev/null || { [ -n "$as_root" ] && ! command -v sudo >/dev/null; }; then
    fail "$1 cannot make environments; install $package and run this again"
  fi
  $as_root apt-get update -qq
  $as_root apt-get install -qq --no-install-recommends -y "$package" ||
    fail "$package could not be installed; install it and run this again"
}

stamp=$(cat envs/requirements.lock pyproject.toml | cksum)
if [ -x .venv/bin/wsipsm ] && [ "$(cat .venv/stamp 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' 2>/dev/null || add_venv_module "$python"
  "$python" -m venv --clear .venv
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
# compiled once here, not at the start of each of a run's many jobs
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --compile-bytecode \
  -r envs/requirements.lock
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps -e .
echo "$stamp" >.venv/stamp
echo "environment ready in .venv"
