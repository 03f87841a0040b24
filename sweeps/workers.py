"""Processes that carry out runs one after another, each with its features loaded once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import connection

from tqdm import tqdm

from .execute import Outcome, cut_off
from .plan import Run
from .together import execute_group


class Worker:
    """A process of its own, so that what crashes a run does not end the sweep."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # so that its death is an end of file
        self.runs: Sequence[Run] = ()

    def start(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.pipe.send(runs)

    def outcomes(self) -> list[list[Outcome]]:
        """What became of each run, as soon as it is known; nothing of a group that took its process with it."""
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            why = f"its process ended with {_exit(self.process.exitcode)}"
            return [cut_off(run, why, f"{why}: there is no traceback\n") for run in self.runs if len(self.runs) == 1]

    def end(self) -> None:
        """At once where it is at work, else by itself."""
        if self.runs:
            self.process.kill()
        self.pipe.close()
        self.process.join()


def run_all(groups: Sequence[Sequence[Run]], jobs: int, apart: Sequence[str] = ()) -> Iterator[list[Outcome]]:
    """Carry out runs in `jobs` processes; each run's outcomes as it ends. Closing the iterator ends the processes.

    Args:
        groups: runs to be trained as one; of one run each where there are none.
        apart: trainers whose runs get a new process each, because they may leave it changed.
    """
    waiting = list(reversed(groups))
    workers = [Worker() for _ in range(min(jobs, len(groups)))]
    try:
        for worker in workers:
            worker.start(waiting.pop())
        while busy := {worker.pipe: worker for worker in workers if worker.runs}:
            for pipe in connection.wait(list(busy)):
                worker = busy[pipe]
                outcomes, fresh = worker.outcomes(), worker.runs[0].trainer in apart
                if not outcomes:  # one of a group has ended the process: which one, each by itself will show
                    waiting += [(run,) for run in reversed(worker.runs)]
                worker.runs = ()
                if fresh or not worker.process.is_alive():
                    worker.end()
                    workers.remove(worker)
                    if waiting:
                        worker = Worker()
                        workers.append(worker)
                if waiting:
                    worker.start(waiting.pop())
                yield from outcomes
    finally:
        for worker in workers:
            worker.end()


def _serve(pipe: connection.Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep's own business
    tqdm.set_lock(threading.RLock())  # not one that is shared by processes, which a kill would leave behind
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            runs = pipe.recv()
        except EOFError:
            return
        pipe.send(execute_group(runs))


def _end_with_parent() -> None:
    """A sweep that is killed leaves nobody behind who still writes."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _exit(code: int | None) -> str:
    return f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit status {code}"
