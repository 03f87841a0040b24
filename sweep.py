"""The same as `ccli sweep`: python sweep.py --help"""

from functools import partial

from ccli.cli import run

main = partial(run, "sweep", "sweep.py")
if __name__ == "__main__":
    raise SystemExit(main())
