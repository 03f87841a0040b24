#!/usr/bin/env bash
# One method on one data set over several seeds; scripts/<method>/main.sh call this.
#   scripts/run.sh TRAINER DATASET SHOTS [CFG]
set -euo pipefail

usage() {
    cat <<'EOF'
Usage: bash scripts/<method>/main.sh DATASET SHOTS [CFG]

  DATASET  stem of a yaml in configs/datasets (concept_shapes ...), or the path of a feature bundle (.npz)
           or of a folder with a folder of pictures for each class
  SHOTS    training images per class, or "all" for 1 2 4 8 16; -1 is the whole training set
  CFG      stem of a yaml in configs/trainers/TRAINER; demo_clip on concept_shapes and rn50 elsewhere by default
           (a bundle comes with its features: there CFG says only which constants)

Environment: DATA  folder of the data sets (default: data)
             OUT   where runs go (default: output), in OUT/DATASET/TRAINER/CFG_SHOTSshots/seedK
             SEEDS which seeds (default: "1 2 3")
             ARGS  further KEY VALUE options for train.py (A,B: several values); runs with them have a folder of their own
             VARIANT  its name, below CFG_SHOTSshots (default: made of ARGS); tables show CFG/VARIANT
             JOBS  processes at a time (default: 1)

Finished runs are skipped, unfinished ones resumed; a folder that holds a run with other options is refused.
EOF
}

trainer=$1
shift
if [ $# -lt 2 ] || [ $# -gt 3 ] || [ "$1" = "-h" ] || [ "$1" = "--help" ]; then
    usage
    [ "${1:-}" = "-h" ] || [ "${1:-}" = "--help" ] && exit 0
    exit 2
fi

. "$(dirname "$0")/common.sh"
sweep "$1" "$2" "${3:-}" "$trainer"
