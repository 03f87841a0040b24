"""A sweep against the same runs through train.py one at a time: python -m benchmarks.sweep

The demo grid: concept_shapes, every method on stored features (CoOp trains through the text tower), 1 2 4 8 16 shots,
three seeds: 135 runs. All images are encoded before. Prints both times, their ratio, whether all records are identical,
and the time of a run of the sweep beyond its own fit, selection and test.
"""

import statistics
import subprocess

from tqdm import tqdm

from benchmarks.console import flag, script, timed
from benchmarks.processes import command_of, own_seconds, swept
from ccli.results.records import read_record, same_record
from ccli.sweeps.encoding import encode, missing_images
from ccli.sweeps.plan import PAPER_SHOTS, TRAINERS, Grid, Run, runs_of


def fill_store(runs: list[Run]) -> None:
    missing, problems = missing_images(runs)
    assert not problems, problems
    for item in missing:
        encode(item, "lock")


def one_at_a_time(runs: list[Run]) -> None:
    for run in tqdm(runs, desc="train.py", disable=None):
        subprocess.run(command_of("train", run.argv), check=True, capture_output=True)


@script
@flag("--root", default="data", help="folder of the data sets")
@flag("--seeds", nargs="+", type=int, default=[1, 2, 3])
def main(args) -> None:
    trainers = [name for name in TRAINERS if name != "CoOp"]
    grids = [
        Grid(["concept_shapes"], trainers, PAPER_SHOTS, args.seeds, root=args.root, output=args.scratch / side)
        for side in ("sweep", "alone")
    ]
    runs, alone = map(runs_of, grids)
    fill_store(runs)
    fast, seconds = swept(grids[0])
    slow, _ = timed(lambda: one_at_a_time(alone))
    pairs = [(read_record(a.folder), read_record(b.folder)) for a, b in zip(runs, alone)]
    different = sum(bool(same_record(*pair)) for pair in pairs)
    extra = [seconds[run.name] - own_seconds(record) for run, (record, _) in zip(runs, pairs)]
    print(
        f"{len(runs)} runs: train.py one at a time {slow:.1f} s, sweep.py {fast:.1f} s: {slow / fast:.1f} times as fast"
    )
    print(f"{different} records differ")
    middle, mean = statistics.median(extra), statistics.mean(extra)
    print(
        f"beyond its own fit, selection and test, a run of the sweep took {middle:.3f} s (median), {mean:.3f} s (mean)"
    )
