"""One self-contained page about finished runs: nothing in it is fetched, and the same records give the same bytes."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccli import __version__
from ccli.errors import CcliError
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
    try:
        import jinja2
    except ModuleNotFoundError:
        raise CcliError("the page needs jinja2, which is not installed; pip install jinja2") from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("page.html.jinja")
    return template.render(**_contents(found, plots, against, published), problems=problems)


def _contents(
    found: Sequence[tuple[Path, dict[str, Any]]], plots: Sequence[Plot], against: str, published: Sequence[Published]
) -> dict[str, Any]:
    """What the template's names stand for."""
    from markupsafe import Markup

    from ccli.pages.report import sections
    from ccli.pages.report.accuracy import accuracy_tables, paired_grid
    from ccli.pages.report.chosen_run import as_script_data, chosen_run_data
    from ccli.pages.report.svg import inline_svg
    from ccli.results.paired import paired_tests
    from ccli.results.table_formats import PAIRED_NOTE

    records = [record for _, record in found]
    tables, notes = accuracy_tables(records, against, published)
    tests = paired_tests(records)
    figures = [(plot.stem, {"svg": Markup(inline_svg(plot, _spoken(plot)))}) for plot in plots]
    data, run_notes = chosen_run_data(found)
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {
        "title": f"Report on {len(records)} run{'' if len(records) == 1 else 's'}", "version": __version__,
        "css": Markup((FOLDER / "page.css").read_text(encoding="utf-8")), "script": Markup(script),
        "script_hash": f"sha256-{digest}",
        "overview": sections.overview(records), "tables": tables, "notes": notes,
        "tests": [paired_grid(tests)] if tests else [], "tests_note": PAIRED_NOTE,
        "curves": [figure for stem, figure in figures if stem != "time"],
        "time_figures": [figure for stem, figure in figures if stem == "time"],
        "times": sections.times(records), "hyper_parameters": sections.hyper_parameters(records),
        "environment": sections.environment(records),
        "run_data": Markup(as_script_data(data)), "run_notes": run_notes,
    }  # fmt: skip


def _spoken(plot: Plot) -> str:
    """What a screen reader says in place of a figure."""
    if plot.stem == "time":
        return f"{plot.title}; the numbers are in the tables."
    return f"Accuracy against shots, {plot.title}; the numbers are in the table of accuracies."
