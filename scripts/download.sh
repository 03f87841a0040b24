#!/usr/bin/env bash
# Downloads data sets and checks each.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: bash scripts/download.sh DATASET ...|all

  DATASET  such as eurosat oxford_pets (`python download.py --help` lists them); all of them take about 65 GB,
           without ImageNet

Environment: DATA    folder of the data sets (default: data)
             MIRROR  base URL of a mirror of your own, tried first

Files that are there are skipped, interrupted downloads resumed. A failure does not stop the other data sets.
USAGE
}

case "${1:-}" in
    -h | --help) usage; exit 0 ;;
    "") usage >&2; exit 2 ;;
esac

. "$(dirname "$0")/common.sh"

status=0
for name in "$@"; do
    "$python" download.py "$name" --root "$data" ${MIRROR:+--mirror "$MIRROR"} || { status=1; [ "$name" = all ] || continue; }
    "$python" download.py "$name" --root "$data" --check || status=1
done
exit $status
