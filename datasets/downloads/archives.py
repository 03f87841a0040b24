"""Unpacking: checked as a whole first, written beside, moved into place when complete."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ccli.datasets.downloads.fetch import disk_error, in_words
from ccli.datasets.downloads.members import Member, Opened, listed, opened
from ccli.errors import CcliError
from ccli.files.atomic import moved_into_place


def extract(archive: Path, into: Path, brings: Sequence[str], rename: Mapping[str, str] | None = None) -> list[str]:
    """Unpack the files and folders `brings` of an archive into a folder; files that are there already are left alone.

    They may lie at any depth of the archive, side by side: nothing beside them is unpacked.

    Args:
        brings: names, which have to be there, and patterns such as "*.txt", which need not.
        rename: what some of them are called in the folder.

    Returns:
        What was put into the folder.

    Raises:
        CcliError: the archive could harm (nothing is written), is damaged, lacks a name, or the disk is too small.
    """
    rename = rename or {}
    members = [
        member._replace(parts=(rename.get(member.parts[0], member.parts[0]), *member.parts[1:]))
        for member in _wanted(archive, listed(archive), brings)
    ]
    members = [member for member in members if not into.joinpath(*member.parts).exists()]
    if not members:
        return []
    scratch = into / f".{archive.name}.part"
    try:
        if scratch.is_symlink():
            scratch.unlink()
        shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
        into.mkdir(parents=True, exist_ok=True)
        _fits(archive, into, members)
        with opened(archive, "Unpacking") as content:
            for member in members:
                write(content, member, scratch)
        return _into_place(scratch, into, [rename.get(name, name) for name in brings])
    except OSError as error:
        raise disk_error(into, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _wanted(archive: Path, members: list[Member], brings: Sequence[str]) -> list[Member]:
    """Those below `brings`, with paths that start there."""
    depths = [m.parts[: m.parts.index(brings[0])] for m in members if brings[0] in m.parts]
    prefix = min(depths, key=len, default=())
    deep = len(prefix)
    found = [m._replace(parts=m.parts[deep:]) for m in members if m.parts[:deep] == prefix and len(m.parts) > deep]
    tops = {m.parts[0] for m in found}
    folders = {m.parts[0] for m in found if len(m.parts) > 1}
    lacks = [name for name in brings if name not in (tops if "." in name else folders) and not _is_pattern(name)]
    if lacks:
        raise CcliError(
            f"{archive} holds no {lacks[0]!r}: it is not the archive that was expected; delete it and run again"
        )
    return [m for m in found if any(fnmatchcase(m.parts[0], name) for name in brings)]


def _is_pattern(name: str) -> bool:
    return "*" in name


def _fits(archive: Path, into: Path, members: list[Member]) -> None:
    needed, free = sum(m.size for m in members), shutil.disk_usage(into).free
    if needed > free:
        raise CcliError(
            f"{archive} unpacks to {in_words(needed)} and {into} has {in_words(free)} left; free some and run the "
            "same command"
        )


def write(content: Opened, member: Member, below: Path) -> None:
    """Write one file of an archive below a folder: its bytes alone, with no owner, mode or time of the archive's."""
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
    """Move a file or folder; into a folder that is there, file by file."""
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
