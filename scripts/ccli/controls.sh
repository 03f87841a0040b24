#!/usr/bin/env bash
# CCLI beside its controls: images are compared with something else, everything else stays. One table.
#   bash scripts/ccli/controls.sh DATASET SHOTS [CFG]      as scripts/ccli/main.sh; runs go to CFG_SHOTSshots/SOURCE-...
# SOURCE: visual (CCLI itself), text, random, images, features, none (class texts alone).
set -euo pipefail
sources=visual,text,random,images,features,none
if [[ ${3:-} == *_plain ]]; then
    echo "the control none is left out: class texts alone need a concept space, which $3 does not have" >&2
    sources=${sources%,none}
fi
ARGS="TRAINER.CCLI.SOURCE $sources ${ARGS:-}" exec bash "$(dirname "$0")/main.sh" "$@"
