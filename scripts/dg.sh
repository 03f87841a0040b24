#!/usr/bin/env bash
# One method trained on a source and tested on its shifted versions; scripts/<method>/dg.sh call this.
#   scripts/dg.sh TRAINER SHOTS [--demo] [CFG]
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: bash scripts/<method>/dg.sh SHOTS [CFG]          imagenet, then imagenetv2, imagenet_sketch, imagenet_a, imagenet_r
       bash scripts/<method>/dg.sh SHOTS --demo [CFG]   concept_shapes, then its versions _v2, _sketch, _a, _r

Trains on the first data set for each seed and tests each run on the four others, restricted to the classes that these
have; the same for ZeroshotCLIP. Ends with one table: a row for each method; source, targets and the mean of the targets.

  SHOTS    training images per class, or "all" for 1 2 4 8 16; -1 is the whole training set
  CFG      stem of a yaml in configs/trainers/TRAINER; demo_clip with --demo and rn50 otherwise by default

Environment: DATA  folder of the data sets (default: data)
             OUT   where runs go (default: output): OUT/SOURCE/TRAINER/CFG_SHOTSshots/seedK, and their tests:
                   OUT/TARGET/TRAINER/CFG_SHOTSshots/from_SOURCE/seedK
             SEEDS which seeds (default: "1 2 3")
             ARGS  further KEY VALUE options for train.py (A,B: several values); runs with them have a folder of their own
             VARIANT  its name, below CFG_SHOTSshots (default: made of ARGS); tables show CFG/VARIANT
             JOBS  processes at a time (default: 1)

Finished runs and tests are skipped; a run that was made again is tested again.
USAGE
}

trainer=$1
shift
demo=0 words=()
for word in "$@"; do
    case $word in
    -h | --help) usage && exit 0 ;;
    --demo) demo=1 ;;
    --*) usage >&2 && exit 2 ;;
    *) words+=("$word") ;;
    esac
done
if [ ${#words[@]} -lt 1 ] || [ ${#words[@]} -gt 2 ]; then
    usage >&2
    exit 2
fi
. "$(dirname "$0")/common.sh"
if [ $demo = 1 ]; then
    source=concept_shapes targets="concept_shapes_v2 concept_shapes_sketch concept_shapes_a concept_shapes_r"
else
    source=imagenet targets="imagenetv2 imagenet_sketch imagenet_a imagenet_r"
fi
both=$trainer
[ "$trainer" = ZeroshotCLIP ] || both="$trainer ZeroshotCLIP"
sweep "$source" "${words[0]}" "${words[1]:-}" "$both" --targets $targets
