#!/usr/bin/env bash
# Checks and measures this checkout on a GPU in at most 8 minutes; see docs/results/gpu.md.
#   scripts/gpu_check.sh [OUT] [--cpu]    writes OUT/gpu_check.json and OUT/gpu_check.md (OUT: output/gpu_check)
# --cpu runs all steps in miniature on the CPU. PYTHON names the interpreter (default: python3), which has torch.
# Nothing is installed into it: of the wheels in gpu_wheels/ (made by scripts/gpu_wheels.sh), those that it lacks are
# unpacked into a temporary folder.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
"$python" - 2>/dev/null <<'PY' || { echo "error: Python 3.11 with torch 2.6, or newer, is needed" >&2; exit 2; }
import sys
from importlib.metadata import version
torch = tuple(int(part) for part in version("torch").split(".")[:2])
sys.exit(sys.version_info < (3, 11) or torch < (2, 6))
PY
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
mkdir -p "$temp/src/ccli" "$temp/wheels"  # the folders at the top are subpackages of ccli, as setup.py has it
ln -s "$root"/ccli/* "$root"/{commands,configs,datasets,sweeps,trainers} "$temp/src/ccli/"
ln -s "$root"/{benchmarks,toolbox/dassl,scripts/gpu_check} "$temp/src/"
mapfile -t missing < <("$python" "$root/scripts/gpu_check/wheels.py" "$root/gpu_wheels")
if [ ${#missing[@]} -gt 0 ]; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile \
        --target "$temp/wheels" "${missing[@]}"
fi
export PYTHONPATH="$temp/src:$temp/wheels" PYTHONSAFEPATH=1  # not the ccli of the current folder
"$python" -m gpu_check --work "$temp/work" "$@"
