"""Data sets whose classes are ImageNet's: folders named by synset, and the class names in classnames.txt."""

import re
from pathlib import Path

from ccli.datasets.common.few_shot import FewShotDataset
from ccli.datasets.common.listing import class_folders
from ccli.datasets.common.splits import Item, Pools, read_lines
from ccli.errors import CcliError

NAMES = "classnames.txt"
CLASSES = 1000


def read_synsets(path: Path) -> dict[str, str]:
    """Class name of each synset in a classnames.txt, in the order of its lines.

    Raises:
        CcliError: it cannot be read, or is not a list of 1000 synsets and names.
    """
    lines = read_lines(path)
    bad = next((line for line in lines if not re.fullmatch(r"n\d{8} \S.*", line)), None)
    if bad is not None:
        raise CcliError(f"{path}: {bad[:60]!r} is not a line such as 'n01440764 tench'")
    names = {synset: name.strip() for synset, _, name in (line.partition(" ") for line in lines)}
    if not len(names) == len(lines) == CLASSES:
        raise CcliError(f"{path} has {len(lines)} lines with {len(names)} synsets; expected {CLASSES}")
    return names


class SynsetDataset(FewShotDataset):
    """A data set whose classes are ImageNet's, known by their synset ids: a test set, unless `read` is overridden."""

    @classmethod
    def read(cls, folder: Path) -> Pools:
        names = cls.synsets(folder)
        return Pools([], [], cls.listed(folder, "", names), list(names))

    @classmethod
    def synsets(cls, folder: Path) -> dict[str, str]:
        """Class name of each synset, sorted by synset, from classnames.txt here or in the ImageNet folder beside.

        Raises:
            CcliError: no such file, or not a list of synsets and names.
        """
        paths = [folder / NAMES, folder.parent / "imagenet" / NAMES]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise CcliError(f"no {paths[0]}: {cls.repair(folder.parent)}")
        try:
            return dict(sorted(read_synsets(path).items()))
        except CcliError as error:
            raise CcliError(f"{error}; {cls.repair(folder.parent)}") from error

    @classmethod
    def there(cls, folder: Path, part: str = "") -> dict[str, list[str]]:
        """The class folders in image_dir/part and the images in them."""
        where = folder / cls.image_dir / part
        if not where.is_dir():
            raise CcliError(f"no folder {where}: {cls.repair(folder.parent)}")
        return class_folders(where, folder)

    @classmethod
    def listed(cls, folder: Path, part: str, classes: dict[str, str]) -> list[Item]:
        """Items of the class folders in image_dir/part; `classes` gives their names, in the order of the labels.

        Raises:
            CcliError: a class folder is missing, empty, or of no known class.
        """
        where, found = folder / cls.image_dir / part, cls.there(folder, part)
        unknown = next((name for name in found if name not in classes), None)
        if unknown is not None:
            raise CcliError(f"{where / unknown} is not a class of {cls.__name__}; move that folder away")
        empty = next((name for name in classes if not found.get(name)), None)
        if empty is not None:
            raise CcliError(f"class folder {where / empty} is missing or empty: {cls.repair(folder.parent)}")
        start = f"{part}/" if part else ""
        return [
            (f"{start}{name}/{file}", label, classes[name])
            for label, name in enumerate(classes)
            for file in found[name]
        ]
