"""Runs steps one by one within a budget; the report is on disk after each, whatever becomes of the next."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_check.figures import Deadline, Figures, read_json, write_json
from gpu_check.page import write_page

REPORT = "gpu_check.json"
LEAST = 10  # seconds: a step is not started with less


@dataclass(frozen=True)
class Step:
    """A part of the check.

    key: its name on the command line, the first letter that of the table in docs/results/gpu.md; run: takes the setting
    and the figures to fill; seconds: the most it may take.
    """

    key: str
    title: str
    run: Callable
    seconds: float


Carry = Callable[[Step, Deadline, Figures], None]  # raises where the step fails


def run_steps(steps: Sequence[Step], carry: Carry, report: dict, out: Path, budget: float) -> dict:
    """Run the steps in turn and add each to report["steps"].

    A step's status is "done", "failed" (it raised, or a part of it did) or "skipped" (the budget is spent).
    """
    report["steps"], deadline = [], Deadline.after(budget)
    for step in steps:
        entry = {"key": step.key, "title": step.title}
        report["steps"].append(entry | _outcome(step, carry, deadline.left(), out / f"step_{step.key}.json"))
        report["seconds"] = round(budget - deadline.left(), 1)
        write_json(out / REPORT, report)
        write_page(report, out)
    return report


def _outcome(step: Step, carry: Carry, left: float, path: Path) -> dict:
    if left < LEAST:
        why = f"{max(0, left):.0f} s of the budget are left, and no step starts with less than {LEAST} s"
        return {"status": "skipped", "seconds": 0.0, "figures": [], "errors": [why]}
    path.unlink(missing_ok=True)
    figures, start = Figures(path), time.monotonic()
    try:
        carry(step, Deadline.after(min(step.seconds, left)), figures)
    except Exception as error:
        figures.fail("the step", error)
    seconds = round(time.monotonic() - start, 1)
    path.unlink(missing_ok=True)
    return {"status": "failed" if figures.errors else "done", "seconds": seconds, **figures.as_dict()}


def apart(command: Sequence[str], deadline: Deadline, figures: Figures, log: Path) -> None:
    """Carry a step out in a process of its own, which writes its figures to `figures.path`; end it at the deadline.

    What breaks CUDA in one step does not break the next, and what hangs does not take the budget of all.

    Raises:
        TimeoutError: it took longer.
        RuntimeError: it ended with another exit status than 0.
    """
    with open(log, "ab") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)
        try:
            status = process.wait(max(0, deadline.left()))
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end_group(process)
    if figures.path.exists():
        found = read_json(figures.path)
        figures.figures += found["figures"]
        figures.errors += found["errors"]
    if status is None:
        raise TimeoutError("its time was over; the figures are those until then")
    if status:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"]
        raise RuntimeError(f"its process ended with status {status}: {said[-1]}")


def _end_group(process: subprocess.Popen) -> None:
    """Kill a process that leads a session, and what it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def in_process(step: Step, setting, figures: Figures) -> None:
    """Carry a step out here; its error is kept, and its peak memory is its last figure."""
    memory = setting.memory()
    try:
        step.run(setting, figures)
    except Exception as error:
        figures.fail("the step", error)
    finally:
        figures.add("peak memory of the process", memory.peak(), "MB")
