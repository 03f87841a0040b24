"""JSON of a file that may be damaged: whatever is wrong with it is a ValueError."""

import json
from typing import Any

DEEPEST = 100  # lists and dicts within one another


def loads(text: str) -> Any:
    """As json.loads, without NaN and Infinity.

    Raises:
        ValueError: the text is not JSON, or is nested deeper than DEEPEST.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    _check(value, DEEPEST)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _check(value: Any, left: int) -> None:
    if not isinstance(value, list | dict):
        return
    if not left:
        raise ValueError("it is nested too deep")
    for one in value.values() if isinstance(value, dict) else value:
        _check(one, left - 1)
