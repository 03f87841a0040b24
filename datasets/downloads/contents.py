"""Compare lists without a known checksum with the published ones, and find data sets with missing images."""

import importlib
import os
from pathlib import Path

from ccli.datasets.common.few_shot import FewShotDataset
from ccli.datasets.common.splits import read_split
from ccli.datasets.common.synsets import NAMES, SynsetDataset, read_synsets
from ccli.errors import CcliError

FIRST_SYNSET = "n01440764"


def loader_of(name: str) -> type[FewShotDataset]:
    """The loader of a data set, by the name of its module."""
    module = importlib.import_module(f"ccli.datasets.{name}")
    return next(kind for kind in vars(module).values() if getattr(kind, "short_name", "") == name)


def incomplete(name: str, folder: Path) -> set[str]:
    """Files and folders at the top of a data set's folder that lack images of its lists."""
    loader = loader_of(name)
    try:
        pools = loader.read(folder)
        loader.check_classes(folder, pools)
    except CcliError:  # without a list nothing can be missing; a list of folders misses a class folder
        return {loader.image_dir} if issubclass(loader, SynsetDataset) else set()
    if issubclass(loader, SynsetDataset):
        return set()
    paths = {Path(loader.image_dir, path) for part in pools[:3] for path, _, _ in part}
    return {path.parts[0] for path in paths if not os.path.isfile(folder / path)}


def split_problem(path: Path, module: str) -> str:
    """How the sizes of a split file differ from the published ones, or "".

    Args:
        module: the data set's module in ccli.datasets.
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
    """How a list of ImageNet's class names differs from CoOp's classnames.txt, or ""."""
    try:
        synsets = list(read_synsets(path))
    except CcliError as error:
        return str(error)
    if synsets != sorted(synsets) or synsets[0] != FIRST_SYNSET:
        return f"its synsets are not in order from {FIRST_SYNSET}"
    return ""


def synsets_in(folder: Path) -> set[str]:
    """The synsets in a folder's classnames.txt, or an empty set if it is absent or wrong."""
    path = folder / NAMES
    return set(read_synsets(path)) if path.is_file() and not names_problem(path) else set()
