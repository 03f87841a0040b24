"""Download a benchmark data set and lay it out as CoOp does, ready for `ccli train`.

Files that are there are skipped and interrupted downloads are resumed, so repeat the command until it says that all is
in place. Archives are verified, unpacked and then deleted.
"""

import argparse
import os
import sys
from pathlib import Path

from ccli.commands.parser import Parser
from ccli.datasets.downloads.sources import SOURCES
from ccli.errors import CcliError

EXAMPLES = """
data sets:
  {names}

examples:
  PROG eurosat                     the smallest (94 MB), into data/eurosat
  PROG eurosat --check             count its classes and images, open some of them
  PROG oxford_pets --root /data    into /data/oxford_pets; give train and sweep the same --root
  PROG all                         one after another; ends with a list of what failed
  PROG dtd --mirror http://lab/sets    try http://lab/sets/dtd-r1.0.1.tar.gz ... first

ImageNet needs an account: `PROG imagenet` says what to put where, and then lays it out. concept_shapes is drawn on
first use. If an address does not answer, the error says what to do by hand. Terms of use are the data sets' own
(DATASETS.md).
"""


def main(argv: list[str], prog: str) -> int:
    names = list(SOURCES)
    lines = "\n  ".join([" ".join(names[:8]), " ".join(names[8:]), "all"])
    parser = Parser(prog, __doc__, EXAMPLES.format(names=lines))
    parser.add_argument("dataset", metavar="DATASET", help="one of the names below, or all")
    root = os.environ.get("DATA") or "data"
    parser.add_argument("--root", default=root, help="folder of the data sets (default: $DATA, or data)")
    parser.add_argument("--check", action="store_true", help="check what is there, download nothing")
    parser.add_argument("--mirror", default="", help="base URL with the files by their names, tried first")
    args = parser.parse_args(argv)
    root = Path(args.root).expanduser()
    if args.mirror and not args.mirror.startswith(("http://", "https://")):
        raise CcliError(f"--mirror {args.mirror}: an address starts with http:// or https://")
    if args.dataset.startswith("concept_shapes"):
        print(f"{args.dataset} is no download: it is drawn on first use, by train.py, into {root / args.dataset}")
        return 0
    if args.dataset != "all":
        one(args.dataset, root, args)
        return 0
    failures = {}
    for name in SOURCES:
        try:
            one(name, root, args)
        except CcliError as error:
            failures[name] = error
            print(f"{name}: {error}", file=sys.stderr)
    if failures:
        words = f"{len(failures)} of {len(SOURCES)} data sets failed (see above): {', '.join(failures)}"
        print(f"{prog}: error: {words}", file=sys.stderr)
    return 1 if failures else 0


def one(name: str, root: Path, args: argparse.Namespace) -> None:
    """Install or check one data set. Raises CcliError if that fails or finds problems."""
    from ccli.datasets.downloads.install import install, source_of

    source_of(name)
    if args.check:
        from ccli.datasets.downloads.check import check_dataset

        if problems := check_dataset(name, root):
            more = f" (and {len(problems) - 1} more, see above)" if len(problems) > 1 else ""
            raise CcliError(f"{name}: {problems[0]}{more}")
        return
    install(name, root, args.mirror)
