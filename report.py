"""The same as `ccli report`: python report.py --help"""

from functools import partial

from ccli.cli import run

main = partial(run, "report", "report.py")
if __name__ == "__main__":
    raise SystemExit(main())
