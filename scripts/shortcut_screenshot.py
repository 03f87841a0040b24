"""The page on which a planted shortcut is seen: python -m scripts.shortcut_screenshot RUN CLASS FILE.png

RUN is the folder of a run of experiments.shortcut (--folder keeps them), CLASS one of its classes. The picture has the
list of classes, what marks CLASS, and the first test picture that is wrongly taken for it, or of it.
"""

import io
from contextlib import redirect_stdout
from pathlib import Path

from benchmarks.console import flag, script
from ccli.cli import run as command
from ccli.errors import CcliError
from ccli.results.records import read_record
from scripts.screenshots import choose, picture
from tests.browser import CHROMIUM, WHY_NOT, Browser

WIDTH = 1200


@script
@flag("run", type=Path, metavar="RUN")
@flag("name", metavar="CLASS")
@flag("file", type=Path, metavar="FILE")
def main(args) -> int:
    if CHROMIUM is None:
        raise CcliError(WHY_NOT)
    label = [one["name"] for one in read_record(args.run)["per_class"]].index(args.name)
    page = args.scratch / "page.html"
    with redirect_stdout(io.StringIO()):
        status = command("report", "report.py", ["--concepts", str(args.run), "--to", str(page)])
    if status:
        return status
    with Browser() as browser:
        browser.open(page, f"#class-{label}", width=WIDTH)
        choose(browser, "example-which", "wrong")
        choose(browser, "example-class", str(label))
        opened = f"#class-{label} .opened"
        pieces = (("#classes h2", f"{opened} > .explanation .sum"), ("#example-list .why", "#example-list > li"))
        picture(browser, pieces, args.file)
    return 0
