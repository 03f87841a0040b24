"""Tables from the records of finished runs, always from correct/total and never from a rounded line."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from ccli.errors import CcliError, nearest
from ccli.results import aggregate
from ccli.results.aggregate import PAPER, PUBLISHED, Cells, Row, Task, row_names, rows_of, source_of
from ccli.results.methods import OURS, method_order
from ccli.results.published import Published
from ccli.results.records import is_evaluation

FOOTNOTE = f"{PAPER} protocol paper: hyper-parameters chosen as the method's authors did, test set included."
PUBLISHED_NOTE = f"{PUBLISHED} published by a method's authors, with choices made on the test set; not run here."


class Cell(NamedTuple):
    """One row's runs on one task."""

    mean: float  # percent, over seeds
    std: float  # percentage points, sample deviation over seeds; nan for one
    seeds: int
    short: bool  # fewer seeds than the fullest cell of the table
    best: bool  # the highest mean of at least two rows, published ones aside; of equals all
    difference: float | None  # percentage points above the table's `against`, over the seeds that both have


class Gain(NamedTuple):
    """How far one of CCLI's rows is above the best row of another trainer on one task."""

    difference: float  # percentage points, mean over the seeds that both have
    seeds: int
    other: str  # the best other row's name
    short: bool  # over fewer seeds than the fullest cell of the table has


class Line(NamedTuple):
    """One row in one block of a table, or the gains of one of CCLI's rows."""

    labels: tuple[str, ...]  # the block's, such as ("16 shots",)
    name: str  # with its marks
    row: Row
    cells: tuple[Any, ...]  # Cell or Gain; None: no run
    tasks: tuple[Task, ...]  # what each cell is on


class Table(NamedTuple):
    """A table with exact numbers, for `ccli.results.table_formats` to write."""

    heads: tuple[str, ...]  # of the labels and the names, such as ("shots", "trainer")
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    gains: tuple[Line, ...]
    notes: tuple[str, ...]
    against: str  # the trainer that differences are to, or ""

    @property
    def blocks(self) -> list[tuple[tuple[str, ...], list[Line], list[Line]]]:
        """(labels, lines, gains) of each block, in order."""
        return [
            (labels, *([line for line in found if line.labels == labels] for found in (self.lines, self.gains)))
            for labels in dict.fromkeys(line.labels for line in self.lines)
        ]


def mean_std(values: Iterable[float | Fraction]) -> tuple[float, float]:
    """Mean and sample standard deviation (ddof = 1), in the values' unit; the deviation of one value is nan.

    Raises:
        CcliError: there are no values.
    """
    exact = [Fraction(value) for value in values]  # so that equal values deviate by 0, not by a rounding error
    if not exact:
        raise CcliError("no values to take a mean of; give at least one")
    mean = sum(exact) / len(exact)
    if len(exact) == 1:
        return float(mean), math.nan
    return float(mean), math.sqrt(sum((value - mean) ** 2 for value in exact) / (len(exact) - 1))


def _mean(by_seed: dict[int, Fraction]) -> Fraction:
    return sum(by_seed.values()) / len(by_seed)


def points_above(by_seed: dict[int, Fraction], other: dict[int, Fraction]) -> tuple[float, int] | None:
    """Percentage points above other, mean over the seeds that both have, and how many; None where there are none."""
    shared = by_seed.keys() & other.keys()
    if not shared:
        return None
    return float(100 * sum(by_seed[seed] - other[seed] for seed in shared) / len(shared)), len(shared)


def _best(cells: Cells) -> dict[Task, Fraction]:
    """The best mean of each task that at least two rows attempt; fractions, so that a tie is a tie exactly."""
    means = defaultdict(list)
    for (row, task), by_seed in cells.items():
        if row.protocol != PUBLISHED:
            means[task].append(_mean(by_seed))
    return {task: max(values) for task, values in means.items() if len(values) > 1}


def _reference(names: dict[Row, str], trainer: str) -> Row:
    rows = [row for row in names if row.trainer == trainer]
    if len(rows) != 1:
        have = ", ".join(dict.fromkeys(row.trainer for row in names))
        found = f"{len(rows)} rows" if rows else f"no row (there are {have})"
        raise CcliError(f"a difference to {trainer} needs one row of it, and this table has {found}")
    return rows[0]


def shots_name(shots: int) -> str:
    """Such as "16 shots"; "all shots" for the whole training set (-1)."""
    return "all shots" if shots < 0 else f"{shots} shot{'' if shots == 1 else 's'}"


Block = tuple[tuple[str, ...], tuple[Task, ...]]  # leading labels, each column's task


def _layout(tasks: Sequence[Task], columns: str | None) -> tuple[tuple[str, ...], tuple[str, ...], list[Block]]:
    """How tasks spread over a table: heads, columns, and blocks of rows."""
    # Data sets in order of appearance, which is the caller's; shots by number, with "all" (-1) at the end.
    datasets = list(dict.fromkeys(task._replace(shots=0) for task in tasks))
    names = tuple(task.dataset for task in datasets)
    shots = sorted({task.shots for task in tasks}, key=lambda n: (n < 0, n))
    if columns is None:
        present = [on for d in datasets for n in shots if (on := d._replace(shots=n)) in tasks]
        titles = tuple(f"{task.dataset}, {shots_name(task.shots)}" for task in present)
        return ("trainer",), titles, [((), tuple(present))]
    if columns == "dataset":
        blocks = [((shots_name(n),), tuple(d._replace(shots=n) for d in datasets)) for n in shots]
        return ("shots", "trainer"), names, blocks
    if columns == "shots":
        blocks = [((d.dataset,), tuple(d._replace(shots=n) for n in shots)) for d in datasets]
        return ("dataset", "trainer"), tuple(map(shots_name, shots)), blocks
    hint = nearest(columns, ["dataset", "shots"])
    raise CcliError(f"unknown columns {columns!r}; use 'dataset', 'shots' or None.{hint}")


def _lines(cells: Cells, names: dict[Row, str], blocks: Sequence[Block], reference: Row | None) -> list[Line]:
    best, most = _best(cells), max(map(len, cells.values()))

    def cell(row: Row, task: Task) -> Cell | None:
        by_seed = cells.get((row, task))
        if not by_seed:
            return None
        mean, std = mean_std(100 * accuracy for accuracy in by_seed.values())
        ours = row.protocol != PUBLISHED  # a published number has no seeds
        other = cells.get((reference, task), {}) if ours and row != reference else {}
        difference = points_above(by_seed, other)
        top = ours and _mean(by_seed) == best.get(task)
        return Cell(mean, std, len(by_seed), ours and len(by_seed) < most, top, difference[0] if difference else None)

    return _filled(blocks, names, cell)


def _filled(blocks: Sequence[Block], names: dict[Row, str], cell: Callable[[Row, Task], Any]) -> list[Line]:
    """A line for each block and row that has a cell there."""
    lines = []
    for labels, tasks in blocks:
        lines += [
            Line(labels, name, row, tuple(cell(row, task) for task in tasks), tasks) for row, name in names.items()
        ]
    return [line for line in lines if any(line.cells)]


def _gains(cells: Cells, names: dict[Row, str], blocks: Sequence[Block]) -> list[Line]:
    """CCLI's rows against the best row of another trainer: one backbone, one source, nothing chosen on the test set.

    A row without a seed of CCLI's is passed over; of equals, whichever comes first in the order of papers counts, so
    that the order of records does not.
    """
    most = max(map(len, cells.values()))
    fair = [row for row in names if row.protocol not in ("paper", PUBLISHED)]
    ours = [row for row in fair if row.trainer == OURS]
    if 2 * len(ours) > len(fair):  # a table that compares CCLI with itself
        return []

    def gain(row: Row, task: Task) -> Gain | None:
        others = [other for other in fair if other.trainer != OURS and other.backbone == row.backbone]
        seeds = cells.get((row, task), {}).keys()
        others = [o for o in others if seeds & cells.get((o, task), {}).keys()]
        others = [o for o in others if source_of(o, task) == source_of(row, task)]
        if not others:
            return None
        other = min(others, key=lambda o: (-_mean(cells[o, task]), *method_order(o.trainer), names[o]))
        difference, shared = points_above(cells[row, task], cells[other, task])
        return Gain(difference, shared, names[other], shared < most)

    return _filled(blocks, {row: f"{names[row]} to the best other" for row in ours}, gain)


def build_table(
    records: Iterable[dict[str, Any]], columns: str | None = None, against: str = "",
    published: Iterable[Published] = (),
) -> Table:  # fmt: skip
    """Means and sample standard deviations over seeds, from correct/total; sums are exact, so that ties are.

    A row is a trainer (with cfg, backbone or protocol in brackets where it occurs with several; a dagger and a
    footnote mark protocol paper). Where there are several data sets at a number of shots, their average by seed is a
    column (or a block) of its own, for rows that have all of them.

    Runs and the tests of the same runs on other data sets (records with `trained_on`) are in one row, in brackets
    with the source where rows have several; the source's column comes before its targets'. Where a source has several
    targets, the mean over them is the last column (columns None), of the seeds that were tested on all; where a row has
    the base and the new classes of a data set, their harmonic mean.

    For each row of CCLI there are gains over the best row of another trainer with the same backbone and a seed in
    common, rows of protocol paper and published ones aside on both sides; not where CCLI has more rows than the
    others, as in an ablation.

    Args:
        records: as `ccli.results.records.read_record` returns them; identical ones count once.
        columns: None: a column for each data set and number of shots present; "dataset": data sets, with a block of
            rows for each number of shots; "shots": numbers of shots, with a block of rows for each data set.
        against: a trainer; cells hold the difference to it.
        published: numbers to show in rows of their own, marked; they are never best.

    Raises:
        CcliError: no records, two different ones for one seed of a cell, seeds of a cell with different options or
            test images, unknown columns, or not exactly one row of `against`.
    """
    records = list(records)
    cells = aggregate.collect(records)
    if not cells:
        raise CcliError("no records to make a table of; finish a run first")
    names = row_names(list(dict.fromkeys(row for row, _ in cells)))
    reference = _reference(names, against) if against else None
    tasks = aggregate.source_first(list(dict.fromkeys(task for _, task in cells)), aggregate.targets_of(cells))
    names |= aggregate.add_published(cells, published)
    tasks += aggregate.add_averages(cells)
    if columns is None:
        tasks += [*aggregate.add_means(cells), *aggregate.add_harmonic_means(cells)]
    heads, titles, blocks = _layout(tasks, columns)
    notes = [FOOTNOTE] if any(row.protocol == "paper" for row in names) else []
    notes += [PUBLISHED_NOTE] if any(row.protocol == PUBLISHED for row in names) else []
    notes += _zero_alphas(records, names)
    lines, gains = _lines(cells, names, blocks, reference), _gains(cells, names, blocks)
    return Table(heads, titles, tuple(lines), tuple(gains), tuple(notes), against)


def _zero_alphas(records: Sequence[dict[str, Any]], names: dict[Row, str]) -> list[str]:
    """For CCLI's rows, which may choose no weight at all for what they add to zero-shot: in how many runs they did."""
    alphas = defaultdict(list)
    for row, record in zip(rows_of(records), records):
        chosen = record["hyper_parameters"].get("alpha")
        asked = record["trainer"] == OURS and record["selected_by"] not in ("default", "fixed")
        if asked and chosen is not None and not is_evaluation(record):
            alphas[names[row]].append(chosen)
    counts = [f"{name} in {sum(a == 0 for a in values)} of {len(values)} runs" for name, values in alphas.items()]
    return [f"alpha = 0 (zero-shot) was chosen by {', '.join(counts)}."] if counts else []
