"""Records for tests of tables, and tables read back."""

from ccli.results.table_formats import render
from ccli.results.tables import build_table


def make(correct, seed=1, trainer="CCLI", dataset="dtd", shots=16, total=100, **other):
    fields = {"cfg": "rn50", "backbone": "RN50", "protocol": "validation", "selected_by": "validation"} | other
    fields = {"hyper_parameters": {}} | fields
    # A wrong accuracy on purpose: a table must come from correct / total.
    return {
        "trainer": trainer,
        "dataset": dataset,
        "shots": shots,
        "seed": seed,
        "correct": correct,
        "total": total,
        "accuracy": -1.0,
        **fields,
    }


def results_table(records, columns=None, fmt="github", against="", published=()):
    return render(build_table(records, columns, against, published), fmt)


def split(table):
    """The lines of a github table, without its rule, as lists of stripped cells."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in [lines[0], *lines[2:]]]


def is_gain(line):
    return any(cell.endswith("to the best other") for cell in line)


def cells(table):
    """The head and the rows of trainers."""
    return [line for line in split(table) if not is_gain(line)]


def gains(table):
    """The rows with CCLI's difference to the best other trainer."""
    return [line for line in split(table) if is_gain(line)]


def shifted(source, targets, seed=1, trainer="CCLI", trained_on="dtd", **other):
    """A run on `trained_on` and its tests on targets a, b ..., in an order that is not the table's."""
    tests = [make(c, seed, trainer, name, trained_on=trained_on, run="f", **other) for name, c in zip("abcd", targets)]
    return [*tests, make(source, seed, trainer, trained_on, **other)]
