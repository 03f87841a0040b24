"""One run of a sweep, in this process: what train.py would do, its failure kept in the run's folder."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from pathlib import Path
from typing import NamedTuple

import filelock

from ccli.atomic import moved_into_place
from ccli.errors import CcliError
from ccli.runs import FAILURE, RECORD

from .plan import Run

NOT_DONE = "its run is not done"
LOCK = ".lock"  # of a run's folder: several sweeps may share one output


class Outcome(NamedTuple):
    """How one call of train.py ended."""

    name: str
    folder: Path
    error: str = ""  # one line; "" where the run is done
    seconds: float = 0.0


@cache
def train_script():
    """The checkout's train.py as a module."""
    path = Path(__file__).parent.parent / "train.py"
    spec = importlib.util.spec_from_file_location("ccli_train_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def execute(run: Run) -> list[Outcome]:
    """Train, then evaluate; what follows a failure is not attempted."""
    outcomes: list[Outcome] = []
    for call in run.calls():
        if outcomes and outcomes[-1].error:
            outcomes.append(Outcome(call.name, call.folder, NOT_DONE))
        else:
            outcomes.append(_execute(call))
    return outcomes


def cut_off(run: Run, why: str, trace: str) -> list[Outcome]:
    """Outcomes of a run whose process died before it could tell them."""
    outcomes: list[Outcome] = []
    for call in run.calls():
        if outcomes and outcomes[-1].error:
            outcomes.append(Outcome(call.name, call.folder, NOT_DONE))
        elif (call.folder / RECORD).exists():
            outcomes.append(Outcome(call.name, call.folder))
        else:
            outcomes.append(Outcome(call.name, call.folder, why + keep_failure(call.folder, trace)))
    return outcomes


def _execute(call: Run) -> Outcome:
    start = time.time()
    try:
        with _alone(call.folder), _into_log():
            train = train_script()
            train.run(train.arguments(list(call.argv)))
            if not (call.folder / RECORD).exists():
                raise CcliError(f"the run ended without {call.folder / RECORD}; do its options forbid a test?")
        (call.folder / FAILURE).unlink(missing_ok=True)
        error = ""
    except Exception as problem:
        error = " ".join(str(problem).split()) or type(problem).__name__
        error += keep_failure(call.folder, traceback.format_exc())
    return Outcome(call.name, call.folder, error, time.time() - start)


def keep_failure(folder: Path, trace: str) -> str:
    """Write a failed run's traceback into its folder; "" or, in words, why that did not work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with moved_into_place(folder / FAILURE) as scratch:
            scratch.write_text(trace, encoding="utf-8")
    except OSError as problem:
        return f" (and no traceback could be kept: {problem.strerror or problem})"
    return ""


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else runs in this folder. The system gives the lock back when its holder dies."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"{folder} is being run by another process; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _into_log() -> Iterator[None]:
    """What a run prints goes to its log.txt alone."""
    with open(os.devnull, "w") as sink, redirect_stdout(sink):
        try:
            yield
        finally:
            sys.stdout.close()  # the toolbox's logger, and with it log.txt
