"""Files that are there whole or not at all, and folders that one process at a time works in."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from ccli.errors import CcliError

LOCK = ".lock"  # of a run's folder: several processes may be given one output
SCRATCH = (".part", ".tmp")  # what is being written ends in: here, and in the toolbox
OLD = 3600  # seconds after which nobody is writing it any more


@contextmanager
def moved_into_place(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; when the block ends well it becomes `target`, otherwise it is removed."""
    scratch = target.with_name(f".{target.name[:24]}.{uuid.uuid4().hex}.part")  # one file system: a rename is atomic
    try:
        yield scratch
        os.replace(scratch, target)
    except OSError as error:
        error.filename, error.filename2 = str(target), None  # a write's error names no file, and another's the scratch
        raise
    finally:
        scratch.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed have left half-written in a folder."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(".") and name.endswith(SCRATCH)]
        for path in (folder / name for name in names):
            if time.time() - path.stat().st_mtime > OLD:
                path.unlink(missing_ok=True)
    except OSError:  # gone already, or not ours to remove: nothing reads it
        pass


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else runs in this folder. The system gives the lock back when its holder dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(os.path.abspath(folder / LOCK), is_singleton=True)  # a process may hold it twice
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            print(f"{folder} is being run by another process; waiting for it", file=sys.stderr)
            lock.acquire()
    except OSError as error:
        raise CcliError(f"cannot write to {folder} ({error.strerror or error}); choose another --output") from error
    try:
        yield
    finally:
        lock.release()
