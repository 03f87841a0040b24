"""What a step has found: numbers with units and targets, and errors; on disk after each."""

import json
import math
import time
import traceback
from pathlib import Path

from ccli.files.atomic import write_whole


def write_json(path: Path, value: dict) -> None:
    write_whole(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def last_line(error: BaseException) -> str:
    """An error's type and the last line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:300] if lines else 'no message'}"


class Figures:
    """The figures of one step. Each is kept in the file at once, so that a step that is killed loses nothing.

    Args:
        path: of the file; None keeps them in memory only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path, self.figures, self.errors = path, [], []

    def add(
        self, name: str, value: float, unit: str = "", at_least: float | None = None, at_most: float | None = None
    ) -> None:
        """Keep a number; `at_least` and `at_most` are its targets. One that is not finite is an error."""
        value = float(value)
        if not math.isfinite(value):
            self.fail(name, ArithmeticError(f"{value} is not finite"))
            return
        met = None
        if at_least is not None or at_most is not None:
            met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        figure = {"name": name, "value": value, "unit": unit, "at_least": at_least, "at_most": at_most, "met": met}
        self.figures.append(figure)
        self._write()

    def fail(self, name: str, error: BaseException) -> None:
        """Keep the last line of an error; the step goes on. Its traceback goes to stderr."""
        traceback.print_exception(error)
        self.errors.append(f"{name}: {last_line(error)}")
        self._write()

    def as_dict(self) -> dict:
        return {"figures": self.figures, "errors": self.errors}

    def _write(self) -> None:
        if self.path is not None:
            write_json(self.path, self.as_dict())


class Deadline:
    """A moment of the machine's monotonic clock, which all its processes share."""

    def __init__(self, end: float) -> None:
        self.end = end

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        return cls(time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds until then."""
        return self.end - time.monotonic()
