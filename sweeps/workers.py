"""Processes that carry out runs one after another, each with its features loaded once."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Collection, Iterator, Sequence
from multiprocessing import connection

from tqdm import tqdm

from ccli.sweeps.execute import Outcome, cut_off, execute
from ccli.sweeps.plan import Run


class Worker:
    """A process of its own, so that what crashes a run does not end the sweep."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # so that its death is an end of file
        self.run: Run | None = None

    def start(self, run: Run) -> None:
        self.run = run
        self.pipe.send(run)

    def outcomes(self) -> list[Outcome]:
        """What became of the run, as soon as it is known."""
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode
            why = f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
            why = f"its process ended with {why}"
            return cut_off(self.run, why, f"{why}: there is no traceback\n")

    def end(self) -> None:
        """At once where it is at work, else by itself."""
        if self.run:
            self.process.kill()
        self.pipe.close()
        self.process.join()


def run_all(runs: Sequence[Run], jobs: int, apart: Collection[str]) -> Iterator[list[Outcome]]:
    """Carry out runs in `jobs` processes; each run's outcomes as it ends. Closing the iterator ends the processes.

    Args:
        apart: trainers whose runs get a new process each, because they may leave it changed.
    """
    waiting = list(reversed(runs))
    workers = [Worker() for _ in range(min(jobs, len(runs)))]
    try:
        for worker in workers:
            worker.start(waiting.pop())
        while busy := {worker.pipe: worker for worker in workers if worker.run}:
            for pipe in connection.wait(list(busy)):
                worker = busy[pipe]
                outcomes, fresh = worker.outcomes(), worker.run.trainer in apart
                worker.run = None
                if fresh or not worker.process.is_alive():
                    worker.end()
                    workers.remove(worker)
                    if waiting:
                        worker = Worker()
                        workers.append(worker)
                if waiting:
                    worker.start(waiting.pop())
                yield outcomes
    finally:
        for worker in workers:
            worker.end()


def _serve(pipe: connection.Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep's own business
    tqdm.set_lock(threading.RLock())  # not one that is shared by processes, which a kill would leave behind
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            run = pipe.recv()
        except EOFError:
            return
        pipe.send(execute(run))


def _end_with_parent() -> None:
    """A sweep that is killed leaves nobody behind who still writes."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
