"""Damaged files for every reader: python -m stress.fuzz [--minutes 10] [--only bundle split ...] [--seed 0]

Hypothesis draws how good files are damaged: bytes, values of json, arrays and their headers, sizes that are declared.
A reader may refuse a file with a CcliError of one line, or read it; whatever else leaves it has escaped, is shown with
its traceback and the smallest damage that was found to cause it, and its files are kept. Prints for each target the
examples, the seconds, how many were refused, what escaped, and by how much memory grew; exit status 1 where something
escaped. Targets run one after another.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import tabulate
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ccli.errors import CcliError
from stress.fuzz.classifiers import ClassifierReader
from stress.fuzz.targets import (
    BundleReader,
    ClassesReader,
    ConfigMerge,
    LogParser,
    RecordReader,
    SplitReader,
    Target,
    VocabularyReader,
)

TARGETS: dict[str, type[Target]] = {
    "bundle": BundleReader, "split": SplitReader, "config": ConfigMerge, "log": LogParser, "record": RecordReader,
    "classifier": ClassifierReader, "classes": ClassesReader, "vocabulary": VocabularyReader,
}  # fmt: skip
ROUND = 200  # examples for which hypothesis is started at once
QUIET = dict(deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False)


def attempt(target: Target, rng) -> str:
    """ "read" or "refused"; raises what has escaped."""
    target.damage(rng)
    try:
        target.read()
    except CcliError as error:
        message = str(error)
        message.encode()
        if not message.strip() or len(message.splitlines()) != 1:
            raise ValueError(f"a message that is not one line: {message!r}") from error
        return "refused"
    return "read"


def fuzz(target: Target, seconds: float, start: int) -> tuple[Counter, list[str]]:
    """Rounds of examples until the time is over: how many ended how, and a traceback for each round that failed."""
    counts, escaped, end, number = Counter(), [], time.monotonic() + seconds, start
    while time.monotonic() < end:

        @seed(number)
        @settings(max_examples=ROUND, **QUIET)
        @given(st.randoms(use_true_random=False))
        def examples(rng) -> None:
            counts[attempt(target, rng)] += 1

        try:
            examples()
        except Exception:
            escaped.append(traceback.format_exc())
            counts["escaped"] += 1
        number += 1
    return counts, escaped


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="for each target (default: 10)")
    parser.add_argument("--only", nargs="+", choices=TARGETS, metavar="NAME", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; the others follow (default: 0)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # damaged arrays draw many
    rows, bad = [], False
    for name in args.only or TARGETS:
        folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
        target, memory, begun = TARGETS[name](folder), peak_mib(), time.monotonic()
        counts, escaped = fuzz(target, 60 * args.minutes, args.seed)
        bad = bad or bool(escaped)
        for text in dict.fromkeys(escaped):
            print(f"{name}, files in {folder}:\n{text}", file=sys.stderr)
        if not escaped:
            shutil.rmtree(folder)
        tried, spent = counts["read"] + counts["refused"], time.monotonic() - begun
        what = f"{counts['escaped']} rounds" if escaped else "nothing"
        rows.append([name, tried, f"{spent:.0f}", counts["refused"], what, f"{peak_mib() - memory:.0f}"])
        print(f"{name}: {tried} examples in {spent:.0f} s, {counts['refused']} refused, escaped: {what}", flush=True)
    heads = ["target", "examples", "seconds", "refused", "escaped", "memory, MiB"]
    print(tabulate.tabulate(rows, heads, tablefmt="github", disable_numparse=True))
    sys.exit(bad)


if __name__ == "__main__":
    main()
