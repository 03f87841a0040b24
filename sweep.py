"""The same as `ccli sweep`: python sweep.py --help"""

from __future__ import annotations

import sys

from ccli.cli import run


def main(argv: list[str] | None = None) -> int:
    return run("sweep", "sweep.py", argv)


if __name__ == "__main__":
    sys.exit(main())
