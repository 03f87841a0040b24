"""Records sorted into the cells of a table (rows, data sets with shots, seeds), and means over several columns."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from ccli.results.conflicts import refuse_another_test_set, refuse_other_options, refuse_two_of_a_seed
from ccli.results.published import Published
from ccli.results.records import is_evaluation

PAPER = "†"
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
    trained_on: str  # the source, where some of the row's runs were tested on other data sets, else ""


class Task(NamedTuple):
    """What methods are compared on."""

    dataset: str
    shots: int
    aggregate: bool = False  # whether `dataset` names a mean over several


Cells = dict[tuple[Row, Task], dict[int, Fraction]]  # -> seed -> accuracy as a fraction of 1


def rows_of(records: Sequence[dict[str, Any]]) -> list[Row]:
    """The row of each record. A run and its tests on other data sets are in one row."""
    keys = [tuple(record[name] for name in Row._fields[:-1]) for record in records]
    sources = {(key, record["trained_on"]) for key, record in zip(keys, records) if "trained_on" in record}
    return [
        Row(*key, record.get("trained_on") or (record["dataset"] if (key, record["dataset"]) in sources else ""))
        for key, record in zip(keys, records)
    ]


def row_names(rows: Sequence[Row]) -> dict[Row, str]:
    """The name of each row: the trainer, in brackets what tells its rows apart, and a dagger for protocol paper."""
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
        names[row] += f" {PAPER}" if row.protocol == "paper" else ""
    return names


def source_of(row: Row, task: Task) -> str:
    """The data set that the runs on a task were trained on: the task's own, unless they were only tested there."""
    return row.trained_on or task.dataset


def records_by_seed(records: Sequence[dict[str, Any]]) -> dict[tuple[Row, Task, int], dict[str, Any]]:
    """(row, task, seed) -> its record.

    Raises:
        Conflict: two different records claim one seed of one cell, or the seeds of a cell were made with different
            options or on different test images.
    """
    seen: dict[tuple[Row, Task, int], dict[str, Any]] = {}
    tested: dict[tuple[Row, Task], dict[str, Any]] = {}  # the first record of each cell
    trained: dict[tuple[Row, Task], dict[str, Any]] = {}  # the first run of each, whose options count
    for row, record in zip(rows_of(records), records):
        task = Task(record["dataset"], record["shots"])
        refuse_two_of_a_seed(record, seen.setdefault((row, task, record["seed"]), record))
        refuse_another_test_set(record, tested.setdefault((row, task), record))
        if not is_evaluation(record):
            refuse_other_options(record, trained.setdefault((row, task), record))
    return seen


def collect(records: Sequence[dict[str, Any]]) -> Cells:
    """Sort records into cells. Raises Conflict as `records_by_seed` does."""
    cells: Cells = defaultdict(dict)
    for (row, task, seed), record in records_by_seed(records).items():
        cells[row, task][seed] = Fraction(record["correct"], record["total"])
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
        own = task.aggregate or task.dataset.endswith(HALVES) or task.dataset == row.trained_on
        if row.trained_on and not own:
            targets[row.trained_on][task.dataset] = None
    return {source: list(found) for source, found in targets.items()}


def average_name(count: int) -> str:
    return f"average over {count} data sets"


def mean_by_seed(parts: Sequence[dict[int, Fraction]]) -> dict[int, Fraction]:
    """The mean over cells for each seed that all of them have."""
    seeds = [seed for seed in (parts[0] if parts else ()) if all(seed in part for part in parts)]
    return {seed: sum(part[seed] for part in parts) / len(parts) for seed in seeds}


def add_averages(cells: Cells) -> list[Task]:
    """Add the average over all data sets at a number of shots, by seed, to each row that has all; the new tasks.

    A source's targets and halves of a data set's classes do not count as data sets. A method's run on a source stands
    in the source's row, and counts for the row of the method's other runs.
    """
    targets = {target for found in targets_of(cells).values() for target in found}
    datasets: dict[int, dict[str, None]] = defaultdict(dict)
    for _, task in cells:
        if not (task.aggregate or task.dataset in targets or task.dataset.endswith(HALVES)):
            datasets[task.shots][task.dataset] = None
    added = {}
    for shots, found in datasets.items():
        task = Task(average_name(len(found)), shots, True)
        for row in dict.fromkeys(row for row, _ in cells) if len(found) > 1 else ():
            if by_seed := mean_by_seed([_run_on(cells, row, Task(dataset, shots)) for dataset in found]):
                cells[row, task] = by_seed
                added[task] = None
    return _by_shots(added)


def _by_shots(tasks: Iterable[Task]) -> list[Task]:
    return sorted(tasks, key=lambda task: (task.shots < 0, task.shots))


def _run_on(cells: Cells, row: Row, task: Task) -> dict[int, Fraction]:
    """The row's cell, or that of the same method's row for a source; empty where there is neither."""
    if (row, task) in cells or row.trained_on:
        return cells.get((row, task), {})
    return cells.get((row._replace(trained_on=task.dataset), task), {})


def add_means(cells: Cells) -> list[Task]:
    """Add to each row, shots and seed with all targets of a source (if it has several) their mean; the new tasks."""
    targets = {source: found for source, found in targets_of(cells).items() if len(found) > 1}
    added = {}
    for source, found in targets.items():
        for row, shots in dict.fromkeys((row, task.shots) for row, task in cells):
            if by_seed := mean_by_seed([cells.get((row, Task(target, shots)), {}) for target in found]):
                task = Task(MEAN if len(targets) == 1 else f"{MEAN} of {source}", shots, True)
                cells[row, task] = by_seed
                added[task] = None
    return _by_shots(added)


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
            harmonic = Task(f"{name}, {HARMONIC}", task.shots, True)
            cells[row, harmonic] = means
            added[harmonic] = None
    return list(added)


def source_first(tasks: Sequence[Task], targets: dict[str, list[str]]) -> list[Task]:
    """Tasks in their order, except that those on a source come before the first of its targets."""
    datasets = list(dict.fromkeys(task.dataset for task in tasks))
    order = [s for d in datasets for s in (*(s for s, found in targets.items() if d in found and s in datasets), d)]
    return sorted(tasks, key=lambda task: order.index(task.dataset))
