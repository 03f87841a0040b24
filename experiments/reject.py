"""Whether a probability says which labels to trust: python -m experiments.reject [--output OUTPUT]

Trains CCLI and four other methods (runs that OUTPUT has are kept), and takes the calibrated probabilities of the test
images from the saved classifiers. Prints

- for thresholds P, as predict.py's --reject takes them, the share of the test images whose label CCLI keeps (its
  probability is P or more) and the accuracy on these;
- for each method the temperature, the expected calibration error without and with it, and how well the probability of
  a label separates right from wrong ones (area under the ROC curve; 50 is chance).

The exit status is 1 where CCLI's mean accuracy on the images that it keeps does not rise with every step of P.
"""

import itertools
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.console import flag, script, table
from benchmarks.processes import command_of, sweep_arguments
from ccli.errors import CcliError
from ccli.inference.saving import load_run
from ccli.results.methods import OURS
from ccli.results.records import read_record
from ccli.sweeps.config import setup_cfg
from ccli.sweeps.plan import Grid, Run, runs_of
from ccli.sweeps.run import arguments

METHODS = ("ZeroshotCLIP", "LinearProbe", "TipAdapter", "GDA", OURS)
THRESHOLDS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class Tested(NamedTuple):
    """Test images of one run: the probability of each label [n], whether it is right [n], and the run's record."""

    probability: np.ndarray
    right: np.ndarray
    record: dict[str, Any]


def train(grid: Grid) -> None:
    """The runs of a grid by sweep.py, which keeps those that are done."""
    command = command_of("sweep", [*sweep_arguments(grid), "--threads", "1"])
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise CcliError("sweep.py failed; its messages are above")


def tested(run: Run) -> Tested:
    """The run on its test images, with their stored features, as new images would get other random crops.

    Raises:
        CcliError: the loaded classifier's labels are not those of the record.
    """
    from ccli.trainers.common.feature_source import build_quietly, feature_source

    record, cfg = read_record(run.folder), setup_cfg(arguments(run.argv))
    features = feature_source(cfg, build_quietly(cfg), "cpu").test().features
    probabilities = load_run(run.folder).predict_proba(features)
    labels = probabilities.argmax(1)
    differ = int((labels != record["predictions"]).sum())
    if differ:
        raise CcliError(f"{run.folder}: {differ} of {len(labels)} labels are not the record's; make the run again")
    return Tested(probabilities.max(1), labels == record["labels"], record)


def kept(one: Tested, threshold: float) -> tuple[float, float]:
    """(share of the images whose label is kept, accuracy on them), in percent; NaN where none is."""
    rows = one.probability >= threshold
    return 100 * float(rows.mean()), 100 * float(one.right[rows].mean()) if rows.any() else float("nan")


def auroc(one: Tested) -> float:
    """How often a right label has a higher probability than a wrong one, in percent; NaN where all are alike."""
    from sklearn.metrics import roc_auc_score

    if one.right.all() or not one.right.any():
        return float("nan")
    return 100 * float(roc_auc_score(one.right, one.probability))


def of_seeds(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± sample standard deviation over the seeds that have a value."""
    known = np.array([x for x in values if not np.isnan(x)])
    if not len(known):
        return "-"
    deviation = f" ± {known.std(ddof=1):.{digits}f}" if len(known) > 1 else ""
    few = f" ({len(known)} of {len(values)} seeds)" if len(known) < len(values) else ""
    return f"{known.mean():.{digits}f}{deviation}{few}"


def reject_table(runs: Sequence[Tested]) -> tuple[list[list[str]], list[float]]:
    """(a row for each threshold, mean accuracy at each); a threshold at which no seed keeps an image has no mean."""
    rows, means = [], []
    for threshold in THRESHOLDS:
        shares, accuracies = zip(*(kept(one, threshold) for one in runs))
        rows.append([f"{threshold:g}", of_seeds(shares), of_seeds(accuracies)])
        if not np.isnan(accuracies).all():
            means.append(float(np.nanmean(accuracies)))
    return rows, means


def rises(means: Sequence[float]) -> bool:
    return all(a < b for a, b in itertools.pairwise(means))


def calibration_row(method: str, runs: Sequence[Tested]) -> list[str]:
    said = [one.record["calibration"] for one in runs]
    fitted = ", ".join(sorted({one["fitted_on"] for one in said}))
    accuracy, temperature = of_seeds([x.record["accuracy"] for x in runs]), of_seeds([x["temperature"] for x in said])
    errors = [of_seeds([100 * one[name] for one in said], 1) for name in ("ece_uncalibrated", "ece")]
    return [method, accuracy, temperature, fitted, *errors, of_seeds([auroc(one) for one in runs], 1)]


def report(grid: Grid) -> bool:
    """Print the tables; whether accuracy rises."""
    found: dict[str, list[Tested]] = {method: [] for method in grid.trainers}
    for run in runs_of(grid):
        found[run.trainer].append(tested(run))
    rows, means = reject_table(found[OURS])
    record, seeds = found[OURS][0].record, " ".join(map(str, grid.seeds))
    print(f"{record['dataset']}: {OURS}, {grid.shots[0]} shots, seeds {seeds}, {record['total']} test images\n")
    print(table(rows, ["P", "kept, %", "accuracy on what is kept, %"]), end="\n\n")
    says = "rises with every step of P" if rises(means) else "does not rise with every step of P"
    print(f"Mean accuracy on what is kept {says}: {', '.join(f'{mean:.2f}' for mean in means)}\n")
    heads = ["method", "accuracy", "temperature", "fitted on", "ECE without it, %", "ECE with it, %", "AUROC, %"]
    print(table([calibration_row(*item) for item in found.items()], heads))
    return rises(means)


@script
@flag("--output", type=Path, default="output/reject", help="folder of the runs")
@flag("--dataset", default="concept_shapes", help="yaml stem, or path of a bundle")
@flag("--shots", type=int, default=16)
@flag("--seeds", nargs="+", type=int, default=[1, 2, 3])
@flag("--root", default="data", help="folder of the data sets")
def main(args) -> bool:
    grid = Grid([args.dataset], METHODS, [args.shots], args.seeds, root=args.root, output=args.output)
    train(grid)
    return not report(grid)
