"""ImageNet (Deng et al., 2009): folders named by synset, and classnames.txt; its validation images are the test set.

There is no validation set: CoOp used the test set as one, this does not. CoOp listed the files in the order of the
disk, so its draw cannot be repeated; here they are sorted. DATASET.PICKS takes a published list.
"""

from __future__ import annotations

import re
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from ccli.datasets.common.few_shot import FewShotDataset, Sizes
from ccli.datasets.common.listing import class_folders
from ccli.datasets.common.splits import Item, Pools, read_lines
from ccli.errors import CcliError

NAMES = "classnames.txt"
CLASSES = 1000


class SynsetDataset(FewShotDataset):
    """A data set whose classes are ImageNet's, known by their synset ids."""

    @classmethod
    def synsets(cls, folder: Path) -> dict[str, str]:
        """Class name of each synset, sorted by synset, from classnames.txt here or in the ImageNet beside.

        Raises:
            CcliError: there is no such file, or it is not a list of synsets and names.
        """
        paths = [folder / NAMES, folder.parent / ImageNet.dataset_dir / NAMES]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise CcliError(f"no {paths[0]}: {cls.repair(folder.parent)}")
        lines = read_lines(path)
        names = dict(line.partition(" ")[::2] for line in lines)
        bad = next((line for line in lines if not re.fullmatch(r"n\d{8} \S.*", line)), None)
        if bad is not None or len(names) != len(lines):
            what = f"line {bad!r}" if bad is not None else "a synset occurs twice"
            raise CcliError(f"{path}: {what}; every line is a synset and a name; {cls.repair(folder.parent)}")
        if len(names) != CLASSES:
            raise CcliError(f"{path} has {len(names)} class names, not {CLASSES}; {cls.repair(folder.parent)}")
        return dict(sorted((synset, name.strip()) for synset, name in names.items()))

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
            CcliError: a class folder is missing, empty, or not of a class.
        """
        where, found = folder / cls.image_dir / part, cls.there(folder, part)
        unknown = next((name for name in found if name not in classes), None)
        if unknown is not None:
            raise CcliError(f"{where / unknown} is no class of {cls.__name__}; move that folder away")
        empty = next((name for name in classes if not found.get(name)), None)
        if empty is not None:
            raise CcliError(f"class folder {where / empty} is missing or empty: {cls.repair(folder.parent)}")
        start = f"{part}/" if part else ""
        return [
            (f"{start}{name}/{file}", label, classes[name])
            for label, name in enumerate(classes)
            for file in found[name]
        ]


@DATASET_REGISTRY.register()
class ImageNet(SynsetDataset):
    dataset_dir = short_name = "imagenet"
    image_dir = "images"
    published = Sizes(1000, 1281167, 0, 50000, {"train": (732, 1300), "test": (50, 50)})

    @classmethod
    def read(cls, folder: Path) -> Pools:
        names = cls.synsets(folder)
        train, test = (cls.listed(folder, part, names) for part in ("train", "val"))
        return Pools(train, [], test, list(names))
