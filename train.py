"""CoOp's name for `ccli train`: python train.py --help"""

from __future__ import annotations

import sys

from ccli.cli import run


def main(argv: list[str] | None = None) -> int:
    return run("train", "train.py", argv)


if __name__ == "__main__":
    sys.exit(main())
