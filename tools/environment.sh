# Sourced by the tools: a virtual environment in .venv, made once and brought up to date.

# PyTorch's own index of builds without CUDA, which are about a tenth of the size.
CPU_INDEX=https://download.pytorch.org/whl/cpu

find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      echo "$candidate"
      return
    fi
  done
  echo "error: ssmbench needs Python 3.11 or later" >&2
  exit 2
}

pip_install() {
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
    --constraint tools/constraints.txt "$@"
}

has_gpu() {
  { command -v nvidia-smi && nvidia-smi -L; } >/dev/null 2>&1 || compgen -G '/dev/nvidia[0-9]*' >/dev/null
}

# Whether the user told pip where packages come from, by a variable or in a configuration file.
index_is_chosen() {
  [ -n "${PIP_INDEX_URL:-}${PIP_EXTRA_INDEX_URL:-}${PIP_FIND_LINKS:-}${PIP_NO_INDEX:-}" ] ||
    .venv/bin/python -m pip config list 2>/dev/null | grep -qE '\.(extra-)?index-url=|\.find-links='
}

# At most 5 seconds, name resolution included.
cpu_index_answers() {
  timeout 5 .venv/bin/python -c \
    'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=4)' \
    "$CPU_INDEX/torch/" 2>/dev/null
}

# torch_build: the build of PyTorch to install, "cpu" or "default"; SSMBENCH_TORCH decides if set.
torch_build() {
  case "${SSMBENCH_TORCH:-}" in
  cpu | default) echo "$SSMBENCH_TORCH" ;;
  "")
    if has_gpu || index_is_chosen || ! cpu_index_answers; then
      echo default
    else
      echo cpu
    fi
    ;;
  *)
    echo "error: SSMBENCH_TORCH must be cpu or default, got $SSMBENCH_TORCH" >&2
    exit 2
    ;;
  esac
}

# Install PyTorch's CPU build if that is the one to use; otherwise torch comes as a dependency does.
install_torch() {
  local build
  if .venv/bin/python -m pip show --quiet torch 2>/dev/null; then
    return
  fi
  build=$(torch_build)
  if [ "$build" = default ]; then
    return
  fi
  echo "installing PyTorch's CPU build (for the default one: SSMBENCH_TORCH=default) ..." >&2
  if ! pip_install --index-url "$CPU_INDEX" torch; then
    echo "PyTorch's CPU build could not be installed: using the default one" >&2
  fi
}

# prepare EXTRAS: install the package in .venv unless that was done for these sources of the build.
prepare() {
  local stamp=".venv/.installed${1:-}" wanted python
  wanted=$(cat pyproject.toml setup.py tools/constraints.txt ssmbench/scans/native/*.[ch] | sha256sum)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    return
  fi
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    "$python" -m venv .venv
  fi
  install_torch
  echo "installing into .venv ..." >&2
  pip_install --editable ".${1:-}"
  echo "$wanted" >"$stamp"
}
