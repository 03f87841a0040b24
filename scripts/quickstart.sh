#!/usr/bin/env bash
# From a fresh checkout to a result: installs into .venv, then CCLI and zero-shot on concept_shapes, 16 shots, three seeds.
# Nothing but packages is downloaded: the pictures are drawn here, and the small CLIP comes with the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh
start=$SECONDS
export QUIET=1
bash scripts/zsclip/main.sh concept_shapes 16
bash scripts/ccli/main.sh concept_shapes 16
echo
.venv/bin/python parse_test_res.py --table "${OUT:-output}/concept_shapes"
echo "Accuracy in percent, mean and standard deviation over seeds. $((SECONDS - start)) s after installing."
