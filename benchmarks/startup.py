"""What a command costs before it does anything: python -m benchmarks.startup [--repeats 9] [--only import help]

Whole processes, one after another, in rounds over all of them, so that a noisy machine is as noisy to each: importing
torch and the toolbox, `--help` of each script, and train.py at 1 shot on a small generated bundle and, where --root has
it, on concept_shapes, whose features an unmeasured round puts into the store. Prints the median seconds of each, how
many they are above those of importing torch, and how many of these were the run's own fit, selection and test.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import tabulate
import torch
from torch.nn import functional as F

from ccli.features.bundles import Bundle, write_bundle
from ccli.features.task import Split
from ccli.results.records import read_record

ROOT = Path(__file__).parent.parent
SCRIPTS = ("train", "predict", "sweep", "parse_test_res", "report", "download", "interpret_prompt")
TRAINERS = ("ZeroshotCLIP", "CCLI", "TipAdapterF")  # no fit; one without epochs; one with torch's optimiser
CLASSES, CONCEPTS, WIDTH = 10, 50, 64


class Command(NamedTuple):
    """A process to be timed."""

    name: str
    argv: tuple[str, ...]  # what follows python
    folder: Path | None = None  # of its run, which is removed before each


def small_bundle(path: Path) -> Path:
    """Random features, centre crops alone."""
    generator = torch.Generator().manual_seed(0)

    def rows(count: int) -> torch.Tensor:
        return F.normalize(torch.randn(count, WIDTH, generator=generator), dim=-1)

    def split(per_class: int) -> Split:
        return Split(rows(CLASSES * per_class), torch.arange(CLASSES).repeat_interleave(per_class))

    bundle = Bundle(
        tuple(f"class {k}" for k in range(CLASSES)), rows(CLASSES), torch.ones(CLASSES), 100.0,
        split(4), split(4), split(20), tuple(f"concept {k}" for k in range(CONCEPTS)), rows(CONCEPTS),
    )  # fmt: skip
    return write_bundle(path, bundle)


def run(dataset: str, trainer: str, cfg: str, place: Path, *more: str) -> Command:
    folder = place / dataset / trainer
    argv = (
        str(ROOT / "train.py"), "--seed", "1", "--trainer", trainer, "--output-dir", str(folder),
        "--dataset-config-file", str(ROOT / f"configs/datasets/{dataset}.yaml"),
        "--config-file", str(ROOT / f"configs/trainers/{trainer}/{cfg}.yaml"),
        "DATASET.NUM_SHOTS", "1", *more,
    )  # fmt: skip
    return Command(f"train.py {trainer} on {dataset}", argv, folder)


def commands(place: Path, root: str) -> list[Command]:
    """All there are, importing torch first."""
    found = [Command(f"import {name}", ("-c", f"import {name}")) for name in ("torch", "dassl.engine")]
    found += [Command(f"{name}.py --help", (str(ROOT / f"{name}.py"), "--help")) for name in SCRIPTS]
    bundle = small_bundle(place / "small.npz")
    found += [run("feature_bundle", name, "rn50", place, "DATASET.BUNDLE", str(bundle)) for name in TRAINERS]
    if (Path(root) / "concept_shapes").is_dir():
        found += [run("concept_shapes", name, "demo_clip", place, "DATASET.ROOT", root) for name in TRAINERS]
    return found


def seconds(command: Command) -> tuple[float, float]:
    """Of the whole process, and of its run's own fit, selection and test."""
    if command.folder:
        shutil.rmtree(command.folder, ignore_errors=True)
    start = time.perf_counter()
    subprocess.run([sys.executable, *command.argv], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    took = time.perf_counter() - start
    spent = read_record(command.folder)["seconds"] if command.folder else {}
    return took, sum(spent.get(phase, 0.0) for phase in ("fit", "select", "test"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder of the data sets (default: data)")
    parser.add_argument("--repeats", type=int, default=9, help="rounds that are measured (default: 9)")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="WORD", help="commands that have one of these in them"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = commands(Path(place), str(Path(args.root).absolute()))
        found = found[:1] + [c for c in found[1:] if any(word in c.name for word in args.only)]
        rounds = [[seconds(command) for command in found] for _ in range(1 + args.repeats)][1:]
    medians = [[statistics.median(x) for x in zip(*of)] for of in zip(*rounds)]
    rows = [
        [c.name, f"{whole:.3f}", f"{whole - medians[0][0]:+.3f}", f"{own:.3f}" if c.folder else ""]
        for c, (whole, own) in zip(found, medians)
    ]
    print(f"median of {args.repeats}, seconds")
    print(tabulate.tabulate(rows, ["", "in all", "above torch", "fit, select, test"], "github", disable_numparse=True))


if __name__ == "__main__":
    main()
