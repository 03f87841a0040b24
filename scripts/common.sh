# Sourced by run.sh, dg.sh, compare.sh and download.sh, in the caller's folder: the environment's settings.
calling=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
from_caller() { case "$1" in /*) printf %s "$1" ;; *) printf %s "$calling/$1" ;; esac; }
# A bundle, or a folder of pictures
is_path() { [[ $1 == *.npz || $1 == */* ]] || { [ ! -e "configs/datasets/$1.yaml" ] && [ -d "$(from_caller "$1")" ]; }; }
data=$(from_caller "${DATA:-data}")
out=$(from_caller "${OUT:-output}")
python=${PYTHON:-python}
[ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ] && python=.venv/bin/python
read -ra seeds <<<"${SEEDS:-1 2 3}"
read -ra extra <<<"${ARGS:-}"

# The runs of a sweep and their table: sweep DATASETS SHOTS CFG TRAINERS [further arguments of sweep.py]
sweep() {
    local datasets=$1
    if is_path "$1"; then datasets=("$(from_caller "$1")"); else read -ra datasets <<<"$1"; fi
    "$python" sweep.py --datasets "${datasets[@]}" --shots $2 --trainers $4 --seeds "${seeds[@]}" --root "$data" \
        --output "$out" ${3:+--cfg "$3"} ${VARIANT:+--variant "$VARIANT"} ${JOBS:+--jobs "$JOBS"} "${@:5}" "${extra[@]}"
}
