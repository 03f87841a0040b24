"""The page on which a planted shortcut is seen: python -m scripts.shortcut_screenshot RUN CLASS FILE.png

RUN is the folder of a run of experiments.shortcut (--folder keeps them), CLASS one of its classes. The picture has the
list of classes, what marks CLASS, and the first test picture that is wrongly taken for it, or of it.
"""

import io
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from benchmarks.console import parser
from ccli.cli import run as command
from ccli.results.records import read_record
from scripts.screenshots import choose, picture
from tests.browser import CHROMIUM, WHY_NOT, Browser

WIDTH = 1200


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("run", type=Path, metavar="RUN")
    flags.add_argument("name", metavar="CLASS")
    flags.add_argument("file", type=Path, metavar="FILE")
    args = flags.parse_args()
    if CHROMIUM is None:
        print(f"shortcut_screenshot: error: {WHY_NOT}", file=sys.stderr)
        return 2
    label = [one["name"] for one in read_record(args.run)["per_class"]].index(args.name)
    with tempfile.TemporaryDirectory() as place:
        page = Path(place) / "page.html"
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


if __name__ == "__main__":
    sys.exit(main())
