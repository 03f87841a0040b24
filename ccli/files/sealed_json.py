"""JSON files that may be damaged: a digest that shows a changed bit, and what is wrong with them in words."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from ccli.files.regular import refuse_special

FIELD = "digest"
Count = Annotated[int, Meta(ge=0)]  # types of fields, for msgspec
Number = Annotated[float, Meta(gt=1e-6, lt=1e6)]  # such as a temperature or a share
DEEPEST = 100  # lists and dicts within one another
_MARK = f',\n"{FIELD}": "'
_TAIL = re.compile(r'": "[0-9a-f]{64}"\n}\n\Z')  # one changed bit leaves the mark or the tail as they were


def sealed(text: str) -> str:
    """The text of a JSON object that is not empty, with one more field at its end: the SHA-256 of what is before it."""
    body = text.rstrip().removesuffix("}").rstrip()
    return f'{body}{_MARK}{_sha256(body)}"\n}}\n'


def check_seal(text: str) -> None:
    """Raises ValueError where a sealed text has changed; a text that was never sealed passes."""
    body = text.rpartition(_MARK)[0]
    if (body or _TAIL.search(text)) and text != f'{body}{_MARK}{_sha256(body)}"\n}}\n':
        raise ValueError(f"its {FIELD} is not that of its content")


def read_sealed(path: Path) -> Any:
    """The value of a JSON file, whose digest is checked if it has one.

    Raises:
        CcliError: the path is not of a regular file.
        OSError: the file cannot be read.
        ValueError: it is damaged, or is not JSON.
    """
    refuse_special(path)
    text = path.read_text(encoding="utf-8")
    check_seal(text)
    return loads(text)


def loads(text: str) -> Any:
    """As json.loads, without NaN and Infinity.

    Raises:
        ValueError: the text is not JSON, or is nested deeper than DEEPEST.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    _check_depth(value, DEEPEST)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _check_depth(value: Any, left: int) -> None:
    if not isinstance(value, list | dict):
        return
    if not left:
        raise ValueError("it is nested too deep")
    for one in value.values() if isinstance(value, dict) else value:
        _check_depth(one, left - 1)


def in_words(error: ValueError, data: Mapping[str, Any], choices: Mapping[str, Sequence[str]] | None = None) -> str:
    """What msgspec finds wrong, such as "has an invalid seed = True: expected `int`, got `bool`".

    Args:
        error: from `msgspec.convert`, such as "Expected `int`, got `bool` - at `$.seed`".
        data: the object that was converted.
        choices: field of `data` -> the values that it, or its one field with choices, may have.
    """
    reason, _, place = str(error).partition(" - at ")
    place = place.strip("`").removeprefix("$.")
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", reason):
        return f"has no field {missing[1]!r}" + (f" in {place}" if place else "")
    name = re.split(r"\W", place)[0]
    if name not in data:
        return f"has fields that cannot be read ({reason})"
    if reason.startswith("Invalid enum value"):
        reason = f"expected one of {', '.join((choices or {})[name])}"
    value = f" = {repr(data[name])[:60]}" if place == name else ""
    return f"has an invalid {place}{value}: {reason[0].lower()}{reason[1:]}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
