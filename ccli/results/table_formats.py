"""Tables as text for reading (github, simple, latex) and as data (csv, json)."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ccli.errors import CcliError, check_choice
from ccli.results.aggregate import PAPER, PUBLISHED
from ccli.results.paired import PairedTest
from ccli.results.tables import Cell, Gain, Line, Table

FORMATS = ("github", "simple", "latex", "csv", "json")
PAIRED_NOTE = (
    "p: Wilcoxon's signed-rank test over pairs of one data set, shots and seed; pairs on one data set share its test "
    "images. Better, worse: pairs in which McNemar's test over images says so at 5 % after Holm's correction. "
    "p is not corrected for the number of rows."
)
UNPAIRED_NOTE = (
    "No paired tests: they need CCLI and another trainer with the same backbone, data set, number of shots and seed."
)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _github(text: str) -> str:
    """A bar would end the cell, and so would a backslash that takes the bar's own away."""
    return _one_line(text).replace("\\", "\\\\").replace("|", "\\|")


LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}"},
    **{PAPER: r"$\dagger$", PUBLISHED: r"$\ddagger$", "±": r"$\pm$"},
}


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in _one_line(text))


class Style(NamedTuple):
    """How texts of a table are written; without arguments but `escape` as in plain text."""

    escape: Callable[[str], str]
    bold: str = "{}"
    plus_minus: str = "±"
    signed: str = "{:+.2f}"
    missing: str = "-"


STYLES = {
    "github": Style(_github, "**{}**"),
    "simple": Style(_one_line),
    "latex": Style(_latex, r"\textbf{{{}}}", r"$\pm$", "${:+.2f}$", "--"),
}


def render(table: Table, fmt: str = "github", paired: Sequence[PairedTest] | None = None) -> str:
    """A table in one of FORMATS, without a line break at its end.

    github, simple and latex show "mean ± deviation" in percent, with two decimals, the number of seeds where a cell
    has fewer than the fullest one, the best in bold (not in simple), and notes below. latex is a tabular with
    booktabs' rules, to be put in a table environment. csv has a line for each row and column with all numbers in full;
    names that a spreadsheet would take for formulas are preceded by an apostrophe. json has the same, and the notes.

    Args:
        table: from `ccli.results.tables.build_table`.
        fmt: one of FORMATS.
        paired: from `ccli.results.paired.paired_tests`, shown below; None: not asked for. csv has no place for them.

    Raises:
        CcliError: an unknown format, or csv with paired tests.
    """
    check_choice("format", fmt, FORMATS)
    if fmt == "csv":
        if paired is not None:
            raise CcliError("paired tests have no place in the csv of a table; use json, or leave the tests out")
        return _csv(facts(table))
    if fmt == "json":
        return _json(table, paired)
    style = STYLES[fmt]
    heads, blocks = _texts(table, style)
    parts = [_draw(fmt, heads, blocks, len(table.heads)), *map(style.escape, table.notes)]
    if paired:
        heads = ["paired tests", *PAIRED_HEADS]
        parts += [_draw(fmt, heads, [paired_texts(paired, style)], 1), style.escape(PAIRED_NOTE)]
    elif paired is not None:
        parts.append(style.escape(UNPAIRED_NOTE))
    return "\n\n".join(parts)


def _cell_text(cell: Cell | Gain | None, style: Style) -> str:
    """Such as "81.23 ± 0.50 (2 seeds)", of a gain "+1.25 (TipAdapterF)" or "+1.25 (TipAdapterF, 2 seeds)"."""
    if cell is None:
        return style.missing
    if isinstance(cell, Gain):
        return with_notes(style.signed.format(cell.difference), [style.escape(cell.other), *few_seeds(cell)])
    text = mean_text(cell, style)
    return with_notes(style.bold.format(text) if cell.best else text, few_seeds(cell))


def mean_text(cell: Cell, style: Style) -> str:
    """Such as "81.23 ± 0.50", or "81.23" for one seed."""
    return f"{cell.mean:.2f}" if cell.seeds == 1 else f"{cell.mean:.2f} {style.plus_minus} {cell.std:.2f}"


def few_seeds(found: Cell | Gain) -> list[str]:
    """The number of seeds, where it is smaller than elsewhere in the table."""
    return [f"{found.seeds} seed{'' if found.seeds == 1 else 's'}"] if found.short else []


def with_notes(text: str, notes: Sequence[str]) -> str:
    return f"{text} ({', '.join(notes)})" if notes else text


def _line_texts(line: Line, table: Table, style: Style) -> list[str]:
    texts = [*map(style.escape, (*line.labels, line.name))]
    own = line.row.trainer == table.against and line.row.protocol != PUBLISHED
    empty = own or any(isinstance(cell, Gain) for cell in line.cells)
    for cell in line.cells:
        texts.append(_cell_text(cell, style))
        if table.against:
            known = cell is not None and cell.difference is not None
            texts.append("" if empty else style.signed.format(cell.difference) if known else style.missing)
    return texts


Blocks = list[list[list[str]]]  # blocks of rows of texts


def _texts(table: Table, style: Style) -> tuple[list[str], Blocks]:
    """Heads and blocks; a block of rows is followed by one of its gains, if it has any."""
    difference = [style.escape(f"to {table.against}")] if table.against else []
    heads = [style.escape(head) for head in table.heads]
    heads += [text for title in table.columns for text in (style.escape(title), *difference)]
    blocks = []
    for _, lines, gains in table.blocks:
        blocks += [[_line_texts(line, table, style) for line in some] for some in (lines, gains) if some]
    return heads, blocks


PAIRED_HEADS = ("pairs", "difference", "p", "better, worse")


def paired_texts(tests: Sequence[PairedTest], style: Style) -> list[list[str]]:
    """A row for each comparison: its name, and a text for each of PAIRED_HEADS."""
    rows = []
    for test in tests:
        on = f" on targets of {test.trained_on}" if test.trained_on else ""
        pairs = with_notes(str(test.pairs), [f"{test.equal} equal"] if test.equal else [])
        p = style.missing if test.p is None else f"{test.p:.2g}"
        images = f"{test.better}, {test.worse} of {len(test.images)}" if test.images else style.missing
        name = style.escape(f"{test.name} against {test.other}{on}")
        rows.append([name, pairs, style.signed.format(test.difference), p, images])
    return rows


def _draw(fmt: str, heads: list[str], blocks: Blocks, names: int) -> str:
    """A grid of texts whose first `names` columns are names, and the others numbers."""
    if fmt == "latex":
        return _booktabs(heads, blocks, names)
    import tabulate

    aligned = ["left"] * names + ["right"] * (len(heads) - names)
    rows = [row for block in blocks for row in block]
    return tabulate.tabulate(rows, heads, tablefmt=fmt, colalign=aligned, disable_numparse=True)


def _booktabs(heads: list[str], blocks: Blocks, names: int) -> str:
    """https://ctan.org/pkg/booktabs"""

    def row(texts: Sequence[str]) -> str:
        # A bracket after \\ would be read as its argument.
        return " & ".join("{}" + text if text.startswith("[") else text for text in texts) + r" \\"

    lines = [r"% needs \usepackage{booktabs}", rf"\begin{{tabular}}{{{'l' * names}{'r' * (len(heads) - names)}}}"]
    lines += [r"\toprule", row(heads)]
    for block in blocks:
        lines += [r"\midrule", *map(row, block)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


FACTS = (
    *("name", "trainer", "cfg", "backbone", "protocol", "trained_on", "dataset", "shots", "aggregate"),
    *("mean", "std", "seeds", "short", "best", "difference", "gain", "gain_over", "gain_seeds"),
)


def facts(table: Table) -> list[dict[str, Any]]:
    """A dict with the keys FACTS for each cell that has runs; percent and points in full, None where there is nothing.

    `aggregate` says that `dataset` names a mean over several; `protocol` is "published" for published numbers;
    `difference` is to the table's `against`; `gain` to the best other row, named in `gain_over`, is over `gain_seeds`.
    """
    gains = {(line.labels, line.row): line.cells for line in table.gains}
    found = []
    for line in table.lines:
        own = gains.get((line.labels, line.row), [None] * len(line.cells))
        protocol = "published" if line.row.protocol == PUBLISHED else line.row.protocol
        row = (line.name, *line.row._replace(protocol=protocol))
        for task, cell, gain in zip(line.tasks, line.cells, own):
            if cell is not None:
                std = None if math.isnan(cell.std) else cell.std
                numbers = (cell.mean, std, cell.seeds, cell.short, cell.best, cell.difference)
                gained = (gain.difference, gain.other, gain.seeds) if gain else (None, None, None)
                found.append(dict(zip(FACTS, (*row, *task, *numbers, *gained), strict=True)))
    return found


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, FACTS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _no_formula(value) for name, value in row.items()} for row in rows)
    return file.getvalue().removesuffix("\n")


def _no_formula(value: Any) -> Any:
    """As OWASP advises (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(tuple("=+-@\t\r\n")) else value


def _json(table: Table, paired: Sequence[PairedTest] | None) -> str:
    data: dict[str, Any] = {"against": table.against or None, "cells": facts(table), "notes": list(table.notes)}
    if paired is not None:
        counts = [{"better": test.better, "worse": test.worse} for test in paired]
        images = [{"images": [image._asdict() for image in test.images]} for test in paired]
        data["paired"] = [test._asdict() | count | image for test, count, image in zip(paired, counts, images)]
    return json.dumps(data, indent=1, allow_nan=False)
