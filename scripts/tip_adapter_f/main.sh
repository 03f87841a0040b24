#!/usr/bin/env bash
# Tip-Adapter-F: bash scripts/tip_adapter_f/main.sh DATASET SHOTS [CFG]
exec bash "$(dirname "$0")/../run.sh" TipAdapterF "$@"
