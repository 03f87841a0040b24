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
pictures=$(cd "$pictures" && pwd)  # . and .. have a name, too
place="$out/$(basename "$pictures")"
run="$place/CCLI/${cfg}_${shots}shots/seed$SEEDS"

sweep "$pictures/" "$shots" "$cfg" CCLI

folder=$("$python" -c '
import sys
from pathlib import Path
from ccli.features.image_folder import parts_of
print(Path(sys.argv[1]) / parts_of(Path(sys.argv[1])).get("test", ""))' "$pictures")
echo "Labelling the pictures in $folder"
some_failed() { [ $? -eq 1 ]; }  # an unreadable picture, which was named, ends nothing
"$python" predict.py --model-dir "$run" --top 3 --csv "$folder" >"$place/predictions.csv" || some_failed

"$python" -c '
import csv, sys
from pathlib import Path
with open(sys.argv[1], encoding="utf-8", errors="surrogateescape", newline="") as file:
    images = [Path(row["image"]) for row in csv.DictReader(file)]
first = {image.parent: image for image in reversed(images)}
sys.stdout.buffer.write(b"".join(bytes(image) + b"\0" for image in sorted(first.values())))' "$place/predictions.csv" |
    xargs -0 "$python" predict.py --model-dir "$run" --explain | tee "$place/reasons.txt"

"$python" predict.py --model-dir "$run" --export "$place/model.onnx"
"$python" report.py --concepts "$run" --to "$place/concepts.html"
cat <<TEXT
Everything is in $place. Label other pictures:
  $python predict.py --model-dir $(printf %q "$run") FOLDER
TEXT
