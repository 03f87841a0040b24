"""FeatureBundle: a data set whose images are already features, in one `.npz` (see `ccli.bundles`)."""

from __future__ import annotations

from pathlib import Path

import torch
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum

from ccli.bundles import read_bundle
from ccli.errors import CcliError

from .few_shot import draw_train_val


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
        self.bundle = bundle = read_bundle(path)
        self.short_name = Path(path).stem
        val = bundle.val.labels.tolist() if bundle.val is not None else []
        train, val_rows = draw_train_val(
            bundle.train.labels.tolist(), val, cfg.DATASET.NUM_SHOTS, cfg.SEED, self.short_name
        )
        self.rows = {"train": torch.tensor(train), "val": torch.tensor(val_rows, dtype=torch.long)}

        def items(split, rows=None):
            labels = [] if split is None else split.labels.tolist()
            labels = labels if rows is None else [labels[r] for r in rows]
            return [Datum(impath=path, label=label, classname=bundle.classnames[label]) for label in labels]

        super().__init__(
            train_x=items(bundle.train, train), val=items(bundle.val, val_rows) or None, test=items(bundle.test)
        )
        self.class_ids = list(bundle.classnames)
