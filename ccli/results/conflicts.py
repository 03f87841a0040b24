"""Records that one cell of a table cannot hold together: a mean is over runs that differ in nothing but the seed."""

from typing import Any

from ccli.errors import CcliError
from ccli.results.identity import differing_options
from ccli.results.records import is_evaluation, same_record

REMEDY = "give runs with other options a VARIANT of their own, or make one table for each"


class Conflict(CcliError):
    """Two records that do not go together, with these two, so that a caller can name their files."""

    def __init__(self, message: str, *records: dict[str, Any]) -> None:
        super().__init__(message)
        self.records = records


def refuse_two_of_a_seed(record: dict[str, Any], other: dict[str, Any]) -> None:
    """Raises Conflict where two records of one seed of one cell differ."""
    differing = [] if other is record else same_record(record, other)
    if is_evaluation(record) or is_evaluation(other):  # options of a test that change no prediction
        differing = [name for name in differing if name not in ("config", "run")]
    if differing:
        what = f"two different records for {_cell(record)}, seed {record['seed']}"
        raise Conflict(f"{what} (they differ in {', '.join(differing)}); make one table for each", other, record)


def refuse_another_test_set(record: dict[str, Any], other: dict[str, Any]) -> None:
    """Raises Conflict where two seeds of one cell were tested on other images or classes, as far as records tell."""
    names = [[share["name"] for share in r.get("per_class", ())] for r in (other, record)]
    labels = [r.get("labels") for r in (other, record)]
    if names[0] == names[1] and labels[0] == labels[1]:
        return
    if len(names[0]) != len(names[1]):
        what = f"{len(names[0])} and {len(names[1])} classes"
    elif names[0] != names[1]:
        what = "a class that is {!r} and {!r}".format(*next(pair for pair in zip(*names) if pair[0] != pair[1]))
    elif other["total"] != record["total"]:
        what = f"{other['total']} and {record['total']} images"
    else:
        what = "the same number of images, with other labels"
    remedy = "repeat one of them on the other's test set, or make one table for each"
    raise Conflict(f"{_seeds(record, other)} were tested on different images ({what}); {remedy}", other, record)


def refuse_other_options(record: dict[str, Any], other: dict[str, Any]) -> None:
    """Raises Conflict where two seeds of one cell were made with different options, as far as records tell."""
    configs = [r.get("config") for r in (other, record)]
    if not all(isinstance(config, dict) for config in configs):
        return
    differing = differing_options(*configs, across_seeds=True)
    if differing:
        option, before, now = differing[0]
        more = f", and {len(differing) - 1} more" if len(differing) > 1 else ""
        what = f"were made with different options ({option} {before} and {now}{more})"
        raise Conflict(f"{_seeds(record, other)} {what}; {REMEDY}", other, record)


def _cell(record: dict[str, Any]) -> str:
    return f"{record['dataset']}, {record['trainer']}, {record['cfg']}, {record['shots']} shots"


def _seeds(record: dict[str, Any], other: dict[str, Any]) -> str:
    return f"seeds {other['seed']} and {record['seed']} of {_cell(record)}"
