"""What few-shot data sets share: the split file, the published draw, and the items a trainer sees."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from dassl.data.datasets import DatasetBase, Datum

from ccli.errors import CcliError

PARTS = ("train", "val", "test")
MAX_VAL_SHOTS = 4
Item = tuple[str, int, str]  # path, label, class name


def read_split(path: str | Path) -> dict[str, list[Item]]:
    """A CoOp split file: {"train": [[path, label, classname], ...], "val", "test"}, in its own order.

    Raises:
        CcliError: no such file, or not a split file.
    """
    path = Path(path)
    if not path.is_file():
        raise CcliError(f"no split file {path}; DATASETS.md says where to get it (none is ever made up)")
    try:
        data = json.loads(path.read_text())
        return {part: [(str(p), _label(label), str(name)) for p, label, name in data[part]] for part in PARTS}
    except (ValueError, KeyError, TypeError) as error:
        raise CcliError(
            f"{path} is not a split file ({type(error).__name__}: {error}); expected train, val and test with "
            "[path, label, class name] entries"
        ) from error


def _label(value) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"label {value!r}")
    return value


def draw(labels: Sequence[int], shots: int, rng: random.Random) -> list[int]:
    """Rows of `shots` random images per label: `sample` per label, in the order in which labels first appear.

    This is the draw of CoOp and of every paper in its line. A class with fewer gives all that it has; `shots` below 1
    gives every row.
    """
    if shots < 1:
        return list(range(len(labels)))
    rows: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    return [
        r for of_label in rows.values() for r in (rng.sample(of_label, shots) if len(of_label) >= shots else of_label)
    ]


def draw_train_val(
    train: Sequence[int], val: Sequence[int], shots: int, seed: int, name: str
) -> tuple[list[int], list[int]]:
    """Rows of the few-shot training and validation sets (min(shots, 4) a class), both from one random stream.

    Args:
        train, val: the labels of both pools.
        seed: below 0 draws differently each time.
        name: of the data set, for the message where a class has too few images.
    """
    rng = random.Random(seed) if seed >= 0 else random.Random()
    picked = draw(train, shots, rng)
    counts = {label: 0 for label in train}
    for label in train:
        counts[label] += 1
    few = sum(count < shots for count in counts.values())
    if few:
        print(f"{name}: {few} of {len(counts)} classes have fewer than {shots} training images; all they have are used")
    return picked, draw(val, min(shots, MAX_VAL_SHOTS) if shots >= 1 else shots, rng)


class FewShotDataset(DatasetBase):
    """A data set with few training images a class, in a folder below cfg.DATASET.ROOT.

    Subclasses set `dataset_dir` and `short_name`. `class_ids` (one per label) tell which classes two data sets share.

    Args:
        items: train, val and test as `read_split` gives them, with paths that exist.
    """

    dataset_dir = ""
    short_name = ""
    test_only = False

    def __init__(self, cfg, items: dict[str, list[Item]], class_ids: list[str] | None = None):
        labels = {part: [label for _, label, _ in items[part]] for part in PARTS}
        train, val = draw_train_val(labels["train"], labels["val"], cfg.DATASET.NUM_SHOTS, cfg.SEED, self.short_name)
        test = [_datum(item) for item in items["test"]]
        shots = [_datum(items["train"][row]) for row in train]
        super().__init__(
            train_x=test if self.test_only else shots,
            val=[_datum(items["val"][row]) for row in val],
            test=test,
        )
        self.class_ids = class_ids or self.classnames


def _datum(item: Item) -> Datum:
    path, label, name = item
    try:
        return Datum(impath=path, label=label, classname=name)
    except FileNotFoundError as error:
        raise CcliError(f"image {path} is missing; complete the data set or give another --root") from error
