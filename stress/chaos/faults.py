"""A full disk at each write in turn, a lost one at each read: a line that names the file, and then the same result.

From the chosen call on, all calls of its kind below the work's folders fail, as on a disk that stays full or away.
"""

from __future__ import annotations

import builtins
import errno
import io
import mmap
import os
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from stress.chaos.compare import differences, half_written
from stress.chaos.work import Work, finish, start

KINDS = {"write": errno.ENOSPC, "create": errno.ENOSPC, "move": errno.ESTALE, "open": errno.EIO, "read": errno.ESTALE}
CALLS = mmap.mmap(-1, 4)  # how many there were


@dataclass
class Tally:
    places: Counter = field(default_factory=Counter)  # faults by kind
    harmless: int = 0  # runs that came to the right end all the same
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.places.items())
        return [
            f"{self.places.total()} faults ({kinds}), {self.harmless} of them without consequence: "
            f"{len(self.wrong)} without a line of its own, or lost something",
            *self.wrong[:20],
        ]  # fmt: skip


def each_in_turn(works: list[Work], place: Path, most: int, seed: int) -> Tally:
    """At most `most` places of each kind and work, drawn where there are more."""
    tally, rng = Tally(), random.Random(seed)
    for work in works:
        for kind in KINDS:
            out = place / "faults" / work.name
            _run(work, out, place, kind, 0)
            count = struct.unpack("I", CALLS[:])[0]
            shutil.rmtree(out)
            for at in sorted(rng.sample(range(1, count + 1), min(most, count))):
                _one(work, out, place, kind, at, tally)
    return tally


def _one(work: Work, out: Path, place: Path, kind: str, at: int, tally: Tally) -> None:
    name = f"{work.name}, {kind} {at}"
    code = _run(work, out, place, kind, at)
    tally.places[kind] += 1
    said = (out / "said.txt").read_text() if (out / "said.txt").exists() else ""
    tally.wrong += [f"{name}: {problem}" for problem in half_written(out)]
    if code == 0:
        tally.harmless += 1
    elif "Traceback" in said or not any(_names(line, place) for line in said.splitlines()):
        tally.wrong.append(f"{name}: ended with {code}, and no line names a file: {said[-700:]}")
    again = finish(start(work, out))
    tally.wrong += [f"{name}: then {again}: {(out / 'said.txt').read_text()[-700:]}"] if again else []
    tally.wrong += [f"{name}: {problem}" for problem in differences(out, place / "whole" / work.name)]
    shutil.rmtree(out)


def _names(line: str, place: Path) -> bool:
    """Whether it says what is wrong with which file: of a run, and of one of a sweep's."""
    return str(place) in line and ("error: " in line or any(os.strerror(number) in line for number in KINDS.values()))


def _run(work: Work, out: Path, place: Path, kind: str, at: int) -> int:
    CALLS[:] = struct.pack("I", 0)
    return finish(
        start(work, out, partial(_install, kind, at, (str(out / "runs"), str(out / "store"), str(place / "data"))))
    )


def _install(kind: str, at: int, below: tuple[str, ...]) -> None:
    """Count the calls of a kind; the one numbered `at`, and all after it, fail."""

    def passing(path: object) -> None:
        count = struct.unpack("I", CALLS[:])[0] + 1
        CALLS[:] = struct.pack("I", count)
        if at and count >= at:
            raise OSError(KINDS[kind], os.strerror(KINDS[kind]), *([str(path)] if path else []))

    def ours(path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(below)

    if kind == "move":
        os.replace = _checked(os.replace, ours, passing)
        return
    plain = io.open

    def opened(path, mode="r", *args, **kwargs):
        writes = any(letter in mode for letter in "wax+")
        if not ours(path):
            return plain(path, mode, *args, **kwargs)
        if kind == ("create" if writes else "open"):
            passing(path)
        file = plain(path, mode, *args, **kwargs)
        return Failing(file, kind, passing) if kind == ("write" if writes else "read") else file

    builtins.open = io.open = opened
    if kind == "create":
        os.mkdir = _checked(os.mkdir, ours, passing)


def _checked(function: Callable, ours: Callable, passing: Callable) -> Callable:
    def checked(path, *args, **kwargs):
        if ours(path):
            passing(path)
        return function(path, *args, **kwargs)

    return checked


class Failing:
    """A file whose reads or writes fail; the error names no file, as a real one does not."""

    def __init__(self, file, kind: str, passing: Callable[[object], None]) -> None:
        self._file, self._passing = file, passing
        for name in {"write": ("write",), "read": ("read", "readinto", "readline")}[kind]:
            if hasattr(file, name):
                setattr(self, name, partial(self._call, getattr(file, name)))

    def _call(self, function: Callable, *args):
        self._passing(None)
        return function(*args)

    def __getattr__(self, name: str):
        return getattr(self.__dict__["_file"], name)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self):
        return iter(self._file)
