"""The same as `ccli table`, but it reads logs unless --table is given: python parse_test_res.py --help"""

from functools import partial

from ccli.cli import run

main = partial(run, "table", "parse_test_res.py")
if __name__ == "__main__":
    raise SystemExit(main())
