"""One file from one of its addresses: resumed where it stopped, checked before it gets its name."""

import hashlib
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tqdm import tqdm

from ccli.errors import FULL, CcliError, first_line, os_errors

RETRIES = 3  # how often one call resumes after a broken connection
RESTARTS = 3  # how often it starts again where the server cannot resume
TIMEOUT = (20.0, 60.0)  # seconds to connect, and between bytes
UNITS = ("bytes", "kB", "MB", "GB", "TB")
PAGE = (b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--", b"<script", b"<error")


class File(msgspec.Struct, frozen=True):
    """A file and its addresses, in the order in which they are tried.

    `sums` are "md5:..." or "sha256:...": one of them has to be the file's. `size` is in bytes.
    """

    name: str
    urls: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    size: int = 0


def fetch(file: File, folder: Path, mirror: str = "", problem: Callable[[Path], str] = lambda path: "") -> Path:
    """The path of the file in `folder`, downloaded unless the right file is there.

    Args:
        mirror: a base URL below which the file lies by its name; tried first.
        problem: says what is wrong with the content of a file, or "".

    Raises:
        CcliError: no address gave the right file, the disk is full, or a wrong file is there (it is kept).
    """
    target = folder / file.name
    if target.is_file():
        wrong = what_is_wrong(target, file, problem)
        if not wrong:
            return target
        raise CcliError(f"{target} is not the right file ({wrong}); move it away and run the same command to get it")
    urls = [f"{mirror.rstrip('/')}/{file.name}"] * bool(mirror) + list(file.urls)
    failures = []
    for url in urls:
        part = target.with_name(f"{file.name}.{zlib.crc32(url.encode()):08x}")  # never mix two servers
        try:
            there = sum(p.stat().st_size for p in folder.glob(f"{file.name}.*"))
            require_room(folder, file.size - there, f"{file.name} has {in_words(file.size)}")
            with disk_errors(folder):
                _download(url, part)
        except _Failed as failed:
            failures.append(f"{url}: {failed}")
        else:
            try:
                wrong = what_is_wrong(part, file, problem)
                if not wrong:
                    part.chmod(0o666 & ~_umask())  # gdown's temporary files are for their owner alone
                    os.replace(part, target)
                    for unfinished in folder.glob(f"{file.name}.{'[0-9a-f]' * 8}*.part"):
                        unfinished.unlink()
                    return target
            finally:
                part.unlink(missing_ok=True)
            failures.append(f"{url}: {wrong}; the download is removed")
        if url != urls[-1]:
            print(f"{failures[-1]}; trying the next address", file=sys.stderr)
    raise CcliError(f"cannot get {file.name} from {'; '.join(failures) or 'anywhere'}. {_by_hand(file, target)}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _by_hand(file: File, target: Path) -> str:
    """What to do where no address works."""
    url = file.urls[0] if file.urls else "it"
    if "drive.google.com" in url:
        url = f"https://drive.google.com/file/d/{url.rpartition('=')[2]}/view"
    return f"By hand: download {url} in a browser, put it at {target}, run the same command"


class _Failed(Exception):
    """One address did not give the file."""


def require_room(folder: Path, size: int, what: str) -> None:
    """Make a folder, and refuse one whose disk has less than `size` bytes left.

    Args:
        what: what needs the room, with its size, such as "a.zip has 3 GB".
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    if free < size:
        raise CcliError(
            f"{what} and {folder} has {in_words(free)} left; free some, or choose another --root, and run the same "
            "command"
        )


def _download(url: str, output: Path) -> None:
    """gdown's download; an unfinished one leaves a .part that the next call resumes."""
    try:
        import gdown
        from requests import RequestException
    except ModuleNotFoundError as error:
        raise CcliError(f"{error.name} is not installed here: run `bash scripts/install.sh`") from error
    for attempt in range(RESTARTS):
        try:
            with tqdm(desc=output.stem, unit="B", unit_scale=True, unit_divisor=1024, disable=None) as bar:
                gdown.download(
                    url=url, output=str(output), quiet=True, use_cookies=False, resume=True, retries=RETRIES,
                    timeout=TIMEOUT, progress=lambda done, total, bar=bar: _show(bar, done, total),
                )  # fmt: skip
            return
        except (RequestException, gdown.exceptions.DownloadError) as error:
            if "did not honor" not in str(error) or attempt == RESTARTS - 1:
                raise _Failed(_reason(error)) from error
            print(f"{url} does not resume; starting again", file=sys.stderr)
            for part in output.parent.glob(f"{output.name}*.part"):
                part.unlink()


def _show(bar: tqdm, done: int, total: int | None) -> None:
    if not bar.n:
        bar.n = bar.initial = done  # the bytes of an earlier call do not count for the speed
    bar.total = total
    bar.update(done - bar.n)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError into a CcliError of one line: the disk is full, or the folder cannot be written to."""
    with os_errors(f"cannot write to {folder}", "choose another --root"):
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise CcliError(
                f"no space left in {folder} ({error.strerror}); free some and run the same command, which resumes"
            ) from error


def _reason(error: Exception) -> str:
    """Why an address failed, in a few words."""
    text, cause = "", error
    while cause is not None:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status:
            return f"HTTP {status}"
        text, cause = f"{text} {type(cause).__name__} {cause}", cause.__cause__ or cause.__context__
    known = {
        "ProxyError": "the proxy refused", "NameResolutionError": "no such host, or no network",
        "refused": "connection refused", "SSLError": "its certificate is not valid", "Timeout": "no answer in time",
        "FileURLRetrievalError": "Google Drive does not give the file now (quota, or not shared)",
        "incomplete": "the connection broke; the same command resumes", "Connection": "the connection broke",
    }  # fmt: skip
    return next((words for key, words in known.items() if key in text), first_line(error))


def what_is_wrong(path: Path, file: File, problem: Callable[[Path], str] = lambda path: "") -> str:
    """Why this is not the file that was asked for, or ""."""
    with path.open("rb") as content:
        head = content.read(512)
    if other := _not_of_its_kind(head, file.name):
        return other
    if file.sums:
        found = [_checksum(path, kind) for kind in dict.fromkeys(s.partition(":")[0] for s in file.sums)]
        if not set(found) & set(file.sums):
            return f"wrong checksum: expected {' or '.join(file.sums)}, found {', '.join(found)}"
    return problem(path)


def _not_of_its_kind(head: bytes, name: str) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "it is empty"
    if start.startswith(PAGE):
        return "it is a web page (a login, quota or error page) and not the file"
    archive = head.startswith((b"PK", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) or head[257:262] == b"ustar"
    if name.endswith((".zip", ".tar", ".tgz", ".gz")) and not archive:
        return "it is not an archive"
    if name.endswith(".json") and not start.startswith((b"{", b"[")):
        return "it is not JSON"
    return ""


def _checksum(path: Path, kind: str) -> str:
    """For example "md5:1d67..."; with a progress bar for a large file."""
    digest = hashlib.new(kind, usedforsecurity=False)
    size = path.stat().st_size
    with path.open("rb") as file, byte_bar(f"Checking {path.name}", size) as bar:
        while block := file.read(1 << 22):
            digest.update(block)
            bar.update(len(block))
    return f"{kind}:{digest.hexdigest()}"


def byte_bar(what: str, total: int) -> tqdm:
    """A progress bar over bytes, shown on a terminal for more than 64 MB."""
    quiet = True if total < 1 << 26 else None
    return tqdm(total=total, desc=what, unit="B", unit_scale=True, unit_divisor=1024, disable=quiet)


def in_words(size: float) -> str:
    """A size in bytes with a unit, such as "94.3 MB"."""
    step = 0
    while size >= 1000 and step < len(UNITS) - 1:
        size, step = size / 1000, step + 1
    return f"{size:.3g} {UNITS[step]}"
