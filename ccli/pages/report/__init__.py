"""One self-contained page about finished runs: nothing in it is fetched, and the same records give the same bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccli.pages import render
from ccli.results.plots import Plot
from ccli.results.published import Published

FOLDER = Path(__file__).parent


def render_page(
    found: Sequence[tuple[Path, dict[str, Any]]], plots: Sequence[Plot], problems: Sequence[str] = (),
    against: str = "", published: Sequence[Published] = (),
) -> str:  # fmt: skip
    """The page as HTML; whatever is from the data is escaped.

    Args:
        found: (path, record), as `ccli.results.records.find_records` returns them, at most one per seed of a cell.
        plots: from `ccli.results.plots.plots` of the same records.
        problems: what could not be read, one line each.
        against: a trainer; cells show the difference to it.
        published: numbers to show in rows of their own, marked.

    Raises:
        CcliError: what `ccli.results.tables.build_table` raises, or jinja2 is not installed.
    """
    from ccli.pages.report import sections
    from ccli.pages.report.chosen_run import chosen_run_data
    from ccli.pages.report.svg import inline_svg
    from ccli.results.paired import paired_tests
    from ccli.results.table_formats import PAIRED_NOTE

    records = [record for _, record in found]
    tables, notes = sections.accuracy_tables(records, against, published)
    tests = paired_tests(records)
    data, run_notes = chosen_run_data(found)
    return render(
        FOLDER, data, (FOLDER / "page.css",), (FOLDER / "page.js",),
        title=f"Report on {len(records)} run{'' if len(records) == 1 else 's'}", problems=problems,
        warnings=sorted({text for record in records for text in record.get("warnings", ())}),
        overview=sections.overview(records), tables=tables, notes=notes,
        tests=[sections.paired_grid(tests)] if tests else [], tests_note=PAIRED_NOTE,
        curves=[inline_svg(plot, _spoken(plot)) for plot in plots if plot.stem != "time"],
        time_figures=[inline_svg(plot, _spoken(plot)) for plot in plots if plot.stem == "time"],
        times=sections.times(records), hyper_parameters=sections.hyper_parameters(records),
        environment=sections.environment(records), run_notes=run_notes,
    )  # fmt: skip


def _spoken(plot: Plot) -> str:
    """What a screen reader says in place of a figure."""
    if plot.stem == "time":
        return f"{plot.title}; the numbers are in the tables."
    return f"Accuracy against shots, {plot.title}; the numbers are in the table of accuracies."
