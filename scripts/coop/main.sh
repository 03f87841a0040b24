#!/usr/bin/env bash
# CoOp: bash scripts/coop/main.sh DATASET SHOTS [CFG]
exec bash "$(dirname "$0")/../run.sh" CoOp "$@"
