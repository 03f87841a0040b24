"""What is printed also goes to a file."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Any, TextIO

from .tools import mkdir_if_missing


class Logger:
    """A text stream that writes to the console and to a file.

    Args:
        fpath: the file, made anew; None writes to the console alone.
        console: where else to write; the present `sys.stdout` by default.
    """

    def __init__(self, fpath: str | None = None, console: TextIO | None = None) -> None:
        self.console = sys.stdout if console is None else console
        self.file: TextIO | None = None
        if fpath is not None:
            mkdir_if_missing(os.path.dirname(fpath))
            # line by line: a run that is killed keeps what it had printed
            self.file = open(fpath, "w", encoding="utf-8", buffering=1)  # noqa: SIM115

    def __enter__(self) -> Logger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, msg: str) -> int:
        self.console.write(msg)
        if self.file is not None:
            try:
                self.file.write(msg)
            except OSError as error:  # such as a full disk, which need not be told once more at the end
                error.filename = self.file.name
                with contextlib.suppress(OSError):
                    self.close()
                raise
        return len(msg)

    def flush(self) -> None:
        self.console.flush()
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        """Close the file. The console is not ours to close."""
        file, self.file = self.file, None
        if file is not None:
            file.close()

    def __getattr__(self, name: str) -> Any:
        # isatty, encoding, fileno ...: whatever else a stream is asked for, the console answers
        if name == "console":
            raise AttributeError(name)
        return getattr(self.console, name)


def setup_logger(output: str | None = None) -> None:
    """Copy everything printed from now on to `output`/log.txt, or to `output` itself where it ends in .txt or .log.

    An existing file is left alone: the new one gets the time as a suffix. A second call in the same process ends the
    first copy.
    """
    if output is None:
        return
    fpath = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    if os.path.exists(fpath):
        fpath = _free_name(fpath + time.strftime("-%Y-%m-%d-%H-%M-%S"))

    console = sys.stdout
    if isinstance(console, Logger):
        console.close()
        console = console.console
    sys.stdout = Logger(fpath, console)


def _free_name(fpath: str) -> str:
    """`fpath`, or with -1, -2 ... behind it where two runs start within one second."""
    candidate, n = fpath, 0
    while os.path.exists(candidate):
        n += 1
        candidate = f"{fpath}-{n}"
    return candidate
