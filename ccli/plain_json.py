"""Json of a file that may be damaged: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
from typing import Any

DEEPEST = 100  # lists and dicts within one another


def loads(text: str, **options) -> Any:
    """As json.loads.

    Raises:
        ValueError: it is not json, is nested too deep for what is done with it later, or holds half a surrogate pair.
    """
    try:
        value = json.loads(text, **options)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if isinstance(value, str | list | dict):
        _check(value, DEEPEST)
    return value


def _check(value: Any, left: int) -> None:
    if isinstance(value, str):
        value.encode()  # what it raises is a ValueError
        return
    if not left:
        raise ValueError("it is nested too deep")
    if isinstance(value, dict):
        for key in value:
            key.encode()
        value = value.values()
    for one in value:
        if isinstance(one, str | list | dict):
            _check(one, left - 1)
