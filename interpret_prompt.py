"""CoOp's name for `ccli words`: python interpret_prompt.py --help"""

from __future__ import annotations

import sys

from ccli.cli import run


def main(argv: list[str] | None = None) -> int:
    return run("words", "interpret_prompt.py", argv)


if __name__ == "__main__":
    sys.exit(main())
