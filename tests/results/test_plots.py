"""Figures: the points drawn are the means, and nothing in a name does harm."""

import math
import re
import sys

import pytest
from table_records import make

from ccli.errors import CcliError
from ccli.pages.report.svg import inline_svg
from ccli.results.drawing import SPARE, clean
from ccli.results.methods import METHODS
from ccli.results.plots import plots, save
from ccli.results.tables import build_table


def timed(*args, fit=0.0, select=0.0, **fields):
    return make(*args, **fields) | {"seconds": {"encode": 9.0, "fit": fit, "select": select, "test": 9.0}}


def axes_of(found, stem):
    return next(plot for plot in found if plot.stem == stem).figure.axes[0]


def drawn(axes):
    """label -> (x, y, length of the error bar above each point) of the curves with error bars."""
    curves = {}
    for container in axes.containers:
        line, _, (bars,) = container
        heights = [(s[1][1] - s[0][1]) / 2 if len(s) else None for s in bars.get_segments()]
        curves[container.get_label()] = (list(line.get_xdata()), list(line.get_ydata()), heights)
    return curves


def ticks(axes):
    return dict(zip(axes.get_xticks(), (label.get_text() for label in axes.get_xticklabels()), strict=True))


def test_curves_are_means_and_error_bars_are_sample_deviations():
    # 1 shot: 50 and 54, mean 52, deviation sqrt(4 + 4) = 2.83; 4 shots: 60, 62 and 64, mean 62, deviation 2
    records = [timed(c, seed, shots=1) for seed, c in enumerate([50, 54], 1)]
    records += [timed(c, seed, shots=4) for seed, c in enumerate([60, 62, 64], 1)]
    records += [timed(70, shots=-1)]
    axes = axes_of(plots(records), "curves_dtd")
    x, y, bars = drawn(axes)["CCLI"]
    assert y == [52, 62, 70]
    assert bars[:2] == pytest.approx([math.sqrt(8), 2]) and bars[2] is None, "one seed has no deviation"
    assert ticks(axes) == {1: "1", 3: "4", 4: "all"}, "doubled shots are one step apart, and all come last"
    assert x == [1, 3, 4], "a single curve stands on its ticks"
    assert axes.get_ylabel() == "Accuracy (%)"


def test_zero_shot_is_a_star_at_no_shots_and_a_level():
    records = [timed(40, shots=shots, trainer="ZeroshotCLIP") for shots in (1, 2)] + [timed(50, shots=2)]
    axes = axes_of(plots(records), "curves_dtd")
    star = next(line for line in axes.lines if line.get_label() == "ZeroshotCLIP")
    assert (list(star.get_xdata()), list(star.get_ydata()), star.get_marker()) == ([0], [40], "*")
    level = next(line for line in axes.lines if list(line.get_xdata()) == [0, 1] and line.get_linestyle() == "--")
    assert list(level.get_ydata()) == [40, 40]
    assert ticks(axes) == {0: "0", 2: "2"}


def test_the_average_is_over_rows_that_have_all_data_sets_and_agrees_with_the_table():
    records = [timed(60, 1), timed(70, 2), timed(80, 1, dataset="eurosat"), timed(84, 2, dataset="eurosat")]
    records += [timed(60, trainer="GDA"), timed(50, 3, dataset="eurosat")]  # one data set; a seed of one data set
    records += [timed(10, dataset="dtd (base)"), timed(20, dataset="other", trained_on="dtd", run="x")]  # not counted
    found = plots(records)
    curve = drawn(axes_of(found, "curves_average"))
    # by seed: (60 + 80) / 2 = 70 and (70 + 84) / 2 = 77: mean 73.5, deviation sqrt(2 * 3.5 ** 2) = 4.95
    assert curve["CCLI"][1] == [73.5] and curve["CCLI"][2] == pytest.approx([math.sqrt(24.5)]) and len(curve) == 1
    table = build_table([record for record in records if "trained_on" not in record], "shots")
    (line,) = [line for line in table.lines if line.tasks[0].aggregate]
    assert (line.name, line.cells[0].mean) == ("CCLI", 73.5)
    assert [plot.stem for plot in found] == [
        "curves_average",
        "curves_dtd",
        "curves_eurosat",
        "curves_dtd_base",
        "curves_other",
        "time",
    ]


def test_no_average_of_a_single_data_set():
    assert [plot.stem for plot in plots([timed(60)])] == ["curves_dtd", "time"]


def test_time_is_fitting_and_selecting():
    records = [timed(60, 1, fit=1.0, select=2.0), timed(70, 2, fit=3.0, select=4.0), timed(50, trainer="ZeroshotCLIP")]
    axes = axes_of(plots(records), "time")
    points = {group.get_label(): group.get_offsets().tolist() for group in axes.collections}
    assert points == {"CCLI": [[5, 65]], "ZeroshotCLIP": [[0.001, 50]]}
    low, high = axes.get_xlim()
    assert any(low < tick < high for tick in axes.get_xticks())


def test_protocol_paper_is_dashed_and_open_and_a_method_looks_the_same_everywhere():
    records = [
        timed(60),
        timed(65, protocol="paper", selected_by="test"),
        timed(50, dataset="eurosat"),
        timed(55, trainer="GDA"),
    ]
    found = plots(records)
    lines = {c.get_label(): c.lines[0] for c in axes_of(found, "curves_dtd").containers}
    assert (lines["CCLI"].get_linestyle(), lines["CCLI †"].get_linestyle()) == ("-", "--")
    assert lines["CCLI †"].get_markerfacecolor() == "none"
    elsewhere = {c.get_label(): c.lines[0] for c in axes_of(found, "curves_eurosat").containers}
    same = ("get_color", "get_marker", "get_linestyle")
    assert [getattr(elsewhere["CCLI"], name)() for name in same] == [getattr(lines["CCLI"], name)() for name in same]
    assert lines["CCLI"].get_color() == METHODS["CCLI"].colour != lines["GDA"].get_color()


def test_settings_of_a_trainer_are_told_apart_and_unknown_trainers_have_looks():
    records = [timed(60), timed(61, cfg="plain"), *(timed(50, trainer=f"New{k}") for k in range(6))]
    lines = {c.get_label(): c.lines[0] for c in axes_of(plots(records), "curves_dtd").containers}
    assert lines["CCLI (rn50)"].get_linestyle() != lines["CCLI (plain)"].get_linestyle()
    assert lines["New0"].get_color() != lines["New1"].get_color()


def luminance(colour):
    """Relative luminance (WCAG 2.1) of "#rrggbb"."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


LOOKS = [*((method.colour, method.marker) for method in METHODS.values()), *SPARE]


@pytest.mark.parametrize("colour", [colour for colour, _ in LOOKS])
def test_colours_stand_out_on_white_and_on_the_dark_page(colour):
    dark = luminance("#14171c")
    assert 1.05 / (luminance(colour) + 0.05) >= 3 and (luminance(colour) + 0.05) / (dark + 0.05) >= 3


def test_marks_and_colours_are_all_different():
    assert len({colour for colour, _ in LOOKS}) == len({marker for _, marker in LOOKS}) == len(LOOKS)


def test_names_are_drawn_as_they_are(tmp_path):
    names = [r"$\nomath$", "_hidden", "a\x00\ud800b", "<script>", "x" * 80, "two\nlines", ""]
    records = [timed(50 + k, dataset=name, trainer=name) for k, name in enumerate(names)]
    found = plots(records)
    paths = save(found, tmp_path)
    assert all(path.stat().st_size > 1000 for path in paths)
    titles = [plot.figure.axes[0].get_title() for plot in found]
    assert titles[0] == r"$\nomath$" and titles[4] == "x" * 43 + "…" and titles[5:7] == ["two lines", "(no name)"]
    svg = inline_svg(found[3], 'a "label" & more')
    assert "&lt;script&gt;" in svg and "<script" not in svg
    assert clean("_x") == " _x", "matplotlib leaves labels with _ out of the legend"


def test_files_stay_in_their_folder(tmp_path):
    records = [timed(50, dataset=name) for name in ("../../etc", "/etc", "ETC", "average", "..")]
    paths = save(plots(records), tmp_path / "deep" / "figures")
    assert {path.parent for path in paths} == {tmp_path / "deep" / "figures"}
    stems = [
        "curves_average",
        "curves_etc",
        "curves_etc_2",
        "curves_ETC_3",
        "curves_average_2",
        "curves_unnamed",
        "time",
    ]
    assert [path.name for path in paths] == [f"{stem}.{suffix}" for stem in stems for suffix in ("pdf", "png")]
    assert {path.name for path in (tmp_path / "deep" / "figures").iterdir()} == {path.name for path in paths}
    pdf, png = paths[0].read_bytes(), paths[1].read_bytes()
    assert pdf.startswith(b"%PDF") and png.startswith(b"\x89PNG")
    assert b"CreationDate" not in pdf


def test_svg_is_the_same_each_time_and_shares_no_id_with_another():
    records = [timed(60), timed(70, dataset="eurosat"), timed(60, trainer="GDA")]
    found = plots(records)
    first, second = inline_svg(found[1], "one"), inline_svg(found[2], "two")
    assert first == inline_svg(plots(records)[1], "one")
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0] and not ids[0] & ids[1]
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', first))
    assert used and used <= ids[0], "clips and marks are found"
    assert "#000000" not in first and "currentColor" in first and 'role="img"' in first and 'aria-label="one"' in first


def test_errors_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(CcliError, match="no records to draw"):
        plots([])
    (tmp_path / "file").touch()
    with pytest.raises(CcliError, match=r"cannot write figures to .*file"):
        save(plots([timed(60)]), tmp_path / "file")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CcliError, match=r"figures need matplotlib .*pip install matplotlib"):
        plots([timed(60)])
