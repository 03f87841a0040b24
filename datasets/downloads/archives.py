"""Unpacking: an archive is checked as a whole, written to a scratch folder, and moved into place when complete."""

import errno
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from ccli.datasets.downloads.fetch import disk_errors, in_words, require_room
from ccli.datasets.downloads.members import Member, Opened, listed, opened
from ccli.errors import CcliError
from ccli.files.atomic import moved_into_place


def extract(archive: Path, into: Path, brings: Sequence[str], rename: Mapping[str, str] | None = None) -> list[str]:
    """Unpack the files and folders `brings` of an archive into a folder; existing files are kept.

    They may lie at any depth of the archive, side by side; nothing else is unpacked.

    Args:
        brings: names, which the archive must have, and patterns such as "*.txt", which are optional.
        rename: new names of some of them.

    Returns:
        The names that were added to the folder.

    Raises:
        CcliError: the archive is harmful (nothing is written), is damaged, lacks a name, or the disk is too small.
    """
    rename = rename or {}
    members = [
        member._replace(parts=(rename.get(member.parts[0], member.parts[0]), *member.parts[1:]))
        for member in _wanted(archive, listed(archive), brings)
    ]
    members = [member for member in members if not into.joinpath(*member.parts).exists()]
    if not members:
        return []
    size = sum(member.size for member in members)
    require_room(into, size, f"{archive} unpacks to {in_words(size)}")
    with disk_errors(into), unpacked(archive, members, into / f".{archive.name}.part") as scratch:
        return _into_place(scratch, into, [rename.get(name, name) for name in brings])


def _wanted(archive: Path, members: list[Member], brings: Sequence[str]) -> list[Member]:
    """The members below `brings`, with paths that start there."""
    depths = [m.parts[: m.parts.index(brings[0])] for m in members if brings[0] in m.parts]
    prefix = min(depths, key=len, default=())
    deep = len(prefix)
    found = [m._replace(parts=m.parts[deep:]) for m in members if m.parts[:deep] == prefix and len(m.parts) > deep]
    tops = {m.parts[0] for m in found}
    folders = {m.parts[0] for m in found if len(m.parts) > 1}
    lacks = [name for name in brings if name not in (tops if "." in name else folders) and "*" not in name]
    if lacks:
        raise CcliError(f"{archive} holds no {lacks[0]!r}: it is not the expected archive; delete it and run again")
    return [m for m in found if any(fnmatchcase(m.parts[0], name) for name in brings)]


@contextmanager
def unpacked(archive: Path, members: list[Member], scratch: Path) -> Iterator[Path]:
    """Members of an archive, unpacked into a scratch folder that is removed in the end."""
    if scratch.is_symlink():
        scratch.unlink()
    shutil.rmtree(scratch, ignore_errors=True)  # left by a process that was killed
    try:
        with opened(archive, "Unpacking") as content:
            for member in members:
                write(content, member, scratch)
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write(content: Opened, member: Member, below: Path) -> None:
    """Write one file of an archive below a folder: only its bytes, without the archive's owner, mode and time."""
    target = below.joinpath(*member.parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    read = content.extractfile if isinstance(content, tarfile.TarFile) else content.open
    with read(member.entry) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _into_place(scratch: Path, into: Path, brings: Sequence[str]) -> list[str]:
    """Move in reverse order, so that the first name is there only when all are."""
    order = {name: k for k, name in enumerate(brings)}
    names = sorted(os.listdir(scratch), key=lambda name: order.get(name, len(order)), reverse=True)
    for name in names:
        move(scratch / name, into / name)
    return names


def move(source: Path, target: Path) -> None:
    """Move a file or folder; into an existing folder, file by file."""
    if not (source.is_dir() and target.is_dir()):
        try:
            os.replace(source, target)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:  # a folder that is a link to another disk
                raise
        if not source.is_dir():
            with moved_into_place(target) as scratch:
                shutil.copyfile(source, scratch)
            return
        target.mkdir()
    for part in sorted(source.iterdir()):
        move(part, target / part.name)
