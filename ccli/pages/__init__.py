"""Pages of one HTML file each: nothing in them is fetched, and the same contents give the same bytes."""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ccli import __version__
from ccli.errors import CcliError


def render(folder: Path, data: Any, css: Sequence[Path], scripts: Sequence[Path], **contents: Any) -> str:
    """The page of a folder's page.html.jinja; whatever is from the data is escaped.

    Args:
        data: what the scripts read, as JSON.
        css, scripts: files that become part of the page, in this order.
        contents: by the template's names for them; escaped, unless the template says `safe`.

    Raises:
        CcliError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ModuleNotFoundError:
        raise CcliError("the page needs jinja2, which is not installed; pip install jinja2") from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    style, script = ("".join(path.read_text(encoding="utf-8") for path in paths) for paths in (css, scripts))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("page.html.jinja").render(
        css=style, script=script, script_hash=f"sha256-{digest}", page_data=_script_data(data), version=__version__,
        **contents,
    )  # fmt: skip
    return page.encode("utf-8", "replace").decode()  # a name may hold half a character


def _script_data(data: Any) -> str:
    """JSON for a <script> element: nothing in it can end the element or begin a comment, and halves of characters,
    of which no address can be made, are question marks."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace").decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
