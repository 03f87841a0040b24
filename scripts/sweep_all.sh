#!/usr/bin/env bash
# Every method on every benchmark, as papers report them: bash scripts/sweep_all.sh [arguments of sweep.py]
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: bash scripts/sweep_all.sh [CFG] [further arguments of sweep.py]

Runs all methods on the 11 few-shot data sets with 1, 2, 4, 8 and 16 shots, then domain generalisation (trained on ImageNet
with 16 shots, tested on V2, Sketch, A and R). Ends with the table and a page, OUT/report.html. Finished runs are skipped and
missing data sets are named, so repeat the command as data sets are added.

  CFG      stem of a yaml that every method has: rn50 (default), rn101, vit_b32, vit_b16
  e.g.     bash scripts/sweep_all.sh vit_b16 --jobs 4
           bash scripts/sweep_all.sh rn50 --dry-run

Environment: DATA OUT SEEDS ARGS VARIANT JOBS as for scripts/<method>/main.sh
             DATASETS, SHOTS  instead of all ("dtd eurosat", "1 16")
             TRAINERS         instead of all ("ZeroshotCLIP CCLI")
             SOURCE, TARGETS  of domain generalisation, instead of ImageNet and its four
USAGE
}

case "${1:-}" in -h | --help) usage; exit 0 ;; esac
cfg=rn50
if [ $# -gt 0 ] && [[ $1 != --* ]]; then
    cfg=$1
    shift
fi
. "$(dirname "$0")/common.sh"
datasets=${DATASETS:-imagenet caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101}
trainers=${TRAINERS:-ZeroshotCLIP LinearProbe CLIPAdapter TipAdapter TipAdapterF TaskRes LPPlusPlus GDA CoOp CCLI}
targets=${TARGETS:-imagenetv2 imagenet_sketch imagenet_a imagenet_r}

status=0
sweep "$datasets" "${SHOTS:-all}" "$cfg" "$trainers" "$@" || status=$?
[ $status -le 1 ] || exit $status
sweep "${SOURCE:-imagenet}" 16 "$cfg" "$trainers" --targets $targets "$@" || status=$?
[ $status -le 1 ] || exit $status
[[ " $* " == *" --dry-run "* ]] || "$python" report.py "$out" --to "$out/report.html"
exit $status
