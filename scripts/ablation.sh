#!/usr/bin/env bash
# What each part of CCLI is worth: one option at a time is changed, everything else stays. A table and a figure.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: bash scripts/ablation.sh DATASET SHOTS [CFG]

  DATASET, SHOTS, CFG  as for scripts/ccli/main.sh, but SHOTS is one number

Sweeps over the source of concepts (the controls), the number of concepts, the concepts per class or (CFG_dense) the images per
concept, each added part on and off, and the weight of the concept branch; then prints one table, and writes OUT/DATASET/CCLI/ablation_CFG_SHOTSshots.pdf and .png.
On concept_shapes, whose parts are known, CFG_dense also prints how many of a concept's images hold the part that it names.

Environment: DATA OUT SEEDS JOBS as for scripts/<method>/main.sh
USAGE
}

case "${1:-}" in -h | --help) usage; exit 0 ;; esac
if [ $# -lt 2 ] || [ $# -gt 3 ] || ! [[ $2 =~ ^[0-9]+$ ]]; then
    usage
    exit 2
fi
. "$(dirname "$0")/common.sh"

name=$(basename "$1" .npz)
cfg=${3:-$([[ $name == concept_shapes* ]] && echo demo_clip || echo rn50)}
vary() { VARIANT="" sweep "$dataset" "$shots" "$cfg" CCLI "$@" >/dev/null; }  # in a folder named after the option
dataset=$1 shots=$2 extra=()
vary
if [[ $cfg == *_dense ]]; then
    vary TRAINER.CCLI.SOURCE text,random,images,features,none
    vary TRAINER.CCLI.TOP_K 1,5,10
    vary TRAINER.CCLI.TEXT_SHARE 0.0,0.8
    vary TRAINER.CCLI.CLASS_AXES False
    vary TRAINER.CCLI.DISTINCTIVE 0.0,2.0
    vary TRAINER.CCLI.PENALTY 0.1,0.3
    vary TRAINER.CCLI.NETWORK mlp FEATURES.VIEWS 10 OPTIM.NAME adamw OPTIM.LR 0.001 OPTIM.WEIGHT_DECAY 0.01 OPTIM.MAX_EPOCH 50
else
    vary TRAINER.CCLI.SOURCE text,random,images
    vary TRAINER.CCLI.CONCEPTS_PER_CLASS 1,2,10
    vary TRAINER.CCLI.SIZES "(1,),(3,)"
    vary TRAINER.CCLI.TEXT_SHARES "(0.0,),(0.33,),(0.67,),(1.0,)"
    vary TRAINER.CCLI.PENALTIES "(0.1,),(0.3,),(1.0,)"
    vary TRAINER.CCLI.DISTINCTIVE 0.0
    vary TRAINER.CCLI.REPRESENTATION cosine
    vary TRAINER.CCLI.CLASS_NAMES False TRAINER.CCLI.REPRESENTATION cosine
fi
vary TRAINER.CCLI.NUM_CONCEPTS 100,500,1000
vary TRAINER.CCLI.TEMPERATURE 1.0
vary TRAINER.CCLI.CRITERION accuracy
vary PROTOCOL fixed TRAINER.CCLI.ALPHA 0.25,0.5,2.0
[[ $dataset == *.npz ]] || vary FEATURES.CROPS 0
folder=$out/$name/CCLI
"$python" -m ccli ablation "$folder" "$cfg" "$shots"
[[ $name == concept_shapes && $cfg == *_dense ]] || exit 0
echo
"$python" -m experiments.concept_quality --to "$folder/concept_quality_${cfg}_${shots}shots.md" \
    "$folder/${cfg}_${shots}shots"/seed* "$folder/${cfg}_${shots}shots"/TOP_K-*/seed*
