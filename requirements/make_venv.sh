#!/usr/bin/env bash
# Makes or updates .venv in the checkout from the pinned requirements; `make venv` calls it.
# PYTHON=/path/to/python chooses the interpreter (3.11, 3.12 or 3.13).
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
STAMP=$VENV/memtx-stamp            # written last: what the environment was built from
UNFINISHED=$VENV/memtx-unfinished  # there from the first package to the last

say() { printf 'memtx: %s\n' "$*"; }
die() { printf 'memtx: %s\n' "$*" >&2; exit 1; }

# The folder counts: an environment that was moved or copied has commands that point elsewhere.
wanted_stamp() { pwd -P; cat requirements/*.txt requirements/make_venv.sh setup.py | cksum; }

is_current() { [ -x "$VENV/bin/python" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$(wanted_stamp)" ]; }

is_supported() {
  "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))' >/dev/null 2>&1
}

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    is_supported "$PYTHON" || die "\`PYTHON\` is $PYTHON: it has to be Python 3.11, 3.12 or 3.13."
    echo "$PYTHON"
    return
  fi
  for candidate in python3.11 python3.12 python3.13 python3 python; do
    if is_supported "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  die "there is no Python 3.11, 3.12 or 3.13 on PATH: install one, or say PYTHON=/path/to/python."
}

require_build_tools() {
  local compiler
  for compiler in "${CXX:-c++}" g++ clang++; do
    command -v "${compiler%% *}" >/dev/null && break
    compiler=
  done
  [ -n "$compiler" ] || die "there is no C++ compiler on PATH, which building fairseq needs: install g++ or clang++."
  "$1" - <<'PY' || die "$1 lacks its header files, venv or pip: install its development and venv packages (on Debian: python3-dev python3-venv)."
import os, sys, sysconfig
import ensurepip, venv
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
PY
}

# A build that was cut short can leave packages that look whole to pip: only a new start is safe.
remove_if_broken() {
  [ -e "$VENV" ] || return 0
  if [ -e "$UNFINISHED" ]; then
    say "an earlier build of $VENV did not finish: starting anew"
  elif ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
    say "$VENV has no working Python and pip: starting anew"
  elif [ -e "$STAMP" ] && [ "$(head -n 1 "$STAMP")" != "$(pwd -P)" ]; then
    say "$VENV was moved here from another folder: starting anew"
  else
    return 0
  fi
  rm -rf "$VENV"
}

pip_install() { # CUDA_HOME would make fairseq build extensions whose sources its package lacks.
  env -u CUDA_HOME "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input "$@"
}

pip_install_hashed() { pip_install --require-hashes "$@"; }

install_everything() {
  say "1/5 the build tools"
  pip_install_hashed -r requirements/build.txt
  say "2/5 torch"
  pip_install -r requirements/torch.txt
  say "3/5 fairseq and the libraries. Where no ready-made fairseq fits, it is compiled here: about"
  say "    five minutes on two cores, with little output meanwhile. pip keeps the result for next time."
  pip_install_hashed --no-build-isolation -r requirements/run.txt
  say "4/5 tools for tests and checks"
  pip_install_hashed -r requirements/dev.txt
  say "5/5 this project, editable"
  pip_install --quiet --no-deps --no-build-isolation -e .
}

# labml's packages, from `make peers`, name libraries that what is compared here does not need.
check_packages() {
  local problems status=0
  problems=$("$VENV/bin/python" -m pip check) || status=$?
  if [ "$status" -ne 0 ] && { [ -z "$problems" ] || grep -qv '^labml' <<< "$problems"; }; then
    printf '%s\n' "$problems" >&2
    exit "$status"
  fi
}

build() {
  local python=
  remove_if_broken
  if [ ! -e "$VENV" ]; then
    python=$(find_python)
    require_build_tools "$python"
    say "making $VENV with $("$python" --version) ($python); the packages take several minutes to install"
    mkdir "$VENV"
    touch "$UNFINISHED"
    "$python" -m venv "$VENV"
  else
    say "bringing $VENV up to date with requirements/"
    touch "$UNFINISHED"
    rm -f "$STAMP"
  fi
  install_everything
  check_packages
  rm -f "$UNFINISHED"
  wanted_stamp > "$STAMP.new"
  mv "$STAMP.new" "$STAMP"
  say "$VENV is ready"
}

is_current && exit 0
# Two builds at once would spoil each other; where flock is missing, so is this protection.
exec 9> .venv.lock
if command -v flock >/dev/null; then
  flock -n 9 || { say "waiting for another build of $VENV"; flock 9; }
fi
is_current || build
