"""The same as `ccli train`: python train.py --help"""

from functools import partial

from ccli.cli import run

main = partial(run, "train", "train.py")
if __name__ == "__main__":
    raise SystemExit(main())
