"""A sweep against the same runs through train.py one at a time: python -m benchmarks.sweep

The demo grid: concept_shapes, every method on stored features (CoOp trains through the text tower), 1 2 4 8 16 shots,
three seeds: 135 runs. Everything is encoded before, so that neither side does it. Prints both times, their ratio,
whether all records are identical, and what a run of the sweep costs beyond its own fit, selection and test.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

from ccli.results.records import find_records, read_record, same_record
from ccli.sweeps.encoding import encode, missing_images
from ccli.sweeps.plan import PAPER_SHOTS, TRAINERS, Grid, Run, runs_of

ROOT = Path(__file__).parent.parent


def fill_store(runs: list[Run]) -> None:
    missing, problems = missing_images(runs)
    assert not problems, problems
    for item in missing:
        encode(item, "lock")


def one_by_one(runs: list[Run]) -> float:
    """Seconds of train.py, once for each run."""
    start = time.perf_counter()
    for run in tqdm(runs, desc="train.py", disable=None):
        command = [sys.executable, str(ROOT / "train.py"), *run.argv]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def swept(grid: Grid) -> tuple[float, dict[str, float]]:
    """Seconds of one sweep.py, and those of each of its runs, by name."""
    command = [
        sys.executable, str(ROOT / "sweep.py"), "--datasets", *grid.datasets, "--trainers", *grid.trainers,
        "--shots", *map(str, grid.shots), "--seeds", *map(str, grid.seeds), "--root", grid.root,
        "--output", str(grid.output),
    ]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = re.findall(r"^(.+): [\d.]+ % \(([\d.]+) s\)$", done.stderr, re.MULTILINE)
    return time.perf_counter() - start, {name: float(seconds) for name, seconds in lines}


def beyond(run: Run, seconds: float) -> float:
    """What a run took beyond its own fit, selection and test."""
    spent = read_record(run.folder)["seconds"]
    return seconds - spent["fit"] - spent["select"] - spent["test"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="folder of the data sets (default: data)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    args = parser.parse_args()
    trainers = [name for name in TRAINERS if name != "CoOp"]
    with tempfile.TemporaryDirectory() as place:
        grids = [
            Grid(["concept_shapes"], trainers, PAPER_SHOTS, args.seeds, root=args.root, output=Path(place) / side)
            for side in ("sweep", "alone")
        ]
        runs, alone = map(runs_of, grids)
        fill_store(runs)
        fast, took = swept(grids[0])
        slow = one_by_one(alone)
        pairs = [(read_record(a.folder), read_record(b.folder)) for a, b in zip(runs, alone)]
        assert len(find_records(place)[0]) == 2 * len(runs)
        different = sum(bool(same_record(*pair)) for pair in pairs)
        extra = [beyond(run, took[run.name]) for run in runs]
    print(
        f"{len(runs)} runs: train.py one at a time {slow:.1f} s, sweep.py {fast:.1f} s: {slow / fast:.1f} times as fast"
    )
    print(f"{different} records differ")
    print(
        f"beyond its own fit, selection and test, a run of the sweep took {statistics.median(extra):.3f} s (median), "
        f"{statistics.mean(extra):.3f} s (mean)"
    )


if __name__ == "__main__":
    main()
