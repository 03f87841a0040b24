"""Refuse paths that are not regular files: reading a pipe may wait forever, and a device may have no end."""

import os
import stat
from pathlib import Path

from ccli.errors import CcliError


def refuse_special(path: str | Path) -> None:
    """Raise CcliError where a path is, or leads to, a pipe, a device or a socket. A missing file passes."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # whoever opens it says so
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise CcliError(f"{str(path)!r} is not a regular file but a pipe, a device or a socket; replace or remove it")
