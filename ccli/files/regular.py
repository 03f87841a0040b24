"""What is read is a plain file: a pipe is waited for without end, and a device has none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ccli.errors import CcliError


def refuse_special(path: str | Path) -> None:
    """Raise CcliError where a path is, or leads to, a pipe, a device or a socket; what is not there is left alone."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # for those who open it to say
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise CcliError(f"{str(path)!r} is no plain file, but a pipe, a device or a socket; replace or remove it")
