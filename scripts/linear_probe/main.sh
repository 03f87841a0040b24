#!/usr/bin/env bash
# Linear probe: bash scripts/linear_probe/main.sh DATASET SHOTS [CFG]
exec bash "$(dirname "$0")/../run.sh" LinearProbe "$@"
