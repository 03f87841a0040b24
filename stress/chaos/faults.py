"""A full disk at each write in turn, a lost one at each read: an error that names the file, then the same result.

From the chosen call on, all calls of its kind below the work's folders fail, as on a disk that stays full or away.
"""

import builtins
import errno
import io
import multiprocessing
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from stress.chaos.compare import Tally, differences, half_written
from stress.chaos.work import OUTPUT, Work, finish, start

KINDS = {"write": errno.ENOSPC, "create": errno.ENOSPC, "move": errno.ESTALE, "open": errno.EIO, "read": errno.ESTALE}
CALLS = multiprocessing.RawValue("I")  # how many calls there were, shared with forked processes


def each_in_turn(works: list[Work], place: Path, most: int, rng: Random) -> Tally:
    """At most `most` calls of each kind and work, drawn where there are more."""
    tally = Tally()
    for work in works:
        for kind in KINDS:
            out = place / "faults" / work.name
            _run(work, out, place, kind, 0)
            count = CALLS.value
            shutil.rmtree(out)
            for at in sorted(rng.sample(range(1, count + 1), min(most, count))):
                _one(work, out, place, kind, at, tally)
    return tally


def _one(work: Work, out: Path, place: Path, kind: str, at: int, tally: Tally) -> None:
    name, code = f"{work.name}, {kind} {at}", _run(work, out, place, kind, at)
    tally.done[kind] += 1
    output = (out / OUTPUT).read_text() if (out / OUTPUT).exists() else ""
    tally.add(name, half_written(out))
    if code == 0:
        tally.more["without consequence"] += 1
    elif "Traceback" in output or not any(_names_a_file(line, place) for line in output.splitlines()):
        tally.add(name, [f"ended with {code}, and no line names a file: {output[-700:]}"])
    if code := finish(start(work, out)):
        tally.add(name, [f"then {code}: {(out / OUTPUT).read_text()[-700:]}"])
    tally.add(name, differences(out, place / "whole" / work.name))
    shutil.rmtree(out)


def _names_a_file(line: str, place: Path) -> bool:
    """Whether a line, of a run or of a sweep about one run, gives the problem and the path."""
    return str(place) in line and ("error: " in line or any(os.strerror(number) in line for number in KINDS.values()))


def _run(work: Work, out: Path, place: Path, kind: str, at: int) -> int:
    CALLS.value = 0
    below = (str(out / "runs"), str(out / "store"), str(place / "data"))
    return finish(start(work, out, partial(_install, kind, at, below)))


def _install(kind: str, at: int, below: tuple[str, ...]) -> None:
    """Count the calls of a kind on paths `below`; the one numbered `at`, and all after it, fail."""

    def count(path: object = None) -> None:
        CALLS.value += 1
        if 0 < at <= CALLS.value:  # an error of a read or a write names no file
            raise OSError(KINDS[kind], os.strerror(KINDS[kind]), *([str(path)] if path else []))

    def counted(function: Callable, path: object, *args, **kwargs):
        if _is_below(path, below):
            count(path)
        return function(path, *args, **kwargs)

    def opened(plain: Callable, path: object, mode: str = "r", *args, **kwargs):
        writes, ours = any(letter in mode for letter in "wax+"), _is_below(path, below)
        if ours and kind == ("create" if writes else "open"):
            count(path)
        file = plain(path, mode, *args, **kwargs)
        if ours and kind == ("write" if writes else "read"):
            for name in ("write",) if writes else ("read", "readinto", "readline"):
                if hasattr(file, name):
                    setattr(file, name, partial(_after, count, getattr(file, name)))
        return file

    builtins.open = io.open = partial(opened, io.open)
    if kind == "move":
        os.replace = partial(counted, os.replace)
    if kind == "create":
        os.mkdir = partial(counted, os.mkdir)


def _is_below(path: object, folders: tuple[str, ...]) -> bool:
    return isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(folders)


def _after(count: Callable, function: Callable, *args):
    count()
    return function(*args)
