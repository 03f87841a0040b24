"""classes.json in an image folder: display names of its classes, and prompt templates; both are optional.

{"names": {"FOLDER": "display name"}, "templates": ["a photo of a {}, a kind of shoe."]}
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from ccli.errors import CcliError, composed, in_one_line, nearest, os_errors
from ccli.features.decoding import shown
from ccli.features.image_folder import CLASSES

KEYS = ("names", "templates")


def read_classes(folder: Path, classes: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """(display name of each class, templates): from classes.json if it exists, else folder names and no templates.

    Args:
        classes: names of the class folders, composed.

    Raises:
        CcliError: classes.json is not as above, or two classes have the same name.
    """
    path = folder / CLASSES
    given = _read(path) if path.exists() else {}
    names, templates = given.get("names", {}), given.get("templates", [])
    _check_names(path, names, classes)
    names = {composed(folder): composed(name) for folder, name in names.items()}
    _check_templates(path, templates)
    told = [" ".join(names.get(name, name).split()) for name in classes]
    _refuse_alike(path, classes, told)
    return told, tuple(templates)


def _read(path: Path) -> dict:
    not_json = in_one_line((ValueError, RecursionError), f"{shown(path)} is not JSON", "fix it or remove it")
    with not_json, os_errors(f"{shown(path)} cannot be read"):
        given = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(given, dict):
        raise CcliError(f'{shown(path)}: write {{"names": {{...}}, "templates": [...]}}, both optional')
    for key in given:
        if key not in KEYS:
            raise CcliError(f"{shown(path)}: there is no {key!r}; use {' and '.join(KEYS)}.{nearest(key, KEYS)}")
    return given


def _check_names(path: Path, names, classes: Sequence[str]) -> None:
    if not isinstance(names, dict):
        raise CcliError(f'{shown(path)}: write names as {{"FOLDER": "display name"}}, not {names!r}')
    for folder, name in names.items():
        if composed(folder) not in classes:
            raise CcliError(f"{shown(path)}: names has {folder!r}, which is no class folder.{nearest(folder, classes)}")
        if not (isinstance(name, str) and name.strip() and _is_unicode(name)):
            raise CcliError(f"{shown(path)}: the name of {folder!r} is {name!r}; write one or more words")


def _check_templates(path: Path, templates) -> None:
    if not isinstance(templates, list):
        raise CcliError(f'{shown(path)}: write templates as ["a photo of a {{}}."], not {templates!r}')
    for template in templates:
        if not (isinstance(template, str) and re.fullmatch("[^{}]*{}[^{}]*", template) and _is_unicode(template)):
            raise CcliError(
                f"{shown(path)}: template {template!r}: write {{}} exactly once, for the class name, and no other brace"
            )


def _is_unicode(text: str) -> bool:
    return text == text.encode("utf-8", "ignore").decode("utf-8")  # no half surrogate pair


def _refuse_alike(path: Path, classes: Sequence[str], told: Sequence[str]) -> None:
    """Refuse names that differ only in case, underscores and spaces."""
    first: dict[str, str] = {}
    for folder, name in zip(classes, told):
        text = " ".join(name.replace("_", " ").casefold().split())
        if not text:
            raise CcliError(f"class folder {shown(path.parent / folder)} has no name; put one in {shown(path)} (names)")
        if text in first:
            raise CcliError(
                f"classes {shown(first[text])} and {shown(folder)} are both called {name!r}; give each a name of its "
                f"own in {shown(path)} (names)"
            )
        first[text] = folder
