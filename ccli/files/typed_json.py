"""What msgspec finds wrong with the fields of a JSON object, in words for a user."""

import re
from collections.abc import Mapping, Sequence
from typing import Any


def in_words(error: ValueError, data: Mapping[str, Any], choices: Mapping[str, Sequence[str]] | None = None) -> str:
    """Such as "has an invalid seed = True: expected `int`, got `bool`".

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
