"""The contribution of each part of a method: runs with other options, compared with the method's own."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from ccli.errors import CcliError
from ccli.results.drawing import clean, style
from ccli.results.methods import METHODS, OURS
from ccli.results.records import leaves
from ccli.results.tables import mean_std, points_above

ASIDE = ("SEED", "CFG_NAME")  # options that do not belong to a method


class AblationLine(NamedTuple):
    """One value of one option."""

    option: str  # such as "TRAINER.CCLI.TOP_K"; several are separated by ", "
    value: str
    mean: float  # percent
    std: float  # sample standard deviation over seeds; 0 for one
    seeds: int
    difference: float | None  # percentage points to the method, by seed; None for the method itself


def ablation(records: Iterable[dict[str, Any]], cfg: str) -> list[AblationLine]:
    """For each option, the method's own value and then the others.

    Args:
        records: of one trainer, data set and number of shots; those whose cfg is `cfg` are the method.
        cfg: the yaml's stem; other records are told apart by the options in which they differ from the method.

    Raises:
        CcliError: there is no record of the method, or records of several data sets, trainers or shots.
    """
    records = list(records)
    places = {(r["trainer"], r["dataset"], r["shots"]) for r in records}
    if len(places) > 1:
        raise CcliError(f"an ablation needs one trainer, data set and number of shots, got {len(places)}")
    method = {r["seed"]: r for r in records if r["cfg"] == cfg}
    if not method:
        raise CcliError(f"no run of the method itself (cfg {cfg}) among these records; run it without options")
    options = {seed: _options(r) for seed, r in method.items()}
    groups: dict[tuple[str, ...], dict[tuple[str, ...], dict[int, Fraction]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        if record["seed"] in method:
            own = _options(record)
            keys = [key for key in own if own[key] != options[record["seed"]].get(key)]
            keys = tuple(sorted(keys, key=lambda key: not key.startswith("TRAINER.")))  # the trainer's own first
            if keys:
                groups[keys][tuple(str(own[key]) for key in keys)][record["seed"]] = _share(record)
    base = {seed: _share(record) for seed, record in method.items()}
    default = options[min(options)]
    lines = []
    for keys, values in groups.items():
        lines.append(_line(keys, [str(default[key]) for key in keys], base, None))
        lines += [
            _line(keys, chosen, values[chosen], base) for chosen in sorted(values, key=lambda v: [*map(_by_number, v)])
        ]
    return lines


def _by_number(value: str) -> tuple[float, str]:
    """A sort key: numbers by size, before words."""
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value


def _share(record: dict[str, Any]) -> Fraction:
    return Fraction(record["correct"], record["total"])


def _options(record: dict[str, Any]) -> dict[str, Any]:
    """Without those of ASIDE."""
    return {key: value for key, value in leaves(record["config"]) if key not in ASIDE}


def _line(keys: Sequence[str], values: Sequence[str], found: dict[int, Fraction], base: dict | None) -> AblationLine:
    mean, std = mean_std(float(100 * value) for value in found.values())
    std = std if len(found) > 1 else 0.0
    difference = None if base is None else points_above(found, base)[0]
    return AblationLine(", ".join(keys), ", ".join(values), mean, std, len(found), difference)


def ablation_table(lines: Sequence[AblationLine]) -> str:
    """The lines as GitHub's markdown."""
    import tabulate

    rows, before = [], ""
    for line in lines:
        difference = "the method" if line.difference is None else f"{line.difference:+.2f}"
        option = "" if line.option == before else short(line.option)
        accuracy = f"{line.mean:.2f}" if line.seeds == 1 else f"{line.mean:.2f} ± {line.std:.2f}"
        rows.append([option, line.value, accuracy, difference, line.seeds])
        before = line.option
    heads = ["option", "value", "accuracy", "to the method", "seeds"]
    align = ("left", "left", "right", "right", "right")
    return tabulate.tabulate(rows, heads, tablefmt="github", disable_numparse=True, colalign=align)


def short(option: str) -> str:
    """Option names without the nodes that they are in."""
    return ", ".join(key.rpartition(".")[2] for key in option.split(", "))


def ablation_figure(lines: Sequence[AblationLine], title: str):
    """One row per value, grouped by option: means with error bars, and a line at the method. A matplotlib Figure."""
    with style():
        from matplotlib.figure import Figure

        found = Figure(figsize=(6.2, 1.1 + 0.24 * len(lines)), layout="constrained")
        axes, y, before = found.add_subplot(), 0.0, None
        places, labels = [], []
        for line in lines:
            y -= 1.0 if line.option == before else 1.7
            ours, before = line.difference is None, line.option
            look = METHODS[OURS if ours else "LinearProbe"]
            axes.errorbar(
                [line.mean], [y], xerr=[line.std], color=look.colour, marker=look.marker, markersize=5, capsize=2.5
            )
            places.append(y)
            labels.append(clean(f"{short(line.option)} {line.value}"))
        method = next(line.mean for line in lines if line.difference is None)
        axes.axvline(method, color=METHODS[OURS].colour, linestyle="--", linewidth=1)
        axes.set_yticks(places, labels, fontsize=8)
        axes.set_xlabel("Accuracy (%)")
        axes.set_title(clean(title), fontsize=11)
    return found
