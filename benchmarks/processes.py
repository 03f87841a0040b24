"""train.py and sweep.py in processes of their own: seconds and peak memory."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.console import timed
from ccli.results.records import read_record
from ccli.sweeps.plan import Grid, Run, runs_of

ROOT = Path(__file__).parent.parent
# The peak of a process starts at that of its parent, so a small process is put between.
BETWEEN = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


class Measured(NamedTuple):
    """A run of train.py."""

    record: dict
    seconds: float
    memory: float  # peak resident memory in GB


def own_seconds(record: dict) -> float:
    """Seconds of a run's fit, selection and test."""
    return sum(record["seconds"][phase] for phase in ("fit", "select", "test"))


def one_run(dataset: str | Path, trainer: str, shots: int, output: Path, *options: str, **more: str) -> Run:
    """The run of seed 1, on a yaml's stem or a bundle's path; `more` are a grid's `cfg` and `root`."""
    return runs_of(Grid([str(dataset)], [trainer], [shots], [1], output=output, options=options, **more))[0]


def command_of(name: str, argv: Sequence[str]) -> list[str]:
    return [sys.executable, str(ROOT / f"{name}.py"), *argv]


def peak(command: Sequence[str], **env: str) -> float:
    """A command's peak resident memory in GB.

    Raises:
        subprocess.CalledProcessError: it failed; stderr says why.
    """
    between = [sys.executable, "-c", BETWEEN, *command]
    done = subprocess.run(between, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | env)
    return int(done.stdout) / 1024**2


def measured(run: Run, **env: str) -> Measured:
    """Carry out a run. Raises subprocess.CalledProcessError where it fails."""
    seconds, memory = timed(lambda: peak(command_of("train", run.argv), **env))
    return Measured(read_record(run.folder), seconds, memory)


def sweep_arguments(grid: Grid) -> list[str]:
    """sweep.py's flags for a grid's data sets, trainers, shots, seeds, root and output."""
    several = {"datasets": grid.datasets, "trainers": grid.trainers, "shots": grid.shots, "seeds": grid.seeds}
    words = [word for name, values in several.items() for word in (f"--{name}", *map(str, values))]
    return [*words, "--root", grid.root, "--output", str(grid.output)]


def swept(grid: Grid) -> tuple[float, dict[str, float]]:
    """Seconds of one sweep.py, and those of each of its runs by name."""
    command = command_of("sweep", sweep_arguments(grid))
    seconds, done = timed(lambda: subprocess.run(command, check=True, capture_output=True, text=True))
    runs = re.findall(r"^(.+): [\d.]+ % \(([\d.]+) s\)$", done.stderr, re.MULTILINE)
    return seconds, {name: float(took) for name, took in runs}
