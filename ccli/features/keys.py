"""What the store knows an image by, and the folder that it lies in by default.

The images of a benchmark are known by their path below the data's folder, their size and their time of change, so that
nothing has to be read to know that they are there. Other pictures are known by their content, wherever they lie. Their
digests are rows of the store themselves, under path, size and time of change: a file is read again when it changed.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ccli.errors import CcliError, in_one_line
from ccli.features.decoding import digest, shown

DIGESTS = {"digests": 1, "row": "SHA-256 of a file, a number per byte"}  # spec of the store's index
BLOCK = 1024  # digests per block of the store


class ImageKey(NamedTuple):
    """path: where the image is; stamp: path|size|time of change; content: its SHA-256, "" where it is not needed."""

    path: str | Path
    stamp: str
    content: str = ""

    @property
    def name(self) -> str:
        """What the image's rows are kept under."""
        return self.content or self.stamp

    @property
    def seed(self) -> str:
        """What its random crops depend on."""
        return self.content or self.stamp.rsplit("|", 2)[0]


class UnreadableImages(CcliError):
    """Some images cannot be read; `errors` has the reason for each path."""

    def __init__(self, errors: dict[str | Path, CcliError]):
        more = f" (and {len(errors) - 1} more that cannot be read)" if len(errors) > 1 else ""
        super().__init__(f"{next(iter(errors.values()))}{more}")
        self.errors = errors


def default_store() -> Path:
    """The environment's CCLI_STORE, else ccli in the user's cache folder (XDG_CACHE_HOME or ~/.cache)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("CCLI_STORE") or cache / "ccli").expanduser()


def image_stamp(path: str | Path, below: str = "") -> str:
    """An image's path without the prefix `below`, its size and its time of change. Links are not followed.

    Raises CcliError where it is not there (named).
    """
    failures = (OSError, ValueError)  # the latter of a zero byte in the name
    with in_one_line(failures, f"image {shown(path)} cannot be read", "check its name and folder"):
        stat = os.stat(path)
    return f"{os.path.abspath(path).removeprefix(below)}|{stat.st_size}|{stat.st_mtime_ns}"


def images_stamp(paths: Iterable[str | Path], root: str | Path) -> str:
    """16 hex digits that change when one of these images is another file: by path, size and time of change."""
    below = os.path.join(os.path.abspath(root), "")
    lines = sorted({image_stamp(path, below) for path in paths})
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def keys_by_path(paths: Sequence[str | Path], below: str) -> list[ImageKey]:
    """Raises UnreadableImages, as `keys_by_content`."""
    found = _each(paths, lambda path: image_stamp(path, below))
    return [ImageKey(path, found[path]) for path in paths]


def keys_by_content(paths: Sequence[str | Path], rows: Callable) -> list[ImageKey]:
    """The keys of pictures, whose digests are read from the store or from the files.

    Args:
        rows: `RowStore.rows` of the index.

    Raises:
        UnreadableImages: some are not there, or cannot be read; the digests of the others are kept.
    """

    def read(path: str | Path) -> bytes:
        content = digest(path)
        if image_stamp(path) != stamps[path]:
            raise changed(path)
        return bytes.fromhex(content)

    def encode(missing: list[int]) -> Iterator[tuple[list[int], torch.Tensor]]:
        errors: dict[str | Path, CcliError] = {}
        for start in range(0, len(missing), BLOCK):
            some = missing[start : start + BLOCK]
            found = _each([paths[k] for k in some], read, errors)
            some = [k for k in some if paths[k] in found]
            if some:
                yield some, torch.tensor([list(found[paths[k]]) for k in some])
        if errors:
            raise UnreadableImages(errors)

    stamps = _each(paths, image_stamp)
    contents = rows([stamps[path] for path in paths], encode).byte().numpy()
    return [ImageKey(path, stamps[path], row.tobytes().hex()) for path, row in zip(paths, contents)]


def changed(path: str | Path) -> CcliError:
    return CcliError(f"image {shown(path)} changed while it was encoded; start again")


def _each(paths: Iterable[str | Path], of: Callable, errors: dict | None = None) -> dict:
    """path -> of(path); the reasons of those that fail go to `errors`, or are raised where it is None."""
    found, failed = {}, {} if errors is None else errors
    for path in paths:
        try:
            found[path] = of(path)
        except CcliError as error:
            failed[path] = error
    if errors is None and failed:
        raise UnreadableImages(failed)
    return found
