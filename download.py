"""The same as `ccli download`: python download.py --help"""

from functools import partial

from ccli.cli import run

main = partial(run, "download", "download.py")
if __name__ == "__main__":
    raise SystemExit(main())
