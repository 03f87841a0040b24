#!/usr/bin/env bash
# Makes .venv in the checkout and installs the tested set there; does nothing where that is done.
#   scripts/install.sh [test]      "test" adds what the tests need
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:-}
stamp=.venv/.installed${extra:+-$extra}
sum=$(cat requirements.txt setup.py toolbox/pyproject.toml | sha256sum | cut -d' ' -f1)
[ -e "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ] && exit 0
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed" >&2; exit 1; }
[ -x .venv/bin/python ] || python3 -m venv .venv
echo "Installing into .venv (6 GB; a minute or more)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
[ -z "$extra" ] || .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extra]"
echo "$sum" | tee .venv/.installed >"$stamp"
