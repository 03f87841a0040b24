"""The same as `ccli predict`, and `ccli explain` and `ccli export`: python predict.py --help"""

from functools import partial

from ccli.cli import run

main = partial(run, "predict", "predict.py")
if __name__ == "__main__":
    raise SystemExit(main())
