#!/usr/bin/env bash
# LP++: bash scripts/lp_plus_plus/main.sh DATASET SHOTS [CFG]
exec bash "$(dirname "$0")/../run.sh" LPPlusPlus "$@"
