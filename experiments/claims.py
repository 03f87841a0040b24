"""CCLI against every other method, cell by cell: python -m experiments.claims OUTPUT [OUTPUT ...] [--targets]

A cell is a data set and a number of shots. Prints for each CCLI's accuracy, the best other method (by its mean over
seeds, which favours the luckiest), and CCLI's difference to it and to zero-shot, with bootstrap standard errors over
test images and draws; then each method's mean over the cells that all methods have, and CCLI's difference to it.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.console import flag, script, table
from ccli.errors import CcliError
from ccli.results.methods import OURS, ZERO_SHOT, method_order
from ccli.results.records import find_records

RESAMPLES = 2000  # of the bootstrap
Cells = dict[tuple[str, int], dict[str, list[dict[str, Any]]]]  # (data set, shots) -> trainer -> records


class Difference(NamedTuple):
    points: float  # percentage points, the first method less the second
    error: float  # its standard error


def difference(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> Difference:
    """The mean difference in accuracy over the seeds that both have, and its bootstrap standard error.

    Seeds (draws) and test images are resampled independently of each other, pairs staying together. Where all seeds
    draw the same shots they are no replicates, and the error is that of the test images alone.

    Args:
        first, second: records of one data set and number of shots, one per seed.

    Raises:
        CcliError: no seed in common, or other test images.
    """
    ours, theirs = ({record["seed"]: record for record in several} for several in (first, second))
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        raise CcliError("no seed that both methods have; run them with the same seeds")
    rows = []
    for seed in seeds:
        a, b = ours[seed], theirs[seed]
        if a["labels"] != b["labels"]:
            raise CcliError(f"seed {seed} of {a['trainer']} and {b['trainer']} was not tested on the same images")
        labels = np.asarray(a["labels"])
        rows.append((a["predictions"] == labels).astype(float) - (b["predictions"] == labels))
    found = np.stack(rows)  # [seeds, images], each -1, 0 or 1
    rng, (draws, images) = np.random.default_rng(0), found.shape
    by_seed = rng.multinomial(draws, np.full(draws, 1 / draws), RESAMPLES) / draws  # [resamples, seeds]
    by_image = rng.multinomial(images, np.full(images, 1 / images), RESAMPLES) / images
    means = ((by_seed @ found) * by_image).sum(1)
    return Difference(100 * float(found.mean()), 100 * float(means.std(ddof=1)))


def cells_of(folders: Sequence[Path], targets: bool) -> Cells:
    """Raises CcliError where a trainer has several configurations, or CCLI and another method share no cell."""
    cells: Cells = defaultdict(lambda: defaultdict(list))
    for folder in folders:
        for _, record in find_records(folder)[0]:
            if ("trained_on" in record) == targets:
                cells[record["dataset"], record["shots"]][record["trainer"]].append(record)
    for (dataset, shots), methods in cells.items():
        for trainer, records in methods.items():
            if len({(r["cfg"], r["protocol"], r["backbone"]) for r in records}) > 1:
                raise CcliError(f"{trainer} has several configurations on {dataset}, {shots} shots; give one of them")
    cells = {key: cells[key] for key in sorted(cells) if OURS in cells[key] and len(cells[key]) > 1}
    if not cells:
        raise CcliError(f"no cell with {OURS} and another method; run them first")
    return cells


def mean(records: Sequence[dict[str, Any]]) -> float:
    return float(np.mean([100 * r["correct"] / r["total"] for r in records]))


def shown(found: Difference) -> str:
    return f"{found.points:+.2f} ± {found.error:.2f}"


def by_cell(cells: Cells) -> list[list[str]]:
    rows = []
    for (dataset, shots), methods in cells.items():
        others = {name: mean(records) for name, records in methods.items() if name != OURS}
        best = max(others, key=others.get)
        zero = shown(difference(methods[OURS], methods[ZERO_SHOT])) if ZERO_SHOT in methods else "-"
        ours, other = f"{mean(methods[OURS]):.2f}", f"{others[best]:.2f} ({best})"
        rows.append([f"{dataset}, {shots}", ours, other, shown(difference(methods[OURS], methods[best])), zero])
    return rows


def over_cells(cells: Cells) -> list[list[str]]:
    """The error of a mean over cells takes cells for independent; those on one data set are not quite."""
    names = sorted(set.intersection(*map(set, cells.values())), key=method_order)
    rows = []
    for name in names:
        row = [name, f"{np.mean([mean(methods[name]) for methods in cells.values()]):.2f}"]
        if name != OURS:
            found = [difference(methods[OURS], methods[name]) for methods in cells.values()]
            error = np.sqrt(sum(one.error**2 for one in found)) / len(found)
            row.append(shown(Difference(float(np.mean([one.points for one in found])), float(error))))
        rows.append(row)
    return rows


@script
@flag("folders", nargs="+", type=Path, metavar="OUTPUT")
@flag("--targets", action="store_true", help="tests on other data sets than the trained one")
def main(args) -> None:
    cells = cells_of(args.folders, args.targets)
    print(table(by_cell(cells), ["data set, shots", OURS, "best other", "difference", "to zero-shot"]), end="\n\n")
    print(table(over_cells(cells), ["trainer", f"mean of {len(cells)} cells", "CCLI less it"]))
