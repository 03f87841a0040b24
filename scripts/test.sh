#!/usr/bin/env bash
# Installs what the tests need into .venv and runs them; arguments go to pytest.
#   bash scripts/test.sh                  the default suite, in two processes
#   bash scripts/test.sh -m slow          the long ones
#   bash scripts/test.sh -m 'ray and not slow'   those that start a Ray cluster on this machine
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh test
[ $# -gt 0 ] || set -- --numprocesses 2 --dist loadfile --no-loadscope-reorder
exec .venv/bin/python -m pytest "$@"
