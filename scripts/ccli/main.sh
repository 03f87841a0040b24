#!/usr/bin/env bash
# CCLI: bash scripts/ccli/main.sh DATASET SHOTS [CFG]
exec bash "$(dirname "$0")/../run.sh" CCLI "$@"
