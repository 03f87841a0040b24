"""Published numbers, shown beside our own: a CSV with dataset, trainer, backbone, shots and accuracy (percent)."""

import csv
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from ccli.errors import CcliError, in_one_line

COLUMNS = ("dataset", "trainer", "backbone", "shots", "accuracy")


class Published(NamedTuple):
    """One published accuracy, a fraction of 1. Shots 0 (zero-shot) stand for every number of shots."""

    dataset: str
    trainer: str
    backbone: str
    shots: int
    accuracy: Fraction


def read_published(path: str | Path) -> list[Published]:
    """All rows of a file.

    Raises:
        CcliError: no such file, a column is missing, shots or accuracy is not a number, or two lines are of one cell.
    """
    unreadable = in_one_line((OSError, UnicodeDecodeError, csv.Error), f"cannot read {path}")
    with unreadable, open(path, encoding="utf-8-sig", newline="") as file:  # spreadsheets begin with a mark
        reader = csv.DictReader(file)
        if missing := set(COLUMNS) - set(reader.fieldnames or ()):
            raise CcliError(f"{path} has no column {min(missing)!r}; expected {', '.join(COLUMNS)}")
        return _one_per_cell(path, [(reader.line_num, _row(path, reader.line_num, line)) for line in reader])


def _one_per_cell(path: str | Path, found: list[tuple[int, Published]]) -> list[Published]:
    """The rows; refuses two of one cell. A method has either shots 0 or numbers of shots, each once."""
    lines: dict[tuple, dict[int, int]] = {}  # (data set, trainer, backbone) -> shots -> line
    for number, row in found:
        others = lines.setdefault(row[:3], {})
        clash = next((others[n] for n in others if row.shots == n or 0 in (row.shots, n)), None)
        if clash is not None:
            what = f"two accuracies of {row.trainer} ({row.backbone}) on {row.dataset} for one number of shots"
            raise CcliError(f"{path}, lines {clash} and {number}: {what} (0 stands for all); keep one")
        others[row.shots] = number
    return [row for _, row in found]


def _row(path: str | Path, number: int, line: dict[str, str]) -> Published:
    try:
        shots, accuracy = int(line["shots"]), Fraction(line["accuracy"]) / 100
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise CcliError(f"{path}, line {number}: shots and accuracy must be numbers") from error
    if shots < 0 or not 0 <= accuracy <= 1:
        got = f"got {shots} and {line['accuracy']}"
        raise CcliError(f"{path}, line {number}: shots must be >= 0 and accuracy 0 to 100 %, {got}")
    return Published(line["dataset"], line["trainer"], line["backbone"], shots, accuracy)
