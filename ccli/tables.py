"""Tables from the records of finished runs, always from correct/total and never from a rounded line."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from ccli.errors import CcliError, nearest
from ccli.runs import same_record

DAGGER = "†"
FOOTNOTE = f"{DAGGER} protocol paper: hyper-parameters chosen as the method's authors did, test set included."
MISSING = "-"


class Row(NamedTuple):
    """What the runs of one line of a table share; only seeds are averaged over."""

    trainer: str
    cfg: str
    backbone: str
    protocol: str


class Task(NamedTuple):
    """What methods are compared on."""

    dataset: str
    shots: int


Cells = dict[tuple[Row, Task], dict[int, Fraction]]  # -> seed -> accuracy as a fraction of 1


def mean_std(values: Iterable[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (ddof = 1), in the values' unit; the deviation of one value is nan.

    Raises:
        CcliError: there are no values.
    """
    import numpy as np

    values = np.asarray(list(values), dtype=np.float64)
    if len(values) == 0:
        raise CcliError("no values to take a mean of; give at least one")
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _collect(records: Iterable[dict[str, Any]]) -> Cells:
    """Sort records into cells. Raises CcliError where two different records claim one seed of one cell."""
    cells: Cells = defaultdict(dict)
    seen: dict[tuple[Row, Task, int], dict[str, Any]] = {}
    for record in records:
        row = Row(*(record[name] for name in Row._fields))
        task = Task(record["dataset"], record["shots"])
        other = seen.setdefault((row, task, record["seed"]), record)
        differing = [] if other is record else same_record(record, other)
        if differing:
            raise CcliError(
                f"two different records for {task.dataset}, {row.trainer}, {row.cfg}, {task.shots} shots, "
                f"seed {record['seed']} (they differ in {', '.join(differing)}); make one table for each"
            )
        cells[row, task][record["seed"]] = Fraction(record["correct"], record["total"])
    return cells


def _row_names(rows: Sequence[Row]) -> dict[Row, str]:
    """Each row's name: the trainer, in brackets whatever is needed to tell its rows apart, a dagger for paper."""
    names = {}
    for row in rows:
        same_trainer = [other for other in rows if other.trainer == row.trainer]
        details = [row.cfg] if len({other.cfg for other in same_trainer}) > 1 else []
        # Backbones are told apart everywhere or nowhere: two trainers on two backbones do not compare.
        details += [row.backbone] if len({other.backbone for other in rows}) > 1 else []
        if row.protocol != "paper" and len({other.protocol for other in same_trainer} - {"paper"}) > 1:
            details.append(row.protocol)
        names[row] = row.trainer + (f" ({', '.join(details)})" if details else "")
        names[row] += f" {DAGGER}" if row.protocol == "paper" else ""
    return names


def _best(cells: Cells) -> dict[Task, Fraction]:
    """The best mean of each task that at least two rows attempt; fractions, so that a tie is a tie exactly."""
    means = defaultdict(list)
    for (_, task), by_seed in cells.items():
        means[task].append(sum(by_seed.values()) / len(by_seed))
    return {task: max(values) for task, values in means.items() if len(values) > 1}


def _cell_text(by_seed: dict[int, Fraction], most: int, best: Fraction | None) -> str:
    """Such as "81.23 ± 0.50 (2 seeds)", percent, bold if it is the best mean; most: seeds of the fullest cell."""
    mean, std = mean_std(float(100 * accuracy) for accuracy in by_seed.values())
    count = len(by_seed)
    text = f"{mean:.2f}" if count == 1 else f"{mean:.2f} ± {std:.2f}"
    if sum(by_seed.values()) / count == best:
        text = f"**{text}**"
    return text if count == most else f"{text} ({count} seed{'s' if count > 1 else ''})"


def _shots_name(shots: int) -> str:
    return "all shots" if shots < 0 else f"{shots} shot{'' if shots == 1 else 's'}"


def _layout(tasks: Sequence[Task], columns: str | None) -> tuple[list[str], list[tuple[list[str], list[Task]]]]:
    """How tasks spread over a table: the heads, and blocks of rows as (leading labels, each column's task)."""
    # Data sets in order of appearance, which is the caller's; shots by number, with "all" (-1) at the end.
    datasets = list(dict.fromkeys(task.dataset for task in tasks))
    shots = sorted({task.shots for task in tasks}, key=lambda n: (n < 0, n))
    if columns is None:
        present = [Task(d, n) for d in datasets for n in shots if Task(d, n) in tasks]
        return ["trainer", *(f"{d}, {_shots_name(n)}" for d, n in present)], [([], present)]
    if columns == "dataset":
        return ["shots", "trainer", *datasets], [([_shots_name(n)], [Task(d, n) for d in datasets]) for n in shots]
    if columns == "shots":
        heads = ["dataset", "trainer", *map(_shots_name, shots)]
        return heads, [([d], [Task(d, n) for n in shots]) for d in datasets]
    hint = nearest(columns, ["dataset", "shots"])
    raise CcliError(f"unknown columns {columns!r}; use 'dataset', 'shots' or None.{hint}")


def _lines(
    cells: Cells, names: dict[Row, str], blocks: list[tuple[list[str], list[Task]]], bold: bool
) -> list[list[str]]:
    """The cells' texts; a row that attempts no task of a block is left out of it."""
    best, most = _best(cells) if bold else {}, max(map(len, cells.values()))
    lines = []
    for labels, tasks in blocks:
        for row, name in names.items():
            found = [(cells.get((row, task)), best.get(task)) for task in tasks]
            if any(by_seed for by_seed, _ in found):
                texts = [_cell_text(by_seed, most, top) if by_seed else MISSING for by_seed, top in found]
                lines.append([*labels, name, *texts])
    return lines


def results_table(records: Iterable[dict[str, Any]], columns: str | None = None, fmt: str = "github") -> str:
    """Accuracies in percent, "mean ± sample standard deviation" over seeds; one seed has no ±.

    A row is a trainer (with cfg, backbone or protocol in brackets where it occurs with several; a dagger and a
    footnote mark protocol paper). A cell with fewer seeds than the fullest one says how many. In the github
    format the best mean of a data set at a number of shots is bold wherever at least two rows have one.

    Args:
        records: as `ccli.runs.read_record` returns them; identical ones count once.
        columns: None: a column for each data set and number of shots present; "dataset": data sets, with a block of
            rows for each number of shots; "shots": numbers of shots, with a block of rows for each data set.
        fmt: a format of tabulate: github, simple, ...

    Raises:
        CcliError: no records, two different ones for one seed of a cell, or unknown columns or format.
    """
    import tabulate

    if fmt not in tabulate.tabulate_formats:
        raise CcliError(f"unknown table format {fmt!r}; use github or simple.{nearest(fmt, tabulate.tabulate_formats)}")
    records = list(records)
    cells = _collect(records)
    if not cells:
        raise CcliError("no records to make a table of; finish a run first")
    names = _row_names(list(dict.fromkeys(row for row, _ in cells)))
    heads, blocks = _layout(list(dict.fromkeys(task for _, task in cells)), columns)
    lines = _lines(cells, names, blocks, bold=fmt == "github")
    if fmt == "github":  # a bar would end the cell
        heads, *lines = [[text.replace("|", "\\|") for text in line] for line in [heads, *lines]]
    numbers = len(blocks[0][1])
    aligned = ["left"] * (len(heads) - numbers) + ["right"] * numbers
    table = tabulate.tabulate(lines, heads, tablefmt=fmt, colalign=aligned, disable_numparse=True)
    notes = [FOOTNOTE] if any(row.protocol == "paper" for row in names) else []
    return "\n\n".join([table, *notes, *_zero_alphas(records, names)])


def _zero_alphas(records: Iterable[dict[str, Any]], names: dict[Row, str]) -> list[str]:
    """For the rows that choose the weight of a branch beside zero-shot: in how many runs they chose none of it."""
    alphas = defaultdict(list)
    for record in records:
        chosen = record["hyper_parameters"].get("alpha")
        if chosen is not None and record["selected_by"] not in ("default", "fixed"):
            alphas[names[Row(*(record[name] for name in Row._fields))]].append(chosen)
    counts = [f"{name} in {sum(a == 0 for a in values)} of {len(values)} runs" for name, values in alphas.items()]
    return [f"alpha = 0 (zero-shot) was chosen by {', '.join(counts)}."] if counts else []
