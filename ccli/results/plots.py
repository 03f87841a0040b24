"""Figures from records: accuracy against shots, as in CoOp's and Tip-Adapter's papers, and accuracy against time."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ccli.errors import CcliError, os_errors
from ccli.files.atomic import moved_into_place
from ccli.results.aggregate import HALVES, Cells, Row, Task, average_name, collect, mean_by_seed, rows_of
from ccli.results.drawing import Series, against_time, curves, looks_of, style
from ccli.results.records import is_evaluation


class Plot(NamedTuple):
    """A figure, what it shows, and a name for its file that is safe whatever the data set is called."""

    stem: str
    title: str
    figure: Any  # matplotlib.figure.Figure


def plots(records: Iterable[dict[str, Any]]) -> list[Plot]:
    """The average over data sets (where there are several), each data set, and accuracy against time.

    Args:
        records: as `ccli.results.records.read_record` returns them; identical ones count once.

    Raises:
        CcliError: no records, two different ones for one seed of a cell, or matplotlib is not installed.
    """
    records = list(records)
    cells = collect(records)
    if not cells:
        raise CcliError("no records to draw; finish a run first")
    looks, used = looks_of(row for row, _ in cells), {"average"}
    average, datasets = _average(records)
    found = []
    if average and len(datasets) > 1:
        title = average_name(len(datasets)).capitalize()
        found.append(Plot("curves_average", title, curves(average, title, looks)))
    for dataset in dict.fromkeys(task.dataset for _, task in cells):
        stem = f"curves_{_safe(dataset, used)}"
        found.append(Plot(stem, dataset, curves(_of(cells, dataset), dataset, looks)))
    if seconds := _seconds(records, average, datasets):
        over = datasets[0] if len(datasets) == 1 else average_name(len(datasets))
        found.append(Plot("time", f"Accuracy and time, {over}", against_time(average, seconds, looks)))
    return found


def _of(cells: Cells, dataset: str) -> Series:
    series: Series = defaultdict(dict)
    for (row, task), by_seed in cells.items():
        if task.dataset == dataset:
            series[row][task.shots] = [float(100 * accuracy) for accuracy in by_seed.values()]
    return series


def _average(records: Sequence[dict[str, Any]]) -> tuple[Series, list[str]]:
    """(means over data sets, the data sets): of the rows, shots and seeds that have all data sets trained on."""
    cells = collect([record for record in records if "trained_on" not in record])
    datasets = list(dict.fromkeys(task.dataset for _, task in cells if not task.dataset.endswith(HALVES)))
    series: Series = defaultdict(dict)
    for row, shots in dict.fromkeys((row, task.shots) for row, task in cells):
        parts = [cells.get((row, Task(dataset, shots)), {}) for dataset in datasets]
        if by_seed := mean_by_seed(parts):
            series[row][shots] = [float(100 * accuracy) for accuracy in by_seed.values()]
    return series, datasets


def _seconds(records: Sequence[dict[str, Any]], average: Series, datasets: list[str]) -> dict[tuple[Row, int], float]:
    """(row, shots) -> mean seconds of fitting and selecting, of the runs that `average` is of."""
    records = [record for record in records if not is_evaluation(record) and record["dataset"] in datasets]
    found = defaultdict(list)
    for row, record in zip(rows_of(records), records):
        if record["shots"] in average.get(row, {}) and record["seconds"].keys() & {"fit", "select"}:
            spent = record["seconds"].get("fit", 0) + record["seconds"].get("select", 0)
            found[row, record["shots"]].append(spent)
    return {key: sum(values) / len(values) for key, values in found.items()}


def _safe(name: str, used: set[str]) -> str:
    """Letters, digits, _ and - of a name, and a number where they are taken; `used` is added to."""
    stem = base = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:60] or "unnamed"
    number = 1
    while stem.lower() in used:  # some file systems do not tell A from a
        number += 1
        stem = f"{base}_{number}"
    used.add(stem.lower())
    return stem


def save(found: Sequence[Plot], folder: str | Path) -> list[Path]:
    """Write each figure as PDF and as PNG (200 dots per inch); the paths.

    Raises:
        CcliError: the folder cannot be made or written to.
    """
    folder, paths = Path(folder), []
    with os_errors(f"cannot write figures to {folder}", "free space or choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        for plot in found:
            for suffix, options in (("pdf", {"metadata": {"CreationDate": None}}), ("png", {"dpi": 200})):
                paths.append(folder / f"{plot.stem}.{suffix}")
                with moved_into_place(paths[-1]) as scratch, style():
                    plot.figure.savefig(scratch, format=suffix, **options)
    return paths
