#!/usr/bin/env bash
# Writes requirements.lock (what runs) and requirements-test.lock (with what the tests need): every package that
# requirements.txt brings, with its version and the SHA-256 of each of its files, on Linux x86-64. pip-tools is put into
# a temporary environment. What is locked already stays as it is; to take newer versions, remove the files first.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet pip-tools==7.6.2
grep -v '^-e' requirements.txt >"$scratch/run.in"
python3 - >"$scratch/test.in" <<'PYTHON'
import re
from pathlib import Path

extra = re.search(r'"test": \[(.*?)\]', Path("setup.py").read_text(), re.DOTALL)[1]
print("\n".join(re.findall(r'"(.*?)"', extra)))
PYTHON
compile() {
    "$scratch/venv/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
        --no-emit-find-links --no-annotate --no-header "$@"
}
compile --output-file requirements.lock "$scratch/run.in"
compile --output-file requirements-test.lock --constraint requirements.lock "$scratch/run.in" "$scratch/test.in"
