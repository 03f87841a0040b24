#!/usr/bin/env bash
# From a fresh checkout to a result: installs into .venv, then CCLI and zero-shot on concept_shapes, 16 shots, three seeds.
# Nothing but packages is downloaded: the pictures are drawn here, and the small CLIP comes with the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh
start=$SECONDS
METHODS="ccli zsclip" bash scripts/compare.sh concept_shapes 16
echo "Accuracy in percent, mean and standard deviation over seeds. $((SECONDS - start)) s after installing."
