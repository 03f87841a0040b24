"""The data-set registry."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode

from dassl.utils import Registry

DATASET_REGISTRY = Registry("DATASET")


def build_dataset(cfg: CfgNode) -> Any:
    """Build the data set that `cfg.DATASET.NAME` names."""
    dataset_class = DATASET_REGISTRY.get(cfg.DATASET.NAME)
    if cfg.VERBOSE:
        print(f"Loading dataset: {cfg.DATASET.NAME}")
    return dataset_class(cfg)
