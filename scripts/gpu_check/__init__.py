"""Checks and measurements on a GPU: python -m gpu_check, started by scripts/gpu_check.sh, which makes it importable."""

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # as `ccli train` sets them, before torch is imported
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
