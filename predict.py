"""The same as `ccli predict`, `ccli explain` and `ccli export`: python predict.py --help"""

from __future__ import annotations

import sys

from ccli.cli import run


def main(argv: list[str] | None = None) -> int:
    return run("predict", "predict.py", argv)


if __name__ == "__main__":
    sys.exit(main())
