#!/usr/bin/env bash
# CCLI beside its controls: images are compared with something else, everything else stays. One table.
#   bash scripts/ccli/controls.sh DATASET SHOTS [CFG]      as scripts/ccli/main.sh; runs go to CFG_SHOTSshots/SOURCE-...
# SOURCE: visual (CCLI itself), text, random, images; of a dense network (CFG_dense, CFG_plain) also features, and of
# CFG_dense none (class texts alone).
set -euo pipefail
sources=visual,text,random,images
case ${3:-} in
    *_dense) sources+=,features,none ;;
    *_plain)
        echo "the control none is left out: class texts alone need a concept space, which $3 does not have" >&2
        sources+=,features
        ;;
esac
ARGS="TRAINER.CCLI.SOURCE $sources ${ARGS:-}" exec bash "$(dirname "$0")/main.sh" "$@"
