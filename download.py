"""The same as `ccli download`: python download.py --help"""

from __future__ import annotations

import sys

from ccli.cli import run


def main(argv: list[str] | None = None) -> int:
    return run("download", "download.py", argv)


if __name__ == "__main__":
    sys.exit(main())
