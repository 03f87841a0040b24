#!/usr/bin/env bash
# All methods on one data set: bash scripts/compare.sh DATASET SHOTS [CFG]
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: bash scripts/compare.sh DATASET SHOTS [CFG]

Runs every method below on one data set, on the same shots, features and seeds, and prints one table: mean and standard
deviation over seeds, best in bold, the difference to CCLI. Finished runs are skipped, so the same command resumes.

  DATASET  stem of a yaml in configs/datasets (concept_shapes ...), or the path of a feature bundle (.npz; without CoOp,
           which needs images and a text tower) or of a folder with a folder of pictures for each class
  SHOTS    training images per class, or "all" for 1 2 4 8 16; -1 is the whole training set
  CFG      stem of a yaml that every method has: demo_clip, rn50, rn101, vit_b32, vit_b16

Environment: METHODS  which, by their folders in scripts/
                      (default: "zsclip linear_probe clip_adapter tip_adapter tip_adapter_f taskres lp_plus_plus gda coop ccli")
             PROTOCOL validation (default), fixed, or paper: the choices of each method's authors, test set included
             DATA OUT SEEDS ARGS VARIANT JOBS as for scripts/<method>/main.sh
USAGE
}

if [ $# -lt 2 ] || [ $# -gt 3 ] || [ "$1" = "-h" ] || [ "$1" = "--help" ]; then
    usage
    [ "${1:-}" = "-h" ] || [ "${1:-}" = "--help" ] && exit 0
    exit 2
fi
methods=${METHODS:-zsclip linear_probe clip_adapter tip_adapter tip_adapter_f taskres lp_plus_plus gda coop ccli}
if [ -n "${PROTOCOL:-}" ] && [ "$PROTOCOL" != validation ]; then
    export ARGS="PROTOCOL $PROTOCOL ${ARGS:-}" VARIANT=${VARIANT:-$PROTOCOL}
fi

scripts=$(cd "$(dirname "$0")" && pwd)
trainers=""
for method in $methods; do
    main=$scripts/$method/main.sh
    [ -f "$main" ] || { echo "error: no method $method; there are $(cd "$scripts" && dirname */main.sh | tr '\n' ' ')" >&2; exit 2; }
    trainers+=" $(sed -n 's/.*run.sh" \([A-Za-z]*\) .*/\1/p' "$main")"
done
. "$scripts/common.sh"
against=()
[[ " $methods " == *" ccli "* ]] && against=(--against CCLI)
sweep "$1" "$2" "${3:-}" "$trainers" "${against[@]}"
