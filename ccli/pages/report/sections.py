"""The page's tables: accuracies, paired tests, time, chosen hyper-parameters and environment, as texts."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from ccli.results.aggregate import HALVES, row_names, rows_of
from ccli.results.paired import PairedTest
from ccli.results.published import Published
from ccli.results.records import is_evaluation
from ccli.results.table_formats import PAIRED_HEADS, Style, few_seeds, mean_text, paired_texts
from ccli.results.tables import Cell, Gain, Table, build_table

HTML = Style(str)  # the template escapes
PHASES = ("encode", "fit", "select", "test")


class Grid(NamedTuple):
    """A plain table of texts; the first `labels` columns are words, the others numbers."""

    name: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    labels: int


def shots_text(shots: int) -> str:
    return "all" if shots < 0 else str(shots)


def value_text(value: Any) -> str:
    """A setting or version as a person writes it: 2.377 for 2.3770000000000002."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def named(records: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Each record with the name of its row, as the tables write it."""
    rows = rows_of(records)
    names = row_names(list(dict.fromkeys(rows)))
    return [(names[row], record) for row, record in zip(rows, records)]


def _trained(records: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The runs of each method, without evaluations of finished ones."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, record in named(records):
        if not is_evaluation(record):
            runs[name].append(record)
    return runs


def overview(records: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """What the page is about: (what, values)."""

    def listed(name: str, values: Sequence[Any]) -> tuple[str, str]:
        return name, ", ".join(map(str, dict.fromkeys(values)))

    shots = sorted({record["shots"] for record in records}, key=lambda n: (n < 0, n))
    return [
        listed("Methods", [name for name, _ in named(records)]),
        listed("Data sets", [record["dataset"] for record in records]),
        listed("Shots", map(shots_text, shots)),
        listed("Seeds", sorted(record["seed"] for record in records)),
        listed("Backbones", [record["backbone"] for record in records]),
    ]


def times(records: Sequence[dict[str, Any]]) -> Grid:
    """Mean seconds of each phase for each method; evaluations of finished runs have no fit and are left out."""
    runs = {name: [record["seconds"] for record in several] for name, several in _trained(records).items()}
    found = {phase for several in runs.values() for seconds in several for phase in seconds}
    phases = [*(p for p in PHASES if p in found), *sorted(found.difference(PHASES))]
    lines = []
    for name, several in runs.items():
        means = [sum(seconds.get(phase, 0) for seconds in several) / len(several) for phase in phases]
        lines.append([name, str(len(several)), *(f"{mean:.3f}" for mean in [*means, sum(means)])])
    return Grid("Mean seconds of a run", ["method", "runs", *phases, "sum"], lines, 1)


def hyper_parameters(records: Sequence[dict[str, Any]]) -> list[Grid]:
    """For each method, what each of its runs chose, and on what."""
    grids = []
    for name, several in _trained(records).items():
        keys = list(dict.fromkeys(key for record in several for key in record["hyper_parameters"]))
        several = sorted(several, key=lambda r: (r["dataset"], r["shots"] < 0, r["shots"], r["seed"]))
        lines = [
            [record["dataset"], record["selected_by"], shots_text(record["shots"]), str(record["seed"])]
            + [value_text(record["hyper_parameters"][k]) if k in record["hyper_parameters"] else "" for k in keys]
            for record in several
        ]
        grids.append(Grid(name, ["data set", "chosen on", "shots", "seed", *keys], lines, 2))
    return grids


def environment(records: Sequence[dict[str, Any]]) -> Grid:
    """The versions that runs were made with, and how many with each."""
    counts = Counter(json.dumps(record["versions"], sort_keys=True) for record in records)
    versions = [(json.loads(text), count) for text, count in sorted(counts.items(), key=lambda x: (-x[1], x[0]))]
    keys = list(dict.fromkeys(key for record in records for key in record["versions"]))
    lines = [[str(count), *(value_text(v[key]) if key in v else "" for key in keys)] for v, count in versions]
    return Grid("Versions", ["runs", *keys], lines, 0)


class CellText(NamedTuple):
    """What a cell shows: its text, in bold where it is the best, and a small line below."""

    text: str
    best: bool = False
    note: str = ""


class AccuracyTable(NamedTuple):
    """A table of accuracies; blocks are (label or "", lines), lines are (name, cells)."""

    name: str
    heads: Sequence[str]
    blocks: Sequence[tuple[str, Sequence[tuple[str, Sequence[CellText]]]]]


def accuracy_tables(
    records: Sequence[dict[str, Any]], against: str, published: Sequence[Published]
) -> tuple[list[AccuracyTable], list[str]]:
    """(tables, notes): by shots where there are several; by data set where that is not all there is to show."""
    elsewhere = any("trained_on" in record or record["dataset"].endswith(HALVES) for record in records)
    several = len({record["shots"] for record in records}) > 1
    wanted = {"shots": "By number of shots"} if several else {}
    if elsewhere or not several:  # the means over targets and over halves are only in this one
        wanted |= {None: "By data set"}
    tables = [(name, build_table(records, columns, against, published)) for columns, name in wanted.items()]
    notes = dict.fromkeys(note for _, table in tables for note in table.notes)
    return [_shown(name, table) for name, table in tables], list(notes)


def _shown(name: str, table: Table) -> AccuracyTable:
    averages_first = sorted(table.blocks, key=lambda block: not block[1][0].tasks[0].aggregate)
    blocks = []
    for labels, lines, gains in averages_first:
        shown = [(line.name, [_cell(cell, table.against) for cell in line.cells]) for line in lines + gains]
        blocks.append((", ".join(labels), shown))
    return AccuracyTable(name, ["method", *table.columns], blocks)


def _cell(cell: Cell | Gain | None, against: str) -> CellText:
    if cell is None:
        return CellText(HTML.missing)
    if isinstance(cell, Gain):
        return CellText(HTML.signed.format(cell.difference), note=", ".join([cell.other, *few_seeds(cell)]))
    difference = [f"{HTML.signed.format(cell.difference)} to {against}"] if cell.difference is not None else []
    return CellText(mean_text(cell, HTML), cell.best, ", ".join([*few_seeds(cell), *difference]))


def paired_grid(tests: Sequence[PairedTest]) -> Grid:
    """Differences between methods, and how sure they are."""
    return Grid("Paired tests", ["comparison", *PAIRED_HEADS], paired_texts(tests, HTML), 1)
