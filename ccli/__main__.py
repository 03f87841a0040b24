"""`python -m ccli` is `ccli`."""

import sys

from ccli.cli import main

if __name__ == "__main__":  # not in the processes that a sweep spawns
    sys.exit(main())
