"""The base of the few-shot data sets: the folder, the draw, base and new classes, and errors that name the repair."""

import os
import shlex
from pathlib import Path
from typing import NamedTuple

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum

from ccli.datasets.common.draw import draw_train_val, read_picks, subsample
from ccli.datasets.common.splits import Item, Pools, check_labels, read_split
from ccli.errors import CcliError, in_one_line, warn
from ccli.features.decoding import BENCHMARK

register = DATASET_REGISTRY.register()  # a decorator: cfg.DATASET.NAME is the name of the class


def extend_cfg(cfg) -> None:
    """Add the keys that the few-shot data sets share."""
    cfg.DATASET.setdefault("SUBSAMPLE_CLASSES", "all")  # all | base | new: CoCoOp's halves of the classes
    cfg.DATASET.setdefault("PICKS", "")  # a published list of picks (JSON) in place of the draw


class Sizes(NamedTuple):
    """Published sizes: classes, images of each part, and, if known, the fewest and most images per class."""

    classes: int
    train: int
    val: int
    test: int
    per_class: dict[str, tuple[int, int]] = {}


class FewShotDataset(DatasetBase):
    """A data set with few training images per class, in a folder below cfg.DATASET.ROOT.

    A subclass sets the names below; without a split file, it overrides `read`. Only images that a run uses are looked
    for on the disk.
    """

    dataset_dir = ""  # below the root
    image_dir = "."  # below dataset_dir: the start of the paths in the split file
    short_name = ""  # in records and tables, and the name of its yaml
    published: Sizes | None = None
    test_only = False
    decoding = BENCHMARK  # how its images are read (ccli/features/decoding.py)

    def __init__(self, cfg):
        folder, pools = self.pools(cfg)
        self.check_classes(folder, pools)
        self.compare_sizes(pools, folder)
        which = cfg.DATASET.get("SUBSAMPLE_CLASSES", "all")
        relabel = subsample((label for part in pools[:3] for _, label, _ in part), which)
        train, val = ([], []) if self.test_only else self.draw(cfg, pools)
        test = self.items(folder, pools.test, relabel)
        super().__init__(
            train_x=test if self.test_only else self.items(folder, [pools.train[r] for r in train], relabel),
            val=self.items(folder, [pools.val[r] for r in val], relabel),
            test=test,
        )
        ids = pools.class_ids
        self.class_ids = [ids[old] for old in relabel] if ids else list(self.classnames)
        if which != "all":
            self.short_name = f"{self.short_name} ({which})"

    def pools(self, cfg) -> tuple[Path, Pools]:
        """The data set's folder, and all images in it."""
        folder = self.folder(cfg.DATASET.ROOT or ".")
        return folder, self.read(folder)

    @classmethod
    def folder(cls, root: str | Path) -> Path:
        """The data set's folder below `root`.

        Raises:
            CcliError: the folder does not exist.
        """
        root = Path(root).expanduser().absolute()
        folder = root / cls.dataset_dir
        if folder.is_dir():
            return folder
        hint = f"; did you mean --root {root.parent}?" if root.name == Path(cls.dataset_dir).name else ""
        raise CcliError(f"no folder {folder}{hint or ': give the --root that holds it, or ' + cls.repair(root)}")

    @classmethod
    def split_name(cls) -> str:
        return f"split_zhou_{cls.__name__}.json"

    @classmethod
    def split_file(cls, root: str | Path) -> Path:
        """The path of the split file, for data sets that have one."""
        return Path(root or ".").expanduser() / cls.dataset_dir / cls.split_name()

    @classmethod
    def read(cls, folder: Path) -> Pools:
        """All images, from the data set's own lists."""
        path = folder / cls.split_name()
        if not path.is_file():
            raise CcliError(f"no split file {path} (none is ever made up): {cls.repair(folder.parent)}")
        return read_split(path)

    @classmethod
    def repair(cls, root: str | Path) -> str:
        """A remedy for errors: the command that completes this data set."""
        return f"`python download.py {cls.short_name} --root {shlex.quote(str(root))}` completes it"

    @classmethod
    def check_classes(cls, folder: Path, pools: Pools) -> None:
        """Refuse lists that are not of this data set.

        Raises:
            CcliError: the number of classes is not the published one.
        """
        with in_one_line(ValueError, f"the lists in {folder} are wrong", cls.repair(folder.parent)):
            check_labels(pools)
        found = len({label for part in pools[:3] for _, label, _ in part})
        if cls.published and found != cls.published.classes:
            raise CcliError(
                f"{folder} lists {found} classes, but {cls.__name__} has {cls.published.classes}: it is incomplete or "
                f"of another data set; move the wrong files away, then {cls.repair(folder.parent)}"
            )

    def compare_sizes(self, pools: Pools, folder: Path) -> None:
        """Warn if the number of listed images is not the published one."""
        here = tuple(len(part) for part in pools[:3])
        if self.published and here != self.published[1:4]:
            told = [" / ".join(f"{n:,}" for n in sizes) for sizes in (here, self.published[1:4])]
            warn(
                f"{self.short_name}: {told[0]} images to train, validate and test, {told[1]} are published: results "
                f"on it are not comparable with others; {self.repair(folder.parent)}"
            )

    def draw(self, cfg, pools: Pools) -> tuple[list[int], list[int]]:
        """Rows of the training and validation pools."""
        picks, shots = cfg.DATASET.get("PICKS", ""), cfg.DATASET.NUM_SHOTS
        if picks:
            return read_picks(picks, pools.train, pools.val, shots)
        labels = [[label for _, label, _ in pool] for pool in (pools.train, pools.val)]
        return draw_train_val(*labels, shots, cfg.SEED, self.short_name)

    def items(self, folder: Path, items: list[Item], relabel: dict[int, int]) -> list[Datum]:
        """`items` of the classes to keep, as Dassl's Datum, whose files exist."""
        where = os.path.normpath(folder / self.image_dir)
        kept = [(os.path.join(where, path), relabel[label], name) for path, label, name in items if label in relabel]
        try:
            return [Datum(impath=path, label=label, classname=name) for path, label, name in kept]
        except (FileNotFoundError, AssertionError) as error:  # the latter is upstream Dassl's
            raise CcliError(self._missing(folder, [path for path, _, _ in kept])) from error

    def _missing(self, folder: Path, paths: list[str]) -> str:
        gone = [path for path in paths if not os.path.isfile(path)]
        parent = Path(gone[0]).parent
        while not os.path.isdir(parent.parent):
            parent = parent.parent
        first = gone[0] if os.path.isdir(parent) else f"{gone[0]} (there is no folder {parent})"
        repair = self.repair(folder.parent)
        return f"{len(gone)} of {len(paths)} images of {self.short_name} are missing, first {first}; {repair}"
