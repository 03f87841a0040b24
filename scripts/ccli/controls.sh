#!/usr/bin/env bash
# CCLI beside its controls: images are compared with something else, everything else stays. One table.
#   bash scripts/ccli/controls.sh DATASET SHOTS [CFG]      as scripts/ccli/main.sh; runs go to CFG_SHOTSshots/SOURCE-...
# SOURCE: visual (CCLI itself), text, random, images, features, none (class texts alone).
set -euo pipefail
ARGS="TRAINER.CCLI.SOURCE visual,text,random,images,features,none ${ARGS:-}" exec bash "$(dirname "$0")/main.sh" "$@"
