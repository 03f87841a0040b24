"""One self-contained page about what a CCLI run saw: its concepts, its classes, and test images explained.

Nothing in it is fetched, and the same contents give the same bytes. The page is drawn by page.js from this dict, in
which classes, concepts and images are given by their place in its lists:

    title       str
    overview    list of (what, value)
    notes       list of str: what is left out or could not be read
    many        bool: classes are too many to show more of them than their names at first
    sparse      bool: a class's logit has few concepts, and all of them are listed
    kinds       list of str, the kinds of concepts
    images      list of {"label": class, "uri": data URI, or "" where there is no picture}
    concepts    list of {"name", "kind": place in kinds, "distinctiveness": 0 to 1, "images": list}, in order of it;
                of a sparse network also "better": how many names fit its images better, "doubtful" where its name is,
                "also": some of its other names, and "more": how many more it has
    classes     list of {"name", "correct", "total", "images": list, "marks": parts, "confused": list of
                {"class", "as": its images taken for that class, "from": that class's taken for it, "parts"}}
    examples    list of {"image", "label", "prediction", "probability", "parts", "instead": parts of the difference to
                the true class, or None for an image that is right}, mistakes first

Parts are {"total", "zero_shot", "class_texts", "constant", "concepts": list of (concept, value), "lacked": those of
these concepts that the image has less of than images on average, "others": (how many concepts are not in the list, the
sum of their values)}; values, others, zero_shot, class_texts and constant add up to total.
"""

from pathlib import Path
from typing import Any

from ccli.pages import render

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
    marks = [_marks(one["marks"], data["concepts"]) for one in data["classes"][:WITHOUT_SCRIPTS]]
    css, scripts = (SHARED_CSS, FOLDER / "page.css"), (FOLDER / "bars.js", FOLDER / "page.js")
    zero_shot = any(one["marks"]["zero_shot"] for one in data["classes"])
    return render(
        FOLDER, data, css, scripts, few=WITHOUT_SCRIPTS, marks=marks, prefix=prefix, zero_shot=zero_shot, **data
    )  # fmt: skip


def _marks(parts: dict[str, Any], concepts: list[dict[str, Any]]) -> str:
    """The names of the concepts that speak for a class, with "not" where by what its images lack."""
    found = [(k in parts["lacked"], concepts[k]) for k, value in parts["concepts"] if value > 0]
    return ", ".join(prefix(lacked, one) + one["name"] for lacked, one in found)


def prefix(lacked: bool, concept: dict[str, Any]) -> str:
    """What stands before a concept's name; bars.js has the same."""
    if "doubtful" in concept:
        return "does not look like " if lacked else "looks like "
    return "not " if lacked else ""
