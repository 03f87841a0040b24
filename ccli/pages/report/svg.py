"""A figure as SVG that can stand in a page: lines and text in the page's colour, ids that no other figure has."""

import io
import re
from xml.etree import ElementTree

import matplotlib

from ccli.results.drawing import style
from ccli.results.plots import Plot

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
PLAIN = re.compile(r"(stroke|fill): #(000000|b0b0b0)")  # lines and letters, and the grid, which is transparent


def inline_svg(plot: Plot, label: str) -> str:
    """The figure as an <svg> element, the same for the same figure.

    Args:
        plot: from `ccli.results.plots.plots`.
        label: what a screen reader says of it.
    """
    file = io.StringIO()
    with style(), matplotlib.rc_context({"svg.hashsalt": plot.stem}):
        plot.figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):  # the style is in the page's, once
                parent.remove(child)
    for element in root.iter():
        _adapt(element, plot.stem)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.attrib.update({"role": "img", "aria-label": label})
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, stem: str) -> None:
    """The page's colour in place of black and grey, and the figure's name before each id and each use of one."""
    attributes = element.attrib
    if "style" in attributes:
        attributes["style"] = PLAIN.sub(r"\1: currentColor", attributes["style"])
    if element.tag == f"{{{SVG}}}text":
        # Sizes stay; the family is the page's, so that letters look alike.
        attributes["style"] = re.sub(r"'DejaVu Sans'[^;]*", "inherit", attributes.get("style", ""))
    if "id" in attributes:
        attributes["id"] = f"{stem}-{attributes['id']}"
    for name in ("clip-path", f"{{{XLINK}}}href"):
        if name in attributes:
            attributes[name] = attributes[name].replace("#", f"#{stem}-", 1)
