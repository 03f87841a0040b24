#!/usr/bin/env bash
# CCLI beside its controls: what the images are compared with is changed, everything else stays.
#   bash scripts/ccli/controls.sh DATASET SHOTS [CFG]      as scripts/ccli/main.sh, but VARIANT is the control's name
set -euo pipefail
here=$(dirname "$0")
for source in visual text random images features; do
    ARGS="TRAINER.CCLI.SOURCE $source ${ARGS:-}" VARIANT=$source bash "$here/main.sh" "$@"
done
