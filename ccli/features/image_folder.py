"""A folder of somebody's own pictures, one folder per class: its images, its fingerprint, and its duplicates.

Two layouts: ROOT/train/CLASS, ROOT/test/CLASS and perhaps ROOT/val/CLASS, or ROOT/CLASS alone. To be tested, and not
trained on, ROOT/test/CLASS alone will do.
"""

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ccli.errors import CcliError, os_errors
from ccli.features.decoding import digest, shown

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".ppm", ".pgm",
    ".pbm", ".pnm", ".tga", ".ico",
)  # fmt: skip
PARTS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}
CLASSES = "classes.json"  # what the classes are called, and how a sentence speaks of them


class Listing(NamedTuple):
    """The class folders below a folder."""

    images: dict[str, dict[str, int]]  # class folder -> file name -> bytes; both sorted
    others: list[str]  # CLASS/NAME of entries in class folders whose suffix is not an image's
    loose: list[str]  # images beside the class folders, which have no class


def place_of(folder: str, root: str) -> Path:
    """The absolute path of the pictures: `folder`, or `root` if `folder` is empty."""
    return Path(os.path.abspath(Path(folder or root).expanduser()))


def name_of(folder: Path) -> str:
    """The name of a data set that is a folder."""
    return folder.name or "folder"


def parts_of(folder: Path) -> dict[str, str]:
    """The folders that hold class folders: part -> its folder's name, or {"": ""} for `folder` itself.

    Parts are called by any name in PARTS, in any case. Without a train folder they are parts where there are no other
    folders, and they hold folders and no pictures.

    Raises:
        CcliError: two folders are for one part.
    """
    part_of = {name: part for part, names in PARTS.items() for name in names}
    folders = [entry.name for entry in _entries(folder)[0]]
    found = {part: [name for name in folders if part_of.get(name.lower()) == part] for part in PARTS}
    alone = all(name.lower() in part_of and _holds_folders(folder / name) for name in folders)
    if not found["train"] and not (folders and alone):
        return {"": ""}
    for part, names in found.items():
        if len(names) > 1:
            both = f"{shown(folder / names[0])} and {shown(folder / names[1])}"
            raise CcliError(f"{both} are both for {part}; put their class folders into one of them")
    return {part: names[0] for part, names in found.items() if names}


def others_of(folder: Path, parts: dict[str, str]) -> list[str]:
    """Folders beside those of the parts."""
    return [entry.name for entry in _entries(folder)[0] if parts != {"": ""} and entry.name not in parts.values()]


def _holds_folders(folder: Path) -> bool:
    folders, files = _entries(folder)
    return bool(folders) and not any(map(_is_image, files))


def list_images(folder: Path) -> Listing:
    """The class folders in `folder`, without hidden files and folders. Raises CcliError where one cannot be read."""
    images, others = {}, []
    folders, loose = _entries(folder)
    for entry in folders:
        below, files = _entries(entry.path)
        images[entry.name] = {file.name: file.stat().st_size for file in files if _is_image(file)}
        others += [f"{entry.name}/{rest.name}" for rest in below + files if rest.name not in images[entry.name]]
    return Listing(images, others, [entry.name for entry in loose if _is_image(entry)])


def _entries(folder: str | Path) -> tuple[list[os.DirEntry], list[os.DirEntry]]:
    """The folders and the other entries of a folder, each sorted by name."""
    with os_errors(f"cannot list folder {shown(folder)}"), os.scandir(folder) as found:
        entries = sorted((e for e in found if not e.name.startswith(".")), key=lambda e: e.name)
        return [e for e in entries if e.is_dir()], [e for e in entries if not e.is_dir()]


def _is_image(entry: os.DirEntry) -> bool:
    return entry.name.lower().endswith(SUFFIXES) and entry.is_file()


def stamp(folder: Path) -> str:
    """The folder's name and the start of a SHA-256 over paths and sizes of its images and over its classes.json.

    The name alone where there is no such folder.
    """
    if not folder.is_dir():
        return name_of(folder)
    sizes = []
    for part in parts_of(folder).values():
        for name, files in list_images(folder / part).images.items():
            sizes += [(os.path.join(part, name, file), size) for file, size in files.items()]
    lines = "".join(f"{path}\0{size}\n" for path, size in sorted(sizes))
    digest = hashlib.sha256(lines.encode("utf-8", "surrogateescape"))
    if (folder / CLASSES).is_file():
        digest.update((folder / CLASSES).read_bytes())
    return f"{name_of(folder)} {digest.hexdigest()[:16]}"


@lru_cache(maxsize=4)  # the runs of a sweep follow one another in one process
def same_pictures(folder: Path, sizes: tuple[tuple[str, int], ...]) -> list[list[str]]:
    """Groups of two or more files with the same bytes; only files of equal size are read.

    Args:
        sizes: (path below `folder`, bytes).

    Raises:
        CcliError: a file cannot be read.
    """
    by_size: dict[int, list[str]] = {}
    for path, size in sizes:
        by_size.setdefault(size, []).append(path)
    by_content: dict[str, list[str]] = {}
    for path in (path for alike in by_size.values() if len(alike) > 1 for path in alike):
        by_content.setdefault(digest(folder / path), []).append(path)
    return [alike for alike in by_content.values() if len(alike) > 1]
