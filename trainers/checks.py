"""Options that no trainer can work with, refused before anything is loaded."""

from __future__ import annotations

from ccli.clip import PRECISIONS
from ccli.errors import CcliError, nearest

SPLITS = ("test", "val")


def check_common(cfg) -> None:
    """What all feature trainers read.

    Raises:
        CcliError: naming the first option that cannot be.
    """
    for loader in ("TRAIN_X", "TEST"):
        if cfg.DATALOADER[loader].BATCH_SIZE < 1:
            raise CcliError(f"DATALOADER.{loader}.BATCH_SIZE is {cfg.DATALOADER[loader].BATCH_SIZE}; give 1 or more")
    if cfg.TRAIN.PRINT_FREQ < 1:
        raise CcliError(f"TRAIN.PRINT_FREQ is {cfg.TRAIN.PRINT_FREQ}; it must be 1 or more")
    if not (cfg.OPTIM.LR > 0 and cfg.OPTIM.WEIGHT_DECAY >= 0):
        raise CcliError(
            f"OPTIM.LR is {cfg.OPTIM.LR} and OPTIM.WEIGHT_DECAY {cfg.OPTIM.WEIGHT_DECAY}; the first must be above 0, "
            "the second 0 or more"
        )
    for key, value, known in (
        ("TEST.SPLIT", cfg.TEST.SPLIT, SPLITS), ("FEATURES.PRECISION", cfg.FEATURES.PRECISION, PRECISIONS),
    ):  # fmt: skip
        if value not in known:
            raise CcliError(f"unknown {key} {value!r}; use {', '.join(known)}.{nearest(value, known)}")
    if cfg.TEST.FINAL_MODEL != "last_step":
        raise CcliError(
            f"TEST.FINAL_MODEL {cfg.TEST.FINAL_MODEL!r}: {cfg.TRAINER.NAME} is tested with its last_step, "
            "with what PROTOCOL has chosen"
        )
    _check_crops(cfg.FEATURES)


def _check_crops(node) -> None:
    if node.CROPS < 0:
        raise CcliError(f"FEATURES.CROPS is {node.CROPS}; it must be 0 (the centre crop) or more")
    if not (are_numbers(node.CROP) and len(node.CROP) == 2 and 0 < node.CROP[0] <= node.CROP[1] <= 1):
        raise CcliError(f"FEATURES.CROP {tuple(node.CROP)} must be two shares of the area, 0 < low <= high <= 1")


def are_numbers(values) -> bool:
    """Whether an option that holds several values holds numbers alone."""
    return all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)
