#!/usr/bin/env bash
# A classifier from a folder of your own pictures: trained, tested, explained, exported, and a page on it.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: bash scripts/own_images.sh PICTURES [SHOTS] [CFG]

  PICTURES  a folder with train/CLASS/* and test/CLASS/*, or CLASS/* alone, which is then split (DATASETS.md)
  SHOTS     training pictures per class; -1, the default, takes all
  CFG       stem of a yaml in configs/trainers/CCLI (default: vit_b16, whose weights are downloaded on first use)

Environment: OUT   where everything goes (default: output), in OUT/NAME
             SEED  of the split and the draw (default: 1)

Leaves in OUT/NAME: the run, predictions.csv (the pictures in test/, or all where there is no test/), reasons.txt (a
picture of each class explained), model.onnx and what goes with it, concepts.html (what the run saw).
TEXT
}

if [ $# -lt 1 ] || [ $# -gt 3 ] || [ "$1" = "-h" ] || [ "$1" = "--help" ]; then
    usage
    [ "${1:-}" = "-h" ] || [ "${1:-}" = "--help" ] && exit 0
    exit 2
fi

SEEDS=${SEED:-1}
. "$(dirname "$0")/common.sh"
pictures=$(from_caller "${1%/}") shots=${2:--1} cfg=${3:-vit_b16}
[ -d "$pictures" ] || { echo "error: no folder $pictures" >&2; exit 2; }
place="$out/$(basename "$pictures")"
run="$place/CCLI/${cfg}_${shots}shots/seed$SEEDS"

folder=$pictures
[ -d "$pictures/test" ] && folder=$pictures/test

sweep "$pictures/" "$shots" "$cfg" CCLI

echo "Labelling the pictures in $folder"
"$python" predict.py --model-dir "$run" --top 3 --csv "$folder" >"$place/predictions.csv"

shopt -s nullglob
ones=()
for class in "$folder"/*/; do
    files=("$class"*.*)
    [ ${#files[@]} -eq 0 ] || ones+=("${files[0]}")
done
"$python" predict.py --model-dir "$run" --explain "${ones[@]}" | tee "$place/reasons.txt"

"$python" predict.py --model-dir "$run" --export "$place/model.onnx"
"$python" report.py --concepts "$run" --to "$place/concepts.html"
cat <<TEXT
Everything is in $place. Label other pictures:
  $python predict.py --model-dir $(printf %q "$run") FOLDER
TEXT
