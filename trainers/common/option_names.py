"""Options in messages: the library names its own arguments, and users set options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def option_names(names: Mapping[str, str]) -> Iterator[None]:
    """Replace the library's words by options in the message of a FloatingPointError.

    Args:
        names: the words to replace -> the option, such as {"the learning rate": "OPTIM.LR"}.
    """
    try:
        yield
    except FloatingPointError as error:
        message = str(error)
        for words, option in names.items():
            message = message.replace(words, option)
        raise FloatingPointError(message) from error
