#!/usr/bin/env bash
# CCLI on a source and its shifted versions: bash scripts/ccli/dg.sh SHOTS [--demo] [CFG]
exec bash "$(dirname "$0")/../dg.sh" CCLI "$@"
