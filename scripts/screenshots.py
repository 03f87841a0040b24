"""The README's screenshots of report.py's two pages: python -m scripts.screenshots OUTPUT RUN FOLDER

OUTPUT is a folder of runs, RUN that of one run of CCLI on concept_shapes. Writes FOLDER/report.png and
FOLDER/concepts.png: the pages in Chromium with some of their filters set, cut to the sections named below, in 256
colours to be small.
"""

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from PIL import Image

from benchmarks.console import flag, script
from ccli.cli import run
from ccli.errors import CcliError
from ccli.files.atomic import moved_into_place
from tests.browser import CHROMIUM, WHY_NOT, Browser

MARGIN = 12  # pixels around a section
WIDTHS = 900, 1200
ACCURACY = "#tables", "#curves figure"
# One row of the gallery, one class, and right answers of that class.
FILTERS = {"concept-search": "star", "class-search": "striped star", "example-which": "right", "example-class": "0"}
CONCEPTS = "#concepts", "#example-list > li"


def choose(browser: Browser, element: str, value: str) -> None:
    field = f"document.getElementById({json.dumps(element)})"
    browser.evaluate(f"(e => {{ e.value = {json.dumps(value)}; e.dispatchEvent(new Event('input')) }})({field})")


def picture(browser: Browser, pieces: Sequence[tuple[str, str]], target: Path) -> None:
    """Pieces of the page below each other, each from the top of one element to the bottom of another."""
    with moved_into_place(target) as scratch:
        whole = Image.open(browser.screenshot(scratch)).convert("RGB")
        edges = [(_edge(browser, first, "top"), _edge(browser, last, "bottom")) for first, last in pieces]
        cuts = [whole.crop((0, top - MARGIN, whole.width, bottom + MARGIN)) for top, bottom in edges]
        stacked = Image.new("RGB", (whole.width, sum(cut.height for cut in cuts)))
        for k, cut in enumerate(cuts):
            stacked.paste(cut, (0, sum(above.height for above in cuts[:k])))
        stacked.quantize(256, dither=Image.Dither.NONE).save(scratch, "PNG", optimize=True)
    print(f"{target}: {stacked.width} x {stacked.height}, {target.stat().st_size // 1000} kB")


def _edge(browser: Browser, element: str, side: str) -> int:
    return int(
        browser.evaluate(f"document.querySelector({json.dumps(element)}).getBoundingClientRect().{side} + scrollY")
    )


@script
@flag("output", type=Path, metavar="OUTPUT", help="folder of runs")
@flag("run", type=Path, metavar="RUN", help="folder of a run of CCLI")
@flag("folder", type=Path, metavar="FOLDER", help="to write into")
def main(args) -> int:
    if CHROMIUM is None:
        raise CcliError(WHY_NOT)
    pages = args.scratch / "report.html", args.scratch / "concepts.html"
    for page, words in zip(pages, ([args.output], ["--concepts", args.run])):
        with redirect_stdout(io.StringIO()):
            status = run("report", "report.py", [*map(str, words), "--to", str(page)])
        if status:
            return status
    with Browser() as browser:
        browser.open(pages[0], width=WIDTHS[0])
        picture(browser, [ACCURACY], args.folder / "report.png")
        browser.open(pages[1], width=WIDTHS[1])
        for element, value in FILTERS.items():
            choose(browser, element, value)
        picture(browser, [CONCEPTS], args.folder / "concepts.png")
    return 0
