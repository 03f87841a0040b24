"""One self-contained page about what a CCLI run saw: its concepts, its classes, and test images explained.

Nothing in it is fetched, and the same contents give the same bytes. The page is drawn by page.js from this dict, in
which classes, concepts and images are given by their place in its lists:

    title       str
    overview    list of (what, value)
    notes       list of str: what is left out or could not be read
    many        bool: classes are too many to show more of them than their names at first
    kinds       list of str, the kinds of concepts
    images      list of {"label": class, "uri": data URI, or "" where there is no picture}
    concepts    list of {"name", "kind": place in kinds, "distinctiveness": 0 to 1, "images": list}, in order of it
    classes     list of {"name", "correct", "total", "images": list, "marks": parts, "confused": list of
                {"class", "as": its images taken for that class, "from": that class's taken for it, "parts"}}
    examples    list of {"image", "label", "prediction", "probability", "parts", "instead": parts of the difference to
                the true class, or None for an image that is right}, mistakes first

Parts are {"total", "zero_shot", "class_texts", "constant", "concepts": list of (concept, value), "lacked": those of
these concepts that the image has less of than images on average, "others": (how many concepts are not in the list, the
sum of their values)}; values, others, zero_shot, class_texts and constant add up to total.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from ccli import __version__
from ccli.errors import CcliError

FOLDER = Path(__file__).parent
SHARED_CSS = FOLDER.parent / "report" / "page.css"
WITHOUT_SCRIPTS = 60  # concepts, and classes, that are listed for a browser that runs no scripts


def render_concepts(data: dict[str, Any]) -> str:
    """The page as HTML; whatever is from the data is escaped.

    Args:
        data: as this module's first lines say; `ccli.pages.concepts.contents` makes it from a run.

    Raises:
        CcliError: jinja2 is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ModuleNotFoundError:
        raise CcliError("the page needs jinja2, which is not installed; pip install jinja2") from None
    from ccli.pages.report.chosen_run import as_script_data

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    script = _text(FOLDER / "bars.js") + _text(FOLDER / "page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("page.html.jinja").render(
        title=data["title"], overview=data["overview"], notes=data["notes"], kinds=data["kinds"],
        concepts=data["concepts"], classes=data["classes"], examples=data["examples"], few=WITHOUT_SCRIPTS,
        marks=[_marks(one["marks"], data["concepts"]) for one in data["classes"][:WITHOUT_SCRIPTS]],
        css=Markup(_text(SHARED_CSS) + _text(FOLDER / "page.css")), script=Markup(script),
        script_hash=f"sha256-{digest}", page_data=Markup(as_script_data(data)), version=__version__,
    )  # fmt: skip
    return page.encode("utf-8", "replace").decode()  # a name may hold half a character


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _marks(parts: dict[str, Any], concepts: list[dict[str, Any]]) -> str:
    """The names of the concepts that speak for a class, with "not" where by what its images lack."""
    found = [k for k, value in parts["concepts"] if value > 0]
    return ", ".join(("not " if k in parts["lacked"] else "") + concepts[k]["name"] for k in found)
