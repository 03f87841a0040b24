"""Options in messages: the library names its own arguments, and users set options."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields

from ccli.errors import CcliError, SettingError


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


def settings_of(kind: type, node, place: str):
    """The settings of a method out of a node of the configuration.

    Args:
        kind: a dataclass, which checks its fields; NODE.FIELD in upper case is the option of a field.
        place: of the node, such as "TRAINER.CCLI".

    Raises:
        CcliError: a setting cannot be used; its option is named.
    """
    try:
        return kind(**{field.name: node[field.name.upper()] for field in fields(kind)})
    except SettingError as error:
        raise CcliError(f"{place}.{error.name.upper()} {error.problem}") from error
