"""Options that no trainer can work with, refused before anything is loaded."""

from pathlib import Path

from ccli.clip.model import PRECISIONS
from ccli.errors import CcliError, nearest, printable
from ccli.results.records import leaves

SPLITS = ("test", "val")
LARGEST = 1e30  # of an option
LARGEST_SEED = 2**32 - 1  # that numpy takes
LONGEST = 255  # bytes of a file's name
MOST_VALUES = 10_000  # of a yaml


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


def refuse_growing(path: str) -> None:
    """Raise ValueError where a yaml's aliases stand for so much that it could not be merged."""
    text = Path(path).read_text(encoding="utf-8")
    if "&" not in text:
        return
    import yaml

    left, count = [yaml.safe_load(text)], 0
    while left:
        value, count = left.pop(), count + 1
        if count > MOST_VALUES:
            raise ValueError(f"its aliases stand for more than {MOST_VALUES} values; write them out")
        left += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []


def refuse_odd(cfg) -> None:
    """Refuse options that are infinite, not a number, or so large that float32 overflows, and text that is none."""
    for key, value in leaves(cfg):
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is None:
                raise CcliError(f"option {key} is None; leave it out to have its default")
            if isinstance(one, float) and not abs(one) <= LARGEST:
                raise CcliError(f"option {key} is {value}; give numbers between {-LARGEST:g} and {LARGEST:g}")
            if isinstance(one, str) and printable(one) != one:
                raise CcliError(f"option {key}: {one!r} is not UTF-8, which no log can hold; give another name")
            if isinstance(one, str) and "\0" in one:
                raise CcliError(f"option {key}: {one!r} holds a zero byte, which no name can; leave it out")
            if isinstance(one, str) and max(len(part.encode()) for part in one.split("/")) > LONGEST:
                raise CcliError(f"option {key}: {one[:20]!r}... is longer than the name of a file may be; shorten it")
    if cfg.SEED > LARGEST_SEED:
        raise CcliError(f"SEED is {cfg.SEED}; it must be {LARGEST_SEED} at most")
