#!/usr/bin/env bash
# TaskRes: bash scripts/taskres/main.sh DATASET SHOTS [CFG]
exec bash "$(dirname "$0")/../run.sh" TaskRes "$@"
