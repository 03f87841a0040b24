#!/usr/bin/env bash
# Downloads data sets and checks each.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: bash scripts/download.sh DATASET ...|all

  DATASET  such as eurosat oxford_pets (`python download.py --help` lists them); all of them are some 65 GB,
           ImageNet apart

Environment: DATA    folder of the data sets (default: data)
             MIRROR  base URL of a mirror of your own, tried first

What is there is skipped and what was interrupted is resumed. One that fails does not stop the others.
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
