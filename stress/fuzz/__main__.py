"""Damaged files for every reader: python -m stress.fuzz [--minutes 10] [--only bundle split ...] [--seed 0]

Hypothesis draws how good files are damaged: bytes, values of json, arrays and their headers, declared sizes. A reader
may refuse a file with a CcliError of one line, or read it. Any other exception has escaped: it is shown with its
traceback and the smallest damage that causes it, and its files are kept. Prints examples, seconds, refusals and escapes
for each target; exit status 1 where an exception escaped. Targets run one after another.
"""

import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from benchmarks.console import flag, script, table
from ccli.errors import CcliError
from stress.fuzz.classifiers import ClassifierReader
from stress.fuzz.targets import READERS, Target

TARGETS = READERS | {"classifier": ClassifierReader}
ROUND = 200  # examples per start of hypothesis
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
    """Rounds of examples until the time is over: counts by outcome, and the traceback of each round that failed."""
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


def row(name: str, minutes: float, start: int) -> tuple[list[str], bool]:
    """Fuzz one target: its row of the table, and whether an exception escaped."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    target, begun = TARGETS[name](folder), time.monotonic()
    counts, escaped = fuzz(target, 60 * minutes, start)
    for text in dict.fromkeys(escaped):
        print(f"{name}, files in {folder}:\n{text}", file=sys.stderr)
    if not escaped:
        shutil.rmtree(folder)
    tried, spent = counts["read"] + counts["refused"], time.monotonic() - begun
    what = f"{counts['escaped']} rounds" if escaped else "nothing"
    print(f"{name}: {tried} examples in {spent:.0f} s, {counts['refused']} refused, escaped: {what}", flush=True)
    return [name, tried, f"{spent:.0f}", counts["refused"], what], bool(escaped)


@script
@flag("--minutes", type=float, default=10, help="for each target")
@flag("--only", nargs="+", choices=TARGETS, default=list(TARGETS), metavar="NAME", help="targets")
@flag("--seed", type=int, default=0, help="of the first round; the others follow")
def main(args) -> bool:
    warnings.simplefilter("ignore")  # damaged arrays draw many
    rows, escaped = zip(*(row(name, args.minutes, args.seed) for name in args.only))
    print(table(rows, ["target", "examples", "seconds", "refused", "escaped"]))
    return any(escaped)
