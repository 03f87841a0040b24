#!/usr/bin/env bash
# Zero-shot CLIP: bash scripts/zsclip/main.sh DATASET SHOTS [CFG]
exec bash "$(dirname "$0")/../run.sh" ZeroshotCLIP "$@"
