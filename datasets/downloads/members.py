"""List the files of an archive before anything is written, and refuse harmful ones."""

import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tqdm.utils import CallbackIOWrapper

from ccli.datasets.downloads.fetch import byte_bar, in_words
from ccli.errors import CcliError

# An archive of images is hardly compressed; such a ratio is an attack. Small archives cannot do harm.
BOMB_RATIO, BOMB_SIZE = 200, 1 << 30
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, LZMAError, NotImplementedError, UnicodeError)
Opened = tarfile.TarFile | zipfile.ZipFile


class Member(NamedTuple):
    """A file in an archive."""

    parts: tuple[str, ...]
    size: int
    entry: tarfile.TarInfo | zipfile.ZipInfo


@contextmanager
def opened(archive: Path, what: str) -> Iterator[Opened]:
    """The archive, open, with a bar over its bytes.

    Raises:
        CcliError: it is damaged, which may show only while it is read.
    """
    try:
        with archive.open("rb") as file, byte_bar(f"{what} {archive.name}", archive.stat().st_size) as bar:
            is_zip = file.read(2) == b"PK"  # names mislead: ImageNetV2's .tar.gz is a plain tar
            file.seek(0)
            counted = CallbackIOWrapper(bar.update, file)
            with zipfile.ZipFile(counted) if is_zip else tarfile.open(fileobj=counted, mode="r:*") as content:
                yield content
    except DAMAGE + (OSError,) as error:
        if isinstance(error, OSError) and error.errno is not None:  # gzip's own have no number
            raise
        raise CcliError(f"{archive} is damaged ({type(error).__name__}: {error}): delete it and run again") from error


def listed(archive: Path) -> list[Member]:
    """The archive's files.

    Raises:
        CcliError: one of them is harmful, the archive unpacks to too much, or it is damaged.
    """
    limit = max(BOMB_SIZE, BOMB_RATIO * archive.stat().st_size)
    members, total = [], 0
    with opened(archive, "Checking") as content:
        for member in harmless(content, archive):
            members.append(member)
            total += member.size
            if total > limit:
                raise CcliError(
                    f"{archive} has {in_words(archive.stat().st_size)} and unpacks to more than {in_words(limit)}: no "
                    "data set does; delete it and get it from another address"
                )
        if isinstance(content, tarfile.TarFile) and isinstance(content.fileobj, CallbackIOWrapper):
            _has_end(content)
    return members


def harmless(content: Opened, archive: Path | str) -> Iterator[Member]:
    """The files of an open archive, one after another.

    Raises:
        CcliError: a name that leads out, a link, a device, an encrypted file. Links that stay inside are refused too:
            no data set needs them, and chains of such links have led out in spite of every rule that allowed some.
    """
    is_tar = isinstance(content, tarfile.TarFile)
    for entry in content if is_tar else content.infolist():
        name = entry.name if is_tar else entry.orig_filename
        if wrong := _bad_name(name) or (_bad_tar(entry) if is_tar else _bad_zip(entry)):
            raise CcliError(f"{archive} is refused, nothing of it is unpacked: {name!r} in it {wrong}")
        if not (entry.isdir() if is_tar else entry.is_dir()):
            yield Member(PurePosixPath(name).parts, entry.size if is_tar else entry.file_size, entry)


def _bad_name(name: str) -> str:
    if "\0" in name:
        return "has a NUL in its name"
    if "\\" in name or re.match(r"[A-Za-z]:", name) or name.startswith("/"):
        return "has an absolute or a Windows path"
    return "leads out of its folder" if ".." in name.split("/") else ""


def _bad_tar(entry: tarfile.TarInfo) -> str:
    if entry.issym() or entry.islnk():
        return f"is a link (to {entry.linkname!r})"
    return "" if entry.isfile() or entry.isdir() else "is a device, a pipe or unknown"


def _bad_zip(entry: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.flag_bits & 1:
        return "is encrypted"
    if kind == stat.S_IFLNK:
        return "is a link"
    return "" if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "is a device or a pipe"


def _has_end(tar: tarfile.TarFile) -> None:
    """Refuse a plain tar that was cut between two files, which only lacks the last block."""
    tar.fileobj.seek(tar.offset)
    block = tar.fileobj.read(512)
    if len(block) < 512 or block.strip(b"\0"):
        raise tarfile.ReadError("it ends too early")
