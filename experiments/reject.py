"""Whether a probability says which labels to trust: python -m experiments.reject [--output OUTPUT]

Trains CCLI and four other methods at 16 shots, three seeds (runs that OUTPUT has are kept), and takes the calibrated
probabilities of the test images from what `ccli.load_run` reads. Prints

- for thresholds P, as predict.py's --reject takes them, the share of the test images whose label CCLI keeps (its
  probability is P or more) and the accuracy on these;
- for each method the temperature, the expected calibration error without and with it, and how well the probability of
  the label tells right ones from wrong ones (area under the ROC curve; 50 is chance).

The exit status is 1 where CCLI's mean accuracy on what it keeps does not rise with every step of P.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tabulate

from ccli.errors import CcliError
from ccli.inference.saving import load_run
from ccli.results.methods import OURS
from ccli.results.records import read_record
from ccli.sweeps.config import setup_cfg
from ccli.sweeps.plan import Grid, Run, runs_of
from ccli.sweeps.run import arguments

ROOT = Path(__file__).parent.parent
METHODS = ("ZeroshotCLIP", "LinearProbe", "TipAdapter", "GDA", OURS)
THRESHOLDS = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class Tested(NamedTuple):
    """Test images of one run: the probability of each label [n], whether it is right [n], and the run's record."""

    probability: np.ndarray
    right: np.ndarray
    record: dict[str, Any]


def train(grid: Grid) -> None:
    """The runs of a grid by sweep.py, which keeps those that are done."""
    command = [
        sys.executable, str(ROOT / "sweep.py"), "--datasets", *grid.datasets, "--trainers", *grid.trainers, "--shots",
        *map(str, grid.shots), "--seeds", *map(str, grid.seeds), "--root", grid.root, "--output", str(grid.output),
        "--threads", "1",
    ]  # fmt: skip
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise CcliError("sweep.py has not made all runs; it says above why")


def tested(run: Run) -> Tested:
    """The run on its test images, whose features are the stored ones: random crops of new pictures are others.

    Raises:
        CcliError: the loaded classifier's labels are not those of the record.
    """
    from dassl.data.datasets import build_dataset

    from ccli.trainers.common.feature_source import feature_source

    record = read_record(run.folder)
    cfg = setup_cfg(arguments(run.argv))
    with redirect_stdout(io.StringIO()):
        features = feature_source(cfg, build_dataset(cfg), "cpu").test().features
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
    return [
        method, of_seeds([one.record["accuracy"] for one in runs]), of_seeds([one["temperature"] for one in said]),
        fitted, *(of_seeds([100 * one[name] for one in said], 1) for name in ("ece_uncalibrated", "ece")),
        of_seeds([auroc(one) for one in runs], 1),
    ]  # fmt: skip


def report(grid: Grid) -> bool:
    """Print the tables; whether accuracy rises."""
    found: dict[str, list[Tested]] = {method: [] for method in grid.trainers}
    for run in runs_of(grid):
        found[run.trainer].append(tested(run))
    rows, means = reject_table(found[OURS])
    record = found[OURS][0].record
    seeds = f"seeds {' '.join(map(str, grid.seeds))}"
    print(f"{record['dataset']}: {OURS}, {grid.shots[0]} shots, {seeds}, {record['total']} test images", end="\n\n")
    show = {"tablefmt": "github", "disable_numparse": True}
    print(tabulate.tabulate(rows, ["P", "kept, %", "accuracy on what is kept, %"], **show), end="\n\n")
    good = rises(means)
    says = "rises with every step of P" if good else "does not rise with every step of P"
    print(f"Mean accuracy on what is kept {says}: {', '.join(f'{mean:.2f}' for mean in means)}", end="\n\n")
    heads = ["method", "accuracy", "temperature", "fitted on", "ECE without it, %", "ECE with it, %", "AUROC, %"]
    print(tabulate.tabulate([calibration_row(*item) for item in found.items()], heads, **show))
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output", type=Path, default=Path("output/reject"), help="where runs are (default: output/reject)")
    add("--dataset", default="concept_shapes", help="yaml stem, or path of a bundle (default: concept_shapes)")
    add("--shots", type=int, default=16, help="default: 16")
    add("--seeds", nargs="+", type=int, default=[1, 2, 3], help="default: 1 2 3")
    add("--root", default="data", help="folder of the data sets (default: data)")
    args = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        grid = Grid([args.dataset], METHODS, [args.shots], args.seeds, root=args.root, output=args.output)
        train(grid)
        return 0 if report(grid) else 1
    except CcliError as error:
        print(f"reject: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
