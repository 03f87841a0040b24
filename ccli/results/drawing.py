"""How figures of accuracies are drawn, with matplotlib.

A method has the same colour and marker in every figure. Colour-blind readers tell the colours apart together with the
markers, and the colours stand out on white and on black. Texts are data (names of data sets), so nothing in them is
read as mathematics.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ccli.errors import CcliError
from ccli.results.aggregate import Row, row_names
from ccli.results.methods import ZERO_SHOT, method_of, method_order
from ccli.results.tables import mean_std

# colour and marker of methods without their own
SPARE = (("#C43C39", ">"), ("#4C7A1E", "p"), ("#5F7285", "d"), ("#B8652A", "8"))
LINES = ("-", ":", "-.", (0, (1, 3)))  # of a trainer's settings and backbones; protocol paper is dashed
SHORTEST = 1e-3  # seconds; records are rounded to it
RC = {
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}

Series = dict[Row, dict[int, list[float]]]  # -> shots -> accuracy in percent of each seed


class Look(NamedTuple):
    """How a row is drawn."""

    colour: str
    marker: str
    line: Any
    face: str


def _order(row: Row) -> tuple:
    return *method_order(row.trainer), row


def _untied(row: Row) -> Row:
    """A row without its source: a run looks the same wherever it was tested."""
    return row._replace(trained_on="")


def looks_of(rows: Iterable[Row]) -> dict[Row, Look]:
    """How each row is drawn: colour and mark are the trainer's, the line tells its settings apart."""
    looks, ordered = {}, sorted({_untied(row) for row in rows}, key=_order)
    plain = list(dict.fromkeys(row.trainer for row in ordered if not method_of(row.trainer).colour))
    for row in ordered:
        method = method_of(row.trainer)
        spare = SPARE[plain.index(row.trainer) % len(SPARE)] if row.trainer in plain else ()
        colour, marker = spare or (method.colour, method.marker)
        settings = [other for other in ordered if other.trainer == row.trainer and other.protocol != "paper"]
        paper = row.protocol == "paper"
        line = "--" if paper else LINES[settings.index(row) % len(LINES)]
        looks[row] = Look(colour, marker, line, "none" if paper else colour)
    return looks


def _new_axes(rows: Sequence[Row]):
    """An empty figure with room for a legend below, and its axes."""
    from matplotlib.figure import Figure

    found = Figure(figsize=(5.2, 3.7 + 0.22 * math.ceil(len(rows) / 2)), layout="constrained")
    return found, found.add_subplot()


def _finish(found, axes, x_label: str, title: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel("Accuracy (%)")
    axes.set_title(clean(title), fontsize=11)
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    found.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)


def clean(text: str, longest: int = 44) -> str:
    """A name on one line, without the characters that no font and no XML file has, shortened to `longest`."""
    text = re.sub(r"[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
    text = " ".join(text.split()) or "(no name)"
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return f" {text}" if text.startswith("_") else text  # matplotlib takes such labels for hidden ones


def curves(series: Series, title: str, looks: dict[Row, Look]):
    """Accuracy against shots: means over seeds, error bars of one sample standard deviation.

    Methods that take no shots are a star at 0 and a dashed line, as in the papers.

    Args:
        series: row -> shots -> accuracy of each seed, in percent.
        looks: how rows are drawn.

    Returns:
        a matplotlib Figure.
    """
    with style():
        names, rows = row_names(list(series)), sorted(series, key=_order)
        places = _places({shots for row in rows if row.trainer != ZERO_SHOT for shots in series[row]})
        found, axes = _new_axes(rows)
        curved = [row for row in rows if row.trainer != ZERO_SHOT]
        for row in rows:
            look, label = looks[_untied(row)], clean(names[row])
            if row.trainer == ZERO_SHOT:
                _draw_zero_shot(axes, [value for values in series[row].values() for value in values], look, label)
                continue
            shift = 0.05 * (curved.index(row) - (len(curved) - 1) / 2) * min(1, 6 / len(curved))
            shots = sorted(series[row], key=places.get)
            points = [mean_std(series[row][n]) for n in shots]
            axes.errorbar(
                [places[n] + (shift if n else 0) for n in shots], [mean for mean, _ in points],
                [std for _, std in points], color=look.colour, marker=look.marker, linestyle=look.line,
                markerfacecolor=look.face, markersize=5, linewidth=1.6, capsize=2.5, elinewidth=1, label=label,
            )  # fmt: skip
        if any(row.trainer == ZERO_SHOT for row in rows):
            places = {0: 0} | places
        axes.set_xticks(list(places.values()), ["all" if n < 0 else str(n) for n in places])
        _finish(found, axes, "Labelled training images per class", title)
    return found


def _places(shots: Iterable[int]) -> dict[int, float]:
    """Where each number of shots stands: 0 at 0, doubled one step further on, all (-1) last; in this order."""
    counted = sorted(n for n in set(shots) if n >= 0)
    places = {n: 1 + math.log2(n) if n else 0.0 for n in counted}
    return places | ({-1: max(places.values(), default=0.0) + 1} if -1 in set(shots) else {})


def _draw_zero_shot(axes, values: Sequence[float], look: Look, label: str) -> None:
    mean, _ = mean_std(values)
    axes.axhline(mean, color=look.colour, linestyle="--", linewidth=1, zorder=1)
    axes.plot([0], [mean], look.marker, color=look.colour, markerfacecolor=look.face, markersize=10, label=label)


def against_time(series: Series, seconds: dict[tuple[Row, int], float], looks: dict[Row, Look]):
    """Accuracy (mean over seeds) against the seconds that fitting and selecting took; a line runs along the shots.

    Marks grow with the shots. What took less than a millisecond stands at one.

    Args:
        series, looks: as for `curves`.
        seconds: (row, shots) -> mean seconds; what is not in it is left out.

    Returns:
        a matplotlib Figure.
    """
    with style():
        from matplotlib import ticker

        rows = sorted((row for row in series if any((row, n) in seconds for n in series[row])), key=_order)
        names, places = row_names(rows), _places({n for row in rows for n in series[row]})
        found, axes = _new_axes(rows)
        for row in rows:
            look, shots = looks[_untied(row)], [n for n in places if (row, n) in seconds]
            x = [max(seconds[row, n], SHORTEST) for n in shots]
            y = [mean_std(series[row][n])[0] for n in shots]
            axes.plot(x, y, color=look.colour, linestyle=look.line, linewidth=1.2, alpha=0.6)
            area = [14 + 12 * places[n] for n in shots]
            edge = {"facecolors": look.face, "edgecolors": look.colour}
            axes.scatter(x, y, area, marker=look.marker, label=clean(names[row]), zorder=3, **edge)
        axes.set_xscale("log")
        shown = [max(value, SHORTEST) for value in seconds.values()]
        low, high = min(shown) / 1.6, max(shown) * 1.6  # more than from one tick to the next, so that one is there
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1,) if high / low > 100 else (1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        _finish(found, axes, "Seconds to fit and to select (log scale)", "Accuracy and time")
    return found


def style():
    """A context in which figures have this project's style, whatever the user's is."""
    try:
        import matplotlib.style
    except ModuleNotFoundError as error:
        raise CcliError(f"figures need matplotlib ({error.name} is missing); pip install matplotlib") from None
    return matplotlib.style.context(["default", RC])
