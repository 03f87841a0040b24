"""Split files: the images of a data set for training, validation and test, and their classes."""

import json
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ccli.errors import CcliError, in_one_line, os_errors

NOT_SUCH_JSON = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
PARTS = ("train", "val", "test")
Item = tuple[str, int, str]  # path below the folder of the images, label, class name


class Pools(NamedTuple):
    """All images of a data set, and ids of its classes that are shared across data sets (one per label)."""

    train: list[Item]
    val: list[Item]
    test: list[Item]
    class_ids: list[str] | None = None


def read_split(path: str | Path) -> Pools:
    """A CoOp split file: {"train": [[path, label, classname], ...], "val", "test"}, in its own order.

    Raises:
        CcliError: no such file, not a split file, a path that leads out of the data set's folder, or labels that jump.
    """
    path = Path(path)
    if not path.is_file():
        raise CcliError(f"no split file {path}; DATASETS.md says where to get it (none is ever made up)")
    remedy = "it needs train, val and test with [path, label, class name] entries"
    with in_one_line(NOT_SUCH_JSON, f"{path} is not a split file", remedy, longest=300):
        with os_errors(f"{path} cannot be read"):
            data = json.loads(path.read_text(encoding="utf-8-sig"))
        pools = Pools(*([_item(*entry) for entry in data[part]] for part in PARTS))
        check_labels(pools)
        return pools


def _item(path: str, label: int, name: str) -> Item:
    if not isinstance(label, int) or isinstance(label, bool) or label < 0:
        raise ValueError(f"label {label!r} of {path!r}")
    if not (isinstance(path, str) and isinstance(name, str)):
        raise ValueError(f"path {path!r} and class name {name!r} must be text")
    if "\\" in path:
        raise ValueError(f"path {path!r} has a backslash; write / between folders")
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\0" in path:
        raise ValueError(f"path {path!r} leads out of the data set's folder")
    f"{path}{name}".encode()  # refuses half a surrogate pair
    return path, label, name


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty, stripped.

    Raises:
        CcliError: it cannot be read, or is not UTF-8.
    """
    with in_one_line((OSError, UnicodeDecodeError), f"{path} cannot be read"):
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def check_labels(pools: Pools) -> None:
    """Check that labels are 0 .. n-1 with one name each, and that every class has training images (if any has).

    Raises:
        ValueError: the first problem.
    """
    names: dict[int, str] = {}
    for path, label, name in (item for part in pools[:3] for item in part):
        if names.setdefault(label, name) != name:
            raise ValueError(f"label {label} is called {names[label]!r} and, for {path!r}, {name!r}")
    if not names:
        raise ValueError("there are no images")
    if not pools.test:
        raise ValueError("there are no test images")
    if max(names) >= len(names):
        missing = next(label for label in range(len(names)) if label not in names)
        raise ValueError(f"labels jump: the highest is {max(names)}, and {missing} does not occur")
    untrained = sorted(names.keys() - {label for _, label, _ in pools.train})
    if pools.train and untrained:
        raise ValueError(f"class {untrained[0]} ({names[untrained[0]]!r}) has no training image")
