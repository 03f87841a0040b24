"""Records sorted into the cells of a table: rows, data sets with shots, seeds; and the means over several columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from ccli.errors import CcliError
from ccli.published import Published
from ccli.runs import is_evaluation, same_record

PUBLISHED = "‡"
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


def rows_of(records: Sequence[dict[str, Any]]) -> list[Row]:
    """Each record's row. A run that was tested on other data sets, too, is in one row with those tests."""
    keys = [tuple(record[name] for name in Row._fields[:-1]) for record in records]
    sources = {(key, record["trained_on"]) for key, record in zip(keys, records) if "trained_on" in record}
    return [
        Row(*key, record.get("trained_on") or (record["dataset"] if (key, record["dataset"]) in sources else ""))
        for key, record in zip(keys, records)
    ]


def collect(records: Sequence[dict[str, Any]]) -> Cells:
    """Sort records into cells. Raises CcliError where two different records claim one seed of one cell."""
    cells: Cells = defaultdict(dict)
    seen: dict[tuple[Row, Task, int], dict[str, Any]] = {}
    for row, record in zip(rows_of(records), records):
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


def add_published(cells: Cells, published: Iterable[Published]) -> dict[Row, str]:
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


def targets_of(cells: Cells) -> dict[str, list[str]]:
    """Source -> the data sets that its runs were tested on beside it, in order of appearance."""
    targets: dict[str, dict[str, None]] = defaultdict(dict)
    for row, task in cells:
        if row.trained_on and task.dataset != row.trained_on and not task.dataset.endswith(HALVES):
            targets[row.trained_on][task.dataset] = None
    return {source: list(found) for source, found in targets.items()}


def add_means(cells: Cells) -> list[Task]:
    """Add to each row, shots and seed with all targets of a source (if it has several) their mean; the new tasks."""
    targets = {source: found for source, found in targets_of(cells).items() if len(found) > 1}
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


def add_harmonic_means(cells: Cells) -> list[Task]:
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


def source_first(tasks: Sequence[Task], targets: dict[str, list[str]]) -> list[Task]:
    """Tasks in their order, but those on a source before the first of its targets."""
    datasets = list(dict.fromkeys(task.dataset for task in tasks))
    order = [s for d in datasets for s in (*(s for s, found in targets.items() if d in found and s in datasets), d)]
    return sorted(tasks, key=lambda task: order.index(task.dataset))
