#!/usr/bin/env bash
# Tip-Adapter: bash scripts/tip_adapter/main.sh DATASET SHOTS [CFG]
exec bash "$(dirname "$0")/../run.sh" TipAdapter "$@"
