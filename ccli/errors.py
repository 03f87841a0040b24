"""The one error type and the one kind of warning that users meet."""

import difflib
import errno
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TextIO


class CcliError(Exception):
    """A problem the user can solve: one line that names the thing and the remedy."""


class CcliWarning(UserWarning):
    """What the user should know of their data although the work goes on: one line."""


def warn(text: str) -> None:
    """Warn the user; a run says it once and keeps it in its record (see `warnings_into`)."""
    warnings.warn(text, CcliWarning, stacklevel=3)


@contextmanager
def warnings_into(found: list[str], file: TextIO | None = None) -> Iterator[None]:
    """Print each CcliWarning of the block that is not in `found` as a line, and add it; other warnings pass.

    Args:
        file: where it is printed; None is stdout.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("always", CcliWarning)
        show = warnings.showwarning

        def keep(message, category, *rest, **named) -> None:
            if not issubclass(category, CcliWarning):
                show(message, category, *rest, **named)
            elif str(message) not in found:
                found.append(str(message))
                print(f"warning: {message}", file=file)

        warnings.showwarning = keep
        yield


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOST = (errno.EIO, errno.ESTALE, errno.EROFS, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH)


def of_the_disk(error: BaseException) -> str:
    """What is wrong with a disk or a network file system, and the remedy, in a line; "" where it is something else."""
    if not isinstance(error, OSError) or error.errno not in (*FULL, *_LOST):
        return ""
    remedy = "make room" if error.errno in FULL else "see that the disk is well"
    return f"{error.filename or 'a file'}: {error.strerror or error}; {remedy}, and the same command goes on"


class SettingError(CcliError, ValueError):
    """A setting that cannot be used: "NAME PROBLEM", such as "top_k must be an integer >= 1, got 0"."""

    def __init__(self, name: str, problem: str):
        super().__init__(name, problem)  # both are arguments, so that it can be pickled
        self.name, self.problem = name, problem

    def __str__(self) -> str:
        return f"{self.name} {self.problem}"


def check_setting(good: bool, name: str, wanted: str, value: object) -> None:
    """Raise SettingError where a setting's value is not `wanted`, such as "a number > 0"."""
    if not good:
        raise SettingError(name, f"must be {wanted}, got {value!r}")


def check_choice(name: str, value: object, known: Iterable[str]) -> None:
    """Raise SettingError where a setting's value is none of the known ones; the nearest is named."""
    if value not in known:
        raise SettingError(name, f"must be one of {', '.join(known)}, got {value!r}.{nearest(str(value), known)}")


@contextmanager
def in_one_line(
    of: type[Exception] | tuple[type[Exception], ...], what: str, remedy: str = "", kind: type[CcliError] = CcliError,
    longest: int | None = 160,
) -> Iterator[None]:  # fmt: skip
    """Turn errors of some types into a CcliError, or one of that kind, of one line: "WHAT (reason); REMEDY".

    Args:
        of: the types; a CcliError passes as it is.
        what: what failed, with the path, such as "cannot write a.json".
        remedy: what the user can do, such as "choose another folder".
        longest: characters of the reason, at most.
    """
    try:
        yield
    except CcliError:
        raise
    except of as error:
        why = f"{what} ({getattr(error, 'strerror', None) or first_line(error, longest)})"
        raise kind(f"{why}; {remedy}" if remedy else why) from error


def os_errors(what: str, remedy: str = "", kind: type[CcliError] = CcliError) -> AbstractContextManager[None]:
    """`in_one_line` for what the operating system refuses."""
    return in_one_line(OSError, what, remedy, kind)


def first_line(error: BaseException, longest: int | None = None) -> str:
    """The first line of an error's message, at most `longest` characters of it, or its type where it has none."""
    text = f"no {error}" if isinstance(error, KeyError) else str(error).strip() or type(error).__name__
    return printable(text.splitlines()[0])[:longest]


def printable(text: str) -> str:
    """A text without half surrogate pairs, such as a name that is not UTF-8 has, which cannot be printed."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC), by which names are compared: "é" may be one character or two."""
    return unicodedata.normalize("NFC", name)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as " Did you mean 'RN50'?", or "" where nothing is near.

    Args:
        name: what the user wrote.
        known: what would have been understood.
    """
    by_folded = {k.casefold(): k for k in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.5)
    return f" Did you mean {by_folded[close[0]]!r}?" if close else ""


def listed(names: Sequence[str], most: int = 12) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
