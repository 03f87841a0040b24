"""List images in one folder per class, with a cache: a million files are listed without a look at any of them."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ccli.errors import os_errors
from ccli.features.image_folder import SUFFIXES
from ccli.files.atomic import moved_into_place

CACHE = ".ccli_listing_{}.json"


def class_folders(folder: Path, cache_dir: Path) -> dict[str, list[str]]:
    """File names of each class folder in `folder`, both sorted.

    The listing is cached in `cache_dir`; a class folder is read again when its modification time has changed. If the
    cache cannot be written, the folders are listed every time.

    Raises:
        CcliError: the folder is absent or cannot be read.
    """
    cache = cache_dir / CACHE.format(folder.name)
    before = _read_cache(cache)
    with os_errors(f"cannot list the class folders in {folder}"):
        with os.scandir(folder) as entries:
            times = {e.name: e.stat().st_mtime_ns for e in entries if not e.name.startswith(".") and e.is_dir()}
        stale = [name for name, time in times.items() if before.get(name, (None,))[0] != time]
        with ThreadPoolExecutor(16) as pool:  # a network disk serves many requests at once
            now = before | dict(zip(stale, pool.map(lambda name: (times[name], _names(folder / name)), stale)))
    listing = {name: now[name] for name in sorted(times)}
    if stale or len(before) != len(listing):
        _write_cache(cache, listing)
    return {name: joined.split("/") if joined else [] for name, (_, joined) in listing.items()}


def _names(folder: Path) -> str:
    """The image files of a folder, sorted and joined by "/", which no name contains."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.lower().endswith(SUFFIXES) and not e.name.startswith(".")]
    return "/".join(sorted(names))


def _read_cache(path: Path) -> dict[str, tuple[int, str]]:
    """The cached listing; empty if there is none that can be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): (int(time), str(joined)) for name, (time, joined) in data.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}


def _write_cache(path: Path, listing: dict[str, tuple[int, str]]) -> None:
    try:
        with moved_into_place(path) as scratch:
            scratch.write_text(json.dumps(listing), encoding="utf-8")
    except OSError as error:
        print(f"The listing of {path.parent} cannot be cached ({error.strerror or error}); every run lists it again")
