"""Seconds of a command before it does anything: python -m benchmarks.startup [--repeats 9] [--only import help]

Whole processes, in rounds over all of them, so that a noisy machine is as noisy to each: importing torch and the
toolbox, `--help` of each script, and train.py at 1 shot on a small generated bundle and, where --root has it, on
concept_shapes, whose features an unmeasured round puts into the store. Prints the median seconds of each, the
difference to importing torch, and the seconds of the run's own fit, selection and test.
"""

import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.console import flag, script, table, timed
from benchmarks.generated import bundle
from benchmarks.processes import ROOT, command_of, one_run, own_seconds
from ccli.features.bundles import write_bundle
from ccli.results.records import read_record

SCRIPTS = ("train", "predict", "sweep", "parse_test_res", "report", "download", "interpret_prompt")
TRAINERS = ("ZeroshotCLIP", "CCLI", "TipAdapterF")  # without a fit, without epochs, with torch's optimiser


class Command(NamedTuple):
    """A process to be timed."""

    name: str
    command: list[str]
    folder: Path | None = None  # of its run, which is removed before each


def commands(place: Path, root: Path) -> list[Command]:
    """All commands, importing torch first."""
    found = [Command(f"import {name}", [sys.executable, "-c", f"import {name}"]) for name in ("torch", "dassl.engine")]
    found += [Command(f"{name}.py --help", command_of(name, ["--help"])) for name in SCRIPTS]
    datasets = [write_bundle(place / "feature_bundle.npz", bundle(10, 4, 4, 200, concepts=50, width=64))]
    if (root / "concept_shapes").is_dir():
        datasets.append(Path("concept_shapes"))
    for dataset in datasets:
        for run in [one_run(dataset, trainer, 1, place, root=str(root)) for trainer in TRAINERS]:
            name = f"train.py {run.trainer} on {dataset.stem}"
            found.append(Command(name, command_of("train", run.argv), run.folder))
    return found


def seconds(command: Command) -> tuple[float, float]:
    """Of the whole process, and of its run's own fit, selection and test."""
    if command.folder:
        shutil.rmtree(command.folder, ignore_errors=True)
    quiet = {"check": True, "cwd": ROOT, "stdout": subprocess.DEVNULL}
    whole, _ = timed(lambda: subprocess.run(command.command, **quiet))
    return whole, own_seconds(read_record(command.folder)) if command.folder else 0.0


@script
@flag("--root", type=Path, default="data", help="folder of the data sets")
@flag("--repeats", type=int, default=9, help="rounds that are measured")
@flag("--only", nargs="+", default=[""], metavar="WORD", help="commands with one of these words")
def main(args) -> None:
    found = commands(args.scratch, args.root.absolute())
    found = found[:1] + [c for c in found[1:] if any(word in c.name for word in args.only)]
    rounds = [[seconds(command) for command in found] for _ in range(1 + args.repeats)][1:]
    medians = [[statistics.median(x) for x in zip(*of)] for of in zip(*rounds)]
    rows = [
        [c.name, f"{whole:.3f}", f"{whole - medians[0][0]:+.3f}", f"{own:.3f}" if c.folder else ""]
        for c, (whole, own) in zip(found, medians)
    ]
    print(f"median of {args.repeats}, seconds")
    print(table(rows, ["", "in all", "above torch", "fit, select, test"]))
