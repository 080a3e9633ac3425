# Sourced by the tools: a virtual environment in .venv, made once and brought up to date.

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

# prepare EXTRAS: install the package in .venv unless that was done for these sources of the build.
prepare() {
  local stamp=".venv/.installed${1:-}" wanted
  wanted=$(cat pyproject.toml setup.py tools/constraints.txt ssmbench/scans/native/*.[ch] | sha256sum)
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    return
  fi
  [ -x .venv/bin/python ] || "$(find_python)" -m venv .venv
  echo "installing into .venv ..." >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint tools/constraints.txt --editable ".${1:-}"
  echo "$wanted" >"$stamp"
}
