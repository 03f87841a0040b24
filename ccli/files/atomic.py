"""Files that are written whole or not at all, and folders that one process at a time works in."""

import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from ccli.errors import os_errors

LOCK = ".lock"  # of a run's folder: several processes may be given one output
SCRATCH = (".part", ".tmp")  # endings of files that are being written, here and by the toolbox
OLD = 3600  # seconds after which such a file is a leftover


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


def write_whole(target: Path, content: str | bytes, durable: bool = False) -> None:
    """Write a file atomically; its folder is made if absent. Raises CcliError where the disk refuses.

    Args:
        durable: whether it must be there, and whole, after a power cut.
    """
    with os_errors(f"cannot write {target}", "make room or choose another folder"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with moved_into_place(target) as scratch:
            scratch.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
            if durable:
                _sync(scratch)
        if durable and os.name == "posix":  # only POSIX can open a folder, to make its new entry durable
            _sync(target.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
    """Wait until no other process works in this folder. The system releases the lock when its holder dies."""
    with os_errors(f"cannot write to {folder}", "choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(os.path.abspath(folder / LOCK), is_singleton=True)  # a process may hold it twice
        held = acquire(lock, f"{folder} is being run by another process; waiting for it")
    with held:
        yield


def acquire(lock: filelock.BaseFileLock, waiting: str) -> filelock.AcquireReturnProxy:
    """Take a lock; while another process holds it, wait, and say so. As a context manager it is released."""
    try:
        return lock.acquire(timeout=0)
    except filelock.Timeout:
        print(waiting, file=sys.stderr)
        return lock.acquire()
