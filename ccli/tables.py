"""Tables from the records of finished runs, always from correct/total and never from a rounded line."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from ccli.cells import (
    PUBLISHED,
    Cells,
    Row,
    Task,
    add_harmonic_means,
    add_means,
    add_published,
    collect,
    rows_of,
    source_first,
    targets_of,
)  # fmt: skip
from ccli.errors import CcliError, nearest
from ccli.published import Published
from ccli.runs import is_evaluation

DAGGER = "†"
FOOTNOTE = f"{DAGGER} protocol paper: hyper-parameters chosen as the method's authors did, test set included."
PUBLISHED_NOTE = f"{PUBLISHED} published by a method's authors, with choices made on the test set; not run here."
MISSING = "-"


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


def _row_names(rows: Sequence[Row]) -> dict[Row, str]:
    """Each row's name: the trainer, in brackets whatever is needed to tell its rows apart, a dagger for paper."""
    names = {}
    sources = {row.trained_on for row in rows} - {""}
    for row in rows:
        same_trainer = [other for other in rows if other.trainer == row.trainer]
        details = [row.cfg] if len({other.cfg for other in same_trainer}) > 1 else []
        # Backbones are told apart everywhere or nowhere: two trainers on two backbones do not compare.
        details += [row.backbone] if len({other.backbone for other in rows}) > 1 else []
        if row.protocol != "paper" and len({other.protocol for other in same_trainer} - {"paper"}) > 1:
            details.append(row.protocol)
        # As with backbones; what is trained on each data set ("") is told apart by the others' names.
        several = len(sources) > 1 or len({other.trained_on for other in same_trainer}) > 1
        details += [f"trained on {row.trained_on}"] if row.trained_on and several else []
        names[row] = row.trainer + (f" ({', '.join(details)})" if details else "")
        names[row] += f" {DAGGER}" if row.protocol == "paper" else ""
    return names


def _best(cells: Cells) -> dict[Task, Fraction]:
    """The best mean of each task that at least two rows attempt; fractions, so that a tie is a tie exactly."""
    means = defaultdict(list)
    for (row, task), by_seed in cells.items():
        if row.protocol != PUBLISHED:
            means[task].append(sum(by_seed.values()) / len(by_seed))
    return {task: max(values) for task, values in means.items() if len(values) > 1}


def _difference(by_seed: dict[int, Fraction], reference: dict[int, Fraction]) -> str:
    """Such as "+1.25": percentage points above the reference, mean over the seeds that both have."""
    shared = by_seed.keys() & reference.keys()
    if not shared:
        return MISSING
    return f"{float(100 * sum(by_seed[seed] - reference[seed] for seed in shared) / len(shared)):+.2f}"


def _reference(names: dict[Row, str], trainer: str) -> Row:
    rows = [row for row in names if row.trainer == trainer and row.protocol != PUBLISHED]
    if len(rows) != 1:
        have = ", ".join(dict.fromkeys(row.trainer for row in names))
        found = f"{len(rows)} rows" if rows else f"no row (there are {have})"
        raise CcliError(f"a difference to {trainer} needs one row of it, and this table has {found}")
    return rows[0]


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
    cells: Cells, names: dict[Row, str], blocks: list[tuple[list[str], list[Task]]], bold: bool, against: Row | None
) -> list[list[str]]:
    """The cells' texts; a row that attempts no task of a block is left out of it."""
    best, most = _best(cells) if bold else {}, max(map(len, cells.values()))
    lines = []
    for labels, tasks in blocks:
        for row, name in names.items():
            found = [(cells.get((row, task)), best.get(task)) for task in tasks]
            if any(by_seed for by_seed, _ in found):
                counted = 1 if row.protocol == PUBLISHED else most
                texts = [_cell_text(by_seed, counted, top) if by_seed else MISSING for by_seed, top in found]
                if against:
                    pairs = [(cells.get((row, task), {}), cells.get((against, task), {})) for task in tasks]
                    differences = ["" if row == against else _difference(*pair) for pair in pairs]
                    texts = [text for pair in zip(texts, differences) for text in pair]
                lines.append([*labels, name, *texts])
    return lines


def results_table(
    records: Iterable[dict[str, Any]], columns: str | None = None, fmt: str = "github", against: str = "",
    published: Iterable[Published] = (),
) -> str:  # fmt: skip
    """Accuracies in percent, "mean ± sample standard deviation" over seeds; one seed has no ±.

    A row is a trainer (with cfg, backbone or protocol in brackets where it occurs with several; a dagger and a
    footnote mark protocol paper). A cell with fewer seeds than the fullest one says how many. In the github
    format the best mean of a data set at a number of shots is bold wherever at least two rows have one.

    Runs and the tests of the same runs on other data sets (records with `trained_on`) are in one row, in brackets
    with the source where rows have several; the source's column comes before its targets'. Where a source has several
    targets, the mean over them is the last column (columns None), of the seeds that were tested on all; where a row has
    the base and the new classes of a data set, their harmonic mean.

    Args:
        records: as `ccli.runs.read_record` returns them; identical ones count once.
        columns: None: a column for each data set and number of shots present; "dataset": data sets, with a block of
            rows for each number of shots; "shots": numbers of shots, with a block of rows for each data set.
        fmt: a format of tabulate: github, simple, ...
        against: a trainer; beside every column (columns None) stands the difference to it.
        published: numbers to show in rows of their own, marked; they are never bold.

    Raises:
        CcliError: no records, two different ones for one seed of a cell, unknown columns or format, or not exactly
            one row of `against`.
    """
    import tabulate

    if fmt not in tabulate.tabulate_formats:
        raise CcliError(f"unknown table format {fmt!r}; use github or simple.{nearest(fmt, tabulate.tabulate_formats)}")
    records = list(records)
    cells = collect(records)
    if not cells:
        raise CcliError("no records to make a table of; finish a run first")
    names = _row_names(list(dict.fromkeys(row for row, _ in cells)))
    tasks = source_first(list(dict.fromkeys(task for _, task in cells)), targets_of(cells))
    means = [*add_means(cells), *add_harmonic_means(cells)] if columns is None else []
    heads, blocks = _layout([*tasks, *means], columns)
    reference = _reference(names, against) if against else None
    names |= add_published(cells, published)
    lines = _lines(cells, names, blocks, fmt == "github", reference)
    if reference:
        first = len(heads) - len(blocks[0][1])
        heads = heads[:first] + [text for head in heads[first:] for text in (head, f"to {against}")]
    if fmt == "github":  # a bar would end the cell
        heads, *lines = [[text.replace("|", "\\|") for text in line] for line in [heads, *lines]]
    numbers = len(blocks[0][1]) * (2 if reference else 1)
    aligned = ["left"] * (len(heads) - numbers) + ["right"] * numbers
    table = tabulate.tabulate(lines, heads, tablefmt=fmt, colalign=aligned, disable_numparse=True)
    notes = [FOOTNOTE] if any(row.protocol == "paper" for row in names) else []
    notes += [PUBLISHED_NOTE] if any(row.protocol == PUBLISHED for row in names) else []
    return "\n\n".join([table, *notes, *_zero_alphas(records, names)])


def _zero_alphas(records: Sequence[dict[str, Any]], names: dict[Row, str]) -> list[str]:
    """For CCLI's rows, which may choose no weight at all for what they add to zero-shot: in how many runs they did."""
    alphas = defaultdict(list)
    for row, record in zip(rows_of(records), records):
        chosen = record["hyper_parameters"].get("alpha")
        asked = record["trainer"] == "CCLI" and record["selected_by"] not in ("default", "fixed")
        if asked and chosen is not None and not is_evaluation(record):
            alphas[names[row]].append(chosen)
    counts = [f"{name} in {sum(a == 0 for a in values)} of {len(values)} runs" for name, values in alphas.items()]
    return [f"alpha = 0 (zero-shot) was chosen by {', '.join(counts)}."] if counts else []
