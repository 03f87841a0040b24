#!/usr/bin/env bash
# CLIP-Adapter: bash scripts/clip_adapter/main.sh DATASET SHOTS [CFG]
exec bash "$(dirname "$0")/../run.sh" CLIPAdapter "$@"
