"""What is measured is measured as train.py would run it."""

import os

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # as train.py's share_cores, before torch is imported
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
