"""Files, seeds and a description of the machine."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import platform
import random
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from PIL import Image

PACKAGES_TO_REPORT = ("torch", "torchvision", "numpy", "pillow", "scikit-learn", "yacs", "open_clip_torch")


def mkdir_if_missing(dirname: str) -> None:
    """Create a folder and its parents. An empty name is the current folder, which is there already."""
    if dirname:
        os.makedirs(dirname, exist_ok=True)


def check_isfile(fpath: str) -> bool:
    """Whether the path is a file; warns where it is not."""
    isfile = os.path.isfile(fpath)
    if not isfile:
        warnings.warn(f'No file found at "{fpath}"', stacklevel=2)
    return isfile


@contextlib.contextmanager
def atomic_path(fpath: str) -> Iterator[str]:
    """Give a temporary path in the folder of `fpath`, which takes the name of `fpath` once the block ends well.

    A reader, or a process killed half-way, sees the old file or the new one and never a part of one.
    """
    folder = os.path.dirname(os.path.abspath(fpath))
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(fpath)}.", suffix=".tmp")
    os.close(handle)
    try:
        with named(fpath):
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())  # the name must never point at bytes that are not on the disk yet
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only the owner may read
            os.replace(temporary, fpath)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise


@contextlib.contextmanager
def named(fpath: str) -> Iterator[None]:
    """A disk's error in the block names `fpath`: that of a write names nothing."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = fpath, None
        raise


def _umask() -> int:
    """The umask can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def read_json(fpath: str) -> Any:
    """Read a json file."""
    with open(fpath, encoding="utf-8") as file:
        return json.load(file)


def write_json(obj: Any, fpath: str) -> None:
    """Write a json file, atomically; makes its folder."""
    with atomic_path(fpath) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(obj, file, indent=4, separators=(",", ": "))


def set_random_seed(seed: int) -> None:
    """Seed Python, numpy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # seeds every CUDA device too


def read_image(path: str) -> Image.Image:
    """Read an image file as RGB.

    Raises:
        FileNotFoundError: no such file.
        OSError: the file is there and is not a readable image; the message names it.
    """
    from PIL import Image

    if not os.path.exists(path):
        raise FileNotFoundError(f'No image at "{path}"')
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise OSError(f'Cannot read the image "{path}": {error}') from error


def listdir_nohidden(path: str, sort: bool = False) -> list[str]:
    """Names in a folder, without those that start with a dot."""
    items = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(items) if sort else items


def check_availability(requested: str, available: Iterable[str]) -> None:
    """Raise ValueError, with the nearest name and the list, where `requested` is not in `available`."""
    names = list(available)
    if requested in names:
        return
    by_folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(str(requested).casefold(), by_folded, n=1, cutoff=0.4)
    hint = f" Did you mean {by_folded[close[0]]!r}?" if close else ""
    known = ", ".join(names) if names else "none (is the module that registers it imported?)"
    raise ValueError(f"Unknown name {requested!r}.{hint} Known: {known}")


def tolist_if_not(x: Any) -> list:
    """A list unchanged; anything else as a list of one."""
    return x if isinstance(x, list) else [x]


def collect_env_info() -> str:
    """Versions and hardware, one per line. Takes milliseconds: it starts no other program."""
    lines = [f"Python: {sys.version.split()[0]}", f"OS: {platform.platform()}"]
    for name in PACKAGES_TO_REPORT:
        with contextlib.suppress(metadata.PackageNotFoundError):
            lines.append(f"{name}: {metadata.version(name)}")
    lines.append(f"CPUs: {os.cpu_count()}, torch threads: {torch.get_num_threads()}")
    lines.append(f"CUDA build: {torch.version.cuda or 'none'}, available: {torch.cuda.is_available()}")
    lines += [f"GPU {i}: {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return "\n".join(lines)
