#!/usr/bin/env bash
# Installs what the tests need into .venv and runs them; arguments go to pytest.
#   bash scripts/test.sh                  the default suite
#   bash scripts/test.sh -m slow          the long ones
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh test
exec .venv/bin/python -m pytest "$@"
