#!/usr/bin/env bash
# Gaussian discriminant analysis: bash scripts/gda/main.sh DATASET SHOTS [CFG]
exec bash "$(dirname "$0")/../run.sh" GDA "$@"
