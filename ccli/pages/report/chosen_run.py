"""Per-class accuracy and confusion of every run, as the data that page.js draws the chosen one from."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccli.pages.report.sections import named
from ccli.results.tables import shots_name

MATRIX = 40  # classes; a larger matrix cannot be read, and the most frequent confusions are listed alone
PAIRS = 200  # of a run without a matrix
ALL_SEEDS = 200  # runs; above that, only the first seed of each cell
SIZE = 4_000_000  # characters of data; what comes after is left out


def chosen_run_data(found: Sequence[tuple[Path, dict[str, Any]]]) -> tuple[dict[str, Any], list[str]]:
    """What page.js reads, and what was left out of it, in words.

    Returns:
        (data, notes): data["classes"] are lists of class names; data["runs"] have label, dataset, folder, classes (an
        index), correct and total by class, pairs (flat: true, predicted, count ...), left (confusions not in pairs).
    """
    runs = [(path, name, record) for (path, _), (name, record) in zip(found, named([record for _, record in found]))]
    names = list(dict.fromkeys(name for _, name, _ in runs))
    runs.sort(key=lambda r: (r[2]["dataset"], names.index(r[1]), r[2]["shots"] < 0, r[2]["shots"], r[2]["seed"]))
    notes, kept = [], runs
    if len(runs) > ALL_SEEDS:
        first: dict[tuple, tuple] = {}
        for run in runs:
            first.setdefault((run[2]["dataset"], run[1], run[2]["shots"]), run)
        kept = list(first.values())
        notes.append(f"Of {len(runs)} runs, the first seed of each method, data set and number of shots can be chosen.")
    data, written = _within(kept)
    if written < len(kept):
        notes.append(f"The last {len(kept) - written} of them are left out to keep the page small.")
    if any(len(record["per_class"]) > MATRIX for _, _, record in kept):
        notes.append(f"Above {MATRIX} classes there is no matrix, but the {PAIRS} most frequent confusions.")
    return data, notes


def _within(runs: Sequence[tuple[Path, str, dict[str, Any]]]) -> tuple[dict[str, Any], int]:
    """The data of the first runs, up to SIZE characters, and how many runs that are."""
    classes: dict[tuple[str, ...], int] = {}
    written, size = [], 0
    for path, name, record in runs:
        names = tuple(share["name"] for share in record["per_class"])
        run = _run(path, name, record) | {"classes": classes.get(names, len(classes))}
        size += len(json.dumps(run)) + (0 if names in classes else len(json.dumps(names)))
        if size > SIZE and written:
            break
        classes.setdefault(names, len(classes))
        written.append(run)
    return {"matrix": MATRIX, "classes": list(classes), "runs": written}, len(written)


def _run(path: Path, name: str, record: dict[str, Any]) -> dict[str, Any]:
    counts = Counter(zip(record["labels"], record["predictions"]))
    wrong = sorted(((-n, pair) for pair, n in counts.items() if pair[0] != pair[1]))
    kept = wrong if len(record["per_class"]) <= MATRIX else wrong[:PAIRS]
    return {
        "label": f"{name}, {shots_name(record['shots'])}, seed {record['seed']}",
        "dataset": record["dataset"],
        "folder": str(path.parent),
        "correct": [share["correct"] for share in record["per_class"]],
        "total": [share["total"] for share in record["per_class"]],
        "pairs": [value for n, (true, predicted) in kept for value in (true, predicted, -n)],
        "left": len(wrong) - len(kept),
    }
