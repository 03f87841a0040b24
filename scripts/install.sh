#!/usr/bin/env bash
# Makes .venv in the checkout and installs the tested set there; does nothing where that is done.
#   scripts/install.sh [test]      "test" adds what the tests need
# With Python 3.11 on Linux x86-64 every file that is installed has one of the SHA-256 sums in requirements.lock (scripts/lock.sh);
# elsewhere the versions of requirements.txt are installed, which have no sums.
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:-}
lock=requirements${extra:+-$extra}.lock
stamp=.venv/.installed${extra:+-$extra}
sum=$(cat requirements.txt requirements*.lock setup.py toolbox/pyproject.toml | sha256sum | cut -d" " -f1)
[ -e "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ] && exit 0
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed" >&2; exit 1; }
[ -x .venv/bin/python ] || python3 -m venv .venv
pip() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }
echo "Installing into .venv (6 GB; a minute or more)"
if [ "$(uname -sm)" = "Linux x86_64" ] && .venv/bin/python -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))"; then
    pip --require-hashes -r "$lock"
    # hash mode takes no local paths; setuptools, which builds them, came with the lock
    mapfile -t here < <(sed -n 's/^-e //p' requirements.txt)
    pip --no-deps --no-build-isolation "${here[@]/#/--editable=}"
else
    pip -r requirements.txt
    [ -z "$extra" ] || pip -e ".[$extra]"
fi
echo "$sum" | tee .venv/.installed >"$stamp"
