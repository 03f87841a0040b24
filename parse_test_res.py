"""CoOp's name for `ccli table`; it reads logs unless --table is given: python parse_test_res.py --help"""

from __future__ import annotations

import sys

from ccli.cli import run


def main(argv: list[str] | None = None) -> int:
    return run("table", "parse_test_res.py", argv)


if __name__ == "__main__":
    sys.exit(main())
