"""Tables from the records of finished runs, always from correct/total and never from a rounded line."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from ccli.errors import CcliError, nearest
from ccli.published import Published
from ccli.runs import is_evaluation, same_record

DAGGER = "†"
FOOTNOTE = f"{DAGGER} protocol paper: hyper-parameters chosen as the method's authors did, test set included."
PUBLISHED = "‡"
PUBLISHED_NOTE = f"{PUBLISHED} published by a method's authors, with choices made on the test set; not run here."
MISSING = "-"
MEAN = "mean of targets"
HARMONIC = "harmonic mean of base and new"
HALVES = (" (base)", " (new)")  # of a data set's classes: no targets


class Row(NamedTuple):
    """What the runs of one line of a table share; only seeds are averaged over."""

    trainer: str
    cfg: str
    backbone: str
    protocol: str
    trained_on: str  # the source, where some of the row's runs were tested on other data sets; "" where none was


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


def _rows(records: Sequence[dict[str, Any]]) -> list[Row]:
    """Each record's row. A run that was tested on other data sets, too, is in one row with those tests."""
    keys = [tuple(record[name] for name in Row._fields[:-1]) for record in records]
    sources = {(key, record["trained_on"]) for key, record in zip(keys, records) if "trained_on" in record}
    return [
        Row(*key, record.get("trained_on") or (record["dataset"] if (key, record["dataset"]) in sources else ""))
        for key, record in zip(keys, records)
    ]


def _collect(records: Sequence[dict[str, Any]]) -> Cells:
    """Sort records into cells. Raises CcliError where two different records claim one seed of one cell."""
    cells: Cells = defaultdict(dict)
    seen: dict[tuple[Row, Task, int], dict[str, Any]] = {}
    for row, record in zip(_rows(records), records):
        task = Task(record["dataset"], record["shots"])
        other = seen.setdefault((row, task, record["seed"]), record)
        differing = [] if other is record else same_record(record, other)
        if is_evaluation(record) or is_evaluation(other):  # options of a test that change no prediction
            differing = [name for name in differing if name not in ("config", "run")]
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


def _add_published(cells: Cells, published: Iterable[Published]) -> dict[Row, str]:
    """Add published numbers on the tasks that our runs attempt; the names of their rows."""
    names = {}
    tasks = list(dict.fromkeys(task for _, task in cells))
    for found in published:
        row = Row(found.trainer, "", found.backbone, PUBLISHED, "")
        for task in tasks:
            if task.dataset == found.dataset and found.shots in (0, task.shots):
                cells[row, task] = {0: found.accuracy}
                names[row] = f"{found.trainer} ({found.backbone}) {PUBLISHED}"
    return names


def _targets(cells: Cells) -> dict[str, list[str]]:
    """Source -> the data sets that its runs were tested on beside it, in order of appearance."""
    targets: dict[str, dict[str, None]] = defaultdict(dict)
    for row, task in cells:
        if row.trained_on and task.dataset != row.trained_on and not task.dataset.endswith(HALVES):
            targets[row.trained_on][task.dataset] = None
    return {source: list(found) for source, found in targets.items()}


def _add_means(cells: Cells) -> list[Task]:
    """Add to each row, shots and seed with all targets of a source (if it has several) their mean; the new tasks."""
    targets = {source: found for source, found in _targets(cells).items() if len(found) > 1}
    added = {}
    for source, found in targets.items():
        for row, shots in dict.fromkeys((row, task.shots) for row, task in cells):
            parts = [cells.get((row, Task(target, shots)), {}) for target in found]
            seeds = [seed for seed in parts[0] if all(seed in part for part in parts)]
            if seeds:
                task = Task(MEAN if len(targets) == 1 else f"{MEAN} of {source}", shots)
                cells[row, task] = {seed: sum(part[seed] for part in parts) / len(parts) for seed in seeds}
                added[task] = None
    return sorted(added, key=lambda task: (task.shots < 0, task.shots))


def _add_harmonic_means(cells: Cells) -> list[Task]:
    """Add, wherever a row has both halves of a data set's classes, their harmonic mean by seed; the new tasks."""
    added = {}
    for row, task in list(cells):
        if not task.dataset.endswith(HALVES[0]):
            continue
        name = task.dataset.removesuffix(HALVES[0])
        new = cells.get((row, Task(name + HALVES[1], task.shots)), {})
        base = cells[row, task]
        if shared := base.keys() & new.keys():
            means = {seed: 2 * base[seed] * new[seed] / ((base[seed] + new[seed]) or 1) for seed in sorted(shared)}
            harmonic = Task(f"{name}, {HARMONIC}", task.shots)
            cells[row, harmonic] = means
            added[harmonic] = None
    return list(added)


def _source_first(tasks: Sequence[Task], targets: dict[str, list[str]]) -> list[Task]:
    """Tasks in their order, but those on a source before the first of its targets."""
    datasets = list(dict.fromkeys(task.dataset for task in tasks))
    order = [s for d in datasets for s in (*(s for s, found in targets.items() if d in found and s in datasets), d)]
    return sorted(tasks, key=lambda task: order.index(task.dataset))


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
    cells = _collect(records)
    if not cells:
        raise CcliError("no records to make a table of; finish a run first")
    names = _row_names(list(dict.fromkeys(row for row, _ in cells)))
    tasks = _source_first(list(dict.fromkeys(task for _, task in cells)), _targets(cells))
    means = [*_add_means(cells), *_add_harmonic_means(cells)] if columns is None else []
    heads, blocks = _layout([*tasks, *means], columns)
    reference = _reference(names, against) if against else None
    names |= _add_published(cells, published)
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
    for row, record in zip(_rows(records), records):
        chosen = record["hyper_parameters"].get("alpha")
        asked = record["trainer"] == "CCLI" and record["selected_by"] not in ("default", "fixed")
        if asked and chosen is not None and not is_evaluation(record):
            alphas[names[row]].append(chosen)
    counts = [f"{name} in {sum(a == 0 for a in values)} of {len(values)} runs" for name, values in alphas.items()]
    return [f"alpha = 0 (zero-shot) was chosen by {', '.join(counts)}."] if counts else []
