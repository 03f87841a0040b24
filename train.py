"""The same as `ccli train`: python train.py --help"""

import sys
from functools import partial

from ccli.cli import run

main = partial(run, "train", "train.py")
if __name__ == "__main__":
    sys.exit(main())
