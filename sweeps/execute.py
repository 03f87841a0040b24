"""One run of a sweep, in this process: as train.py would do it, with a failure kept in the run's folder."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from ccli.errors import CcliError, of_the_disk
from ccli.files.atomic import alone, write_whole
from ccli.results.records import FAILURE, RECORD, is_done
from ccli.sweeps import run as one_run
from ccli.sweeps.config import setup_cfg
from ccli.sweeps.plan import Run


class Outcome(NamedTuple):
    """How a run or an evaluation ended."""

    name: str
    folder: Path
    error: str = ""  # one line; "" where the run is done
    seconds: float = 0.0
    traced: bool = False  # whether the folder's failed.txt has a traceback


def execute(run: Run) -> list[Outcome]:
    """Train, then evaluate."""
    return _in_turn(run, _execute)


def cut_off(run: Run, why: str, trace: str) -> list[Outcome]:
    """Outcomes of a run whose process died before it could report them."""
    return _in_turn(
        run, lambda call: Outcome(call.name, call.folder) if holds_its_record(call) else _failed(call, why, trace)
    )


def _in_turn(run: Run, outcome_of: Callable[[Run], Outcome]) -> list[Outcome]:
    """The outcomes of a run and its evaluations, which are not attempted after a failure."""
    outcomes: list[Outcome] = []
    for call in run.calls():
        failed = outcomes and outcomes[-1].error
        outcomes.append(Outcome(call.name, call.folder, "its run is not done") if failed else outcome_of(call))
    return outcomes


def holds_its_record(call: Run) -> bool:
    """Whether the record of this call is in its folder. The run itself refuses a record of other options."""
    args = one_run.arguments(call.argv)
    cfg = setup_cfg(args)
    try:
        return one_run.is_done(cfg, args)
    except CcliError:
        return False


def _execute(call: Run) -> Outcome:
    start = time.time()
    try:
        with alone(call.folder), _into_log():
            one_run.run(one_run.arguments(call.argv))
            if not (call.folder / RECORD).exists():
                raise CcliError(f"the run ended without {call.folder / RECORD}; do its options forbid a test?")
        (call.folder / FAILURE).unlink(missing_ok=True)
    except Exception as problem:
        error = of_the_disk(problem) or " ".join(str(problem).split()) or type(problem).__name__
        return _failed(call, error, traceback.format_exc(), time.time() - start)
    return Outcome(call.name, call.folder, "", time.time() - start)


def _failed(call: Run, error: str, trace: str, seconds: float = 0.0) -> Outcome:
    """The outcome of a call that failed; its traceback is kept as failed.txt in its folder."""
    traced = False
    try:
        if not is_done(call.folder):  # otherwise it is the result of another run, which was refused: keep it as it is
            write_whole(call.folder / FAILURE, trace)
            traced = "Traceback" in trace
    except CcliError as problem:
        error += f" (and no traceback could be kept: {problem})"
    return Outcome(call.name, call.folder, error, seconds, traced)


@contextmanager
def _into_log() -> Iterator[None]:
    """Print to the run's log.txt only."""
    with open(os.devnull, "w") as sink, redirect_stdout(sink):
        try:
            yield
        finally:
            sys.stdout.close()  # the toolbox's logger, and with it log.txt
