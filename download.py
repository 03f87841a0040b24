"""Download a benchmark data set and lay it out as CoOp does, ready for train.py.

What is there is skipped and what was interrupted is resumed, so the same command may be run until it says that all is
in place. Archives are verified, unpacked and then deleted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from ccli.errors import CcliError

EPILOG = """\
data sets:
  {names}

examples:
  python download.py eurosat                     the smallest (94 MB), into data/eurosat
  python download.py eurosat --check             count its classes and images, open some of them
  python download.py oxford_pets --root /data    into /data/oxford_pets; give train.py the same --root
  python download.py all                         one after another; ends with a list of what failed
  python download.py dtd --mirror http://lab/sets    try http://lab/sets/dtd-r1.0.1.tar.gz ... first

ImageNet is not given out without an account: `python download.py imagenet` says what to put where, and then lays it
out. concept_shapes is drawn on first use. Where an address does not answer, the error says what to do by hand.
Terms of use are the data sets' own (DATASETS.md).
"""


def arguments(argv: list[str] | None, names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG.format(names="\n  ".join([" ".join(names[:8]), " ".join(names[8:]), "all"])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", metavar="DATASET", help="one of the names below, or all")
    root = os.environ.get("DATA") or "data"
    parser.add_argument("--root", default=root, help="folder of the data sets (default: $DATA, or data)")
    parser.add_argument("--check", action="store_true", help="check what is there, download nothing")
    parser.add_argument("--mirror", default="", help="base URL with the files by their names, tried first")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    from ccli.datasets.downloads.install import source_of
    from ccli.datasets.downloads.sources import SOURCES

    root = Path(args.root).expanduser()
    if args.mirror and not args.mirror.startswith(("http://", "https://")):
        raise CcliError(f"--mirror {args.mirror}: an address starts with http:// or https://")
    if args.dataset.startswith("concept_shapes"):
        print(f"{args.dataset} is no download: it is drawn on first use, by train.py, into {root / args.dataset}")
        return
    if args.dataset != "all":
        source_of(args.dataset)
        one(args.dataset, root, args)
        return
    failures = {}
    for name in SOURCES:
        try:
            one(name, root, args)
        except CcliError as error:
            failures[name] = error
            print(f"{name}: {error}", file=sys.stderr)
    if failures:
        raise CcliError(f"{len(failures)} of {len(SOURCES)} data sets failed (see above): {', '.join(failures)}")


def one(name: str, root: Path, args: argparse.Namespace) -> None:
    """Install or check one data set.

    Raises:
        CcliError: it failed, or the check found problems.
    """
    if args.check:
        from ccli.datasets.downloads.check import check_dataset

        problems = check_dataset(name, root)
        if problems:
            more = f" (and {len(problems) - 1} more, see above)" if len(problems) > 1 else ""
            raise CcliError(f"{name}: {problems[0]}{more}")
        return
    from ccli.datasets.downloads.install import install

    install(name, root, args.mirror)


def main(argv: list[str] | None = None) -> None:
    try:
        from ccli.datasets.downloads.sources import SOURCES

        run(arguments(argv, list(SOURCES)))
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error.name} is not installed here: run `bash scripts/install.sh` and use .venv/bin/python")
    except CcliError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command resumes")
    finally:
        sys.stdout.flush()


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it quietly
    main()
