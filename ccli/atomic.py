"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def moved_into_place(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; when the block ends well it becomes `target`, otherwise it is removed."""
    scratch = target.with_name(f".{target.name[:24]}.{uuid.uuid4().hex}.part")  # one file system: a rename is atomic
    try:
        yield scratch
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)
