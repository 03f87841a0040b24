"""FeatureBundle: a data set whose images are already features, in one `.npz` (see `ccli.features.bundles`)."""

from functools import lru_cache
from pathlib import Path

import torch
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum

from ccli.datasets.common.draw import draw_train_val, subsample
from ccli.errors import CcliError
from ccli.features.bundles import Bundle, read_bundle


def extend_cfg(cfg) -> None:
    """Add DATASET.BUNDLE, the path of the `.npz`."""
    cfg.DATASET.setdefault("BUNDLE", "")


@DATASET_REGISTRY.register()
class FeatureBundle(DatasetBase):
    """Shots drawn from a bundle's pool. `bundle` holds all features, `rows` the drawn rows of "train" and "val"."""

    test_only = False

    def __init__(self, cfg):
        if not cfg.DATASET.BUNDLE:
            raise CcliError("FeatureBundle needs DATASET.BUNDLE PATH, the path of an .npz")
        path = str(Path(cfg.DATASET.BUNDLE).expanduser())
        if cfg.DATASET.get("PICKS", ""):
            raise CcliError("DATASET.PICKS names image files, which a bundle does not have; leave one of them out")
        bundle, which = _read(path), cfg.DATASET.get("SUBSAMPLE_CLASSES", "all")
        self.short_name = Path(path).stem + (f" ({which})" if which != "all" else "")
        _check_images(path, bundle)
        labels = [[] if split is None else split.labels.tolist() for split in (bundle.train, bundle.val)]
        kept = subsample(range(bundle.num_classes), which)
        rows = draw_train_val(*labels, cfg.DATASET.NUM_SHOTS, cfg.SEED, self.short_name)
        self.bundle = bundle = bundle if which == "all" else bundle.of_classes(kept)
        self.rows = {part: _rows_left(*x, kept) for part, x in zip(("train", "val"), zip(rows, labels))}

        # one Datum for all images of a class, since they are alike
        of_class = [Datum(path, label, classname=name) for label, name in enumerate(bundle.classnames)]

        def items(split, rows=None):
            labels = [] if split is None else (split.labels if rows is None else split.labels[rows]).tolist()
            return [of_class[label] for label in labels]

        super().__init__(
            train_x=items(bundle.train, self.rows["train"]),
            val=items(bundle.val, self.rows["val"]) or None,
            test=items(bundle.test),
        )
        self.class_ids = list(bundle.classnames)


def _check_images(path: str, bundle: Bundle) -> None:
    """Refuse a bundle without images to train or test on."""
    if not len(bundle.test):
        raise CcliError(f"bundle {path} has no test images; a run ends with a test, so add some")
    trained = set(bundle.train.labels.tolist())
    untrained = [name for label, name in enumerate(bundle.classnames) if label not in trained]
    if untrained or not trained:
        what = f"class {untrained[0]!r} has" if untrained else "it has"
        raise CcliError(f"bundle {path}: {what} no training images; give every class at least one")


def _read(path: str) -> Bundle:
    try:
        stat = Path(path).stat()
    except OSError:
        return read_bundle(path)  # raises an error with the reason
    return _read_once(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1)  # the runs of a sweep follow one another in one process
def _read_once(path: str, _size: int, _changed: int) -> Bundle:
    return read_bundle(path, on_disk=True)


def _rows_left(rows: list[int], labels: list[int], kept: dict[int, int]) -> torch.Tensor:
    """The drawn rows, renumbered among the rows of the classes to keep."""
    left = {row: k for k, row in enumerate(row for row, label in enumerate(labels) if label in kept)}
    return torch.tensor([left[row] for row in rows if row in left], dtype=torch.long)
