"""Whether lists are the published ones, where no checksum of them is known, and whether their images are there."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

from ccli.datasets.common.few_shot import FewShotDataset
from ccli.datasets.common.splits import read_split
from ccli.datasets.imagenet import SynsetDataset
from ccli.errors import CcliError

IMAGENET_CLASSES, FIRST_SYNSET = 1000, "n01440764"


def loader_of(name: str) -> type[FewShotDataset]:
    """The loader of a data set, by the name of its module."""
    module = importlib.import_module(f"ccli.datasets.{name}")
    return next(kind for kind in vars(module).values() if getattr(kind, "short_name", "") == name)


def incomplete(name: str, folder: Path) -> set[str]:
    """Files and folders at the top of a data set's folder in which images are missing, as far as its lists tell."""
    loader = loader_of(name)
    try:
        pools = loader.read(folder)
        loader.check_classes(folder, pools)
    except CcliError:  # without a list there is nothing to miss; a class folder is missed when the list is of folders
        return {loader.image_dir} if issubclass(loader, SynsetDataset) else set()
    if issubclass(loader, SynsetDataset):
        return set()
    paths = {Path(loader.image_dir, path) for part in pools[:3] for path, _, _ in part}
    return {path.parts[0] for path in paths if not os.path.isfile(folder / path)}


def split_problem(path: Path, module: str) -> str:
    """What tells a split file from the published one, or "".

    Args:
        module: the data set's loader in ccli.datasets, which says the published sizes.
    """
    published = loader_of(module).published
    try:
        pools = read_split(path)
    except CcliError as error:
        return str(error)
    classes = len({label for part in pools[:3] for _, label, _ in part})
    found = (classes, *(len(part) for part in pools[:3]))
    if found == tuple(published[:4]):
        return ""
    said = "{} classes and {} / {} / {} images to train, validate and test"
    return f"it has {said.format(*found)}; the published one has {said.format(*published[:4])}"


def names_problem(path: Path) -> str:
    """What tells a list of ImageNet's class names from CoOp's classnames.txt, or ""."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        return "it is not text"
    bad = [line for line in lines if not re.fullmatch(r"n\d{8} \S.*", line)]
    if bad:
        return f"{bad[0][:60]!r} is not a line such as '{FIRST_SYNSET} tench'"
    synsets = [line.split()[0] for line in lines]
    if len(lines) != IMAGENET_CLASSES or len(set(synsets)) != IMAGENET_CLASSES:
        return f"it has {len(lines)} lines with {len(set(synsets))} synsets; expected {IMAGENET_CLASSES}"
    if synsets != sorted(synsets) or synsets[0] != FIRST_SYNSET:
        return f"its synsets are not in order from {FIRST_SYNSET}"
    return ""


def synsets_in(folder: Path) -> set[str]:
    """The synsets of ImageNet's classes, from the classnames.txt in a folder; none where it is absent or wrong."""
    path = folder / "classnames.txt"
    if not path.is_file() or names_problem(path):
        return set()
    return {line.split()[0] for line in path.read_text(encoding="utf-8").splitlines()}
