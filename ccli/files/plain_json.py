"""Json of a file that may be damaged: whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
from typing import Any

DEEPEST = 100  # lists and dicts within one another


def loads(text: str, **options) -> Any:
    """As json.loads.

    Raises:
        ValueError: it is not json, or is nested too deep for what is done with it later.
    """
    try:
        value = json.loads(text, **options)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    _check(value, DEEPEST)
    return value


def _check(value: Any, left: int) -> None:
    if not isinstance(value, list | dict):
        return
    if not left:
        raise ValueError("it is nested too deep")
    for one in value.values() if isinstance(value, dict) else value:
        _check(one, left - 1)
