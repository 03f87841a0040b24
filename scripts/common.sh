# Sourced by run.sh, dg.sh and download.sh, in the caller's folder: the environment's settings, and one call of train.py.
calling=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
from_caller() { case "$1" in /*) printf %s "$1" ;; *) printf %s "$calling/$1" ;; esac; }
data=$(from_caller "${DATA:-data}")
out=$(from_caller "${OUT:-output}")
python=${PYTHON:-python}
[ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ] && python=.venv/bin/python
seeds=${SEEDS:-1 2 3}
read -ra extra <<<"${ARGS:-}"
[ "${QUIET:-0}" = 1 ] && exec 3>/dev/null || exec 3>&1

# Sets shots, from SHOTS as it was given; refuses what is no number there and in SEEDS.
read_shots() {
    shots=$1
    [ "$shots" = all ] && shots="1 2 4 8 16"
    [ -n "$shots" ] || { echo "error: SHOTS is empty; give a number, -1 or all" >&2; exit 2; }
    for number in $shots $seeds; do
        [[ $number =~ ^-?[0-9]+$ ]] || { echo "error: SHOTS is a whole number, -1 or all, and SEEDS are numbers; not '$number'" >&2; exit 2; }
    done
}

# Where the runs of one method on one data set lie: folder_of DATASET TRAINER CFG SHOTS
folder_of() { printf %s "$out/$1/$2/$3_$4shots${VARIANT:+/$VARIANT}"; }

# One run, or test of a run: train TRAINER CFG SHOTS SEED YAML FOLDER [further arguments of train.py]
train() {
    local trainer=$1 cfg=$2 shots=$3 seed=$4 yaml=$5 folder=$6
    "$python" train.py --skip-done --root "$data" --seed "$seed" --trainer "$trainer" --dataset-config-file "$yaml" \
        --config-file "configs/trainers/$trainer/$cfg.yaml" --output-dir "$folder" "${@:7}" \
        DATASET.NUM_SHOTS "$shots" ${VARIANT:+CFG_NAME "$cfg/$VARIANT"} "${extra[@]}" >&3
}
