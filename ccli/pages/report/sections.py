"""What stands in the page beside tables and figures: time, chosen hyper-parameters, environment, as grids of text."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from ccli.results.aggregate import row_names, rows_of
from ccli.results.records import is_evaluation

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
    runs: dict[str, list[dict[str, float]]] = defaultdict(list)
    for name, record in named(records):
        if not is_evaluation(record):
            runs[name].append(record["seconds"])
    found = {phase for several in runs.values() for seconds in several for phase in seconds}
    phases = [*(p for p in PHASES if p in found), *sorted(found.difference(PHASES))]
    lines = []
    for name, several in runs.items():
        means = [sum(seconds.get(phase, 0) for seconds in several) / len(several) for phase in phases]
        lines.append([name, str(len(several)), *(f"{mean:.3f}" for mean in [*means, sum(means)])])
    return Grid("Mean seconds of a run", ["method", "runs", *phases, "sum"], lines, 1)


def hyper_parameters(records: Sequence[dict[str, Any]]) -> list[Grid]:
    """For each method, what each of its runs chose, and on what."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, record in named(records):
        if not is_evaluation(record):
            runs[name].append(record)
    grids = []
    for name, several in runs.items():
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
