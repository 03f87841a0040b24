"""The page's tables of accuracies and its table of paired tests."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ccli.pages.report.sections import Grid
from ccli.results.aggregate import HALVES
from ccli.results.paired import PairedTest
from ccli.results.published import Published
from ccli.results.table_formats import PAIRED_HEADS, Style, few_seeds, mean_text, paired_texts
from ccli.results.tables import Cell, Gain, Table, build_table

HTML = Style(str)  # the template escapes


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
