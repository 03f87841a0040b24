"""Choose the few shots from a pool: the published draw, a published list of picks, half of the classes."""

import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ccli.datasets.common.splits import NOT_SUCH_JSON, Item
from ccli.errors import CcliError, check_choice, in_one_line, os_errors, warn

MAX_VAL_SHOTS = 4
SUBSAMPLES = ("all", "base", "new")


def draw(labels: Sequence[int], shots: int, rng: random.Random) -> list[int]:
    """Rows of `shots` random images per label: `sample` per label, in the order in which labels first appear.

    This is the draw of CoOp and of the papers that follow it. A class with fewer images gives all of them; `shots`
    below 1 gives every row.
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
    """Rows of the few-shot training and validation sets (min(shots, 4) per class), both from one random stream.

    Args:
        train, val: the labels of both pools.
        seed: a seed below 0 draws differently each time.
        name: of the data set, for the message about classes with too few images.
    """
    rng = random.Random(seed) if seed >= 0 else random.Random()
    picked = draw(train, shots, rng)
    counts = Counter(train)
    few = sum(count < shots for count in counts.values())
    if few:
        warn(f"{name}: {few} of {len(counts)} classes have fewer than {shots} training images; all they have are used")
    return picked, draw(val, min(shots, MAX_VAL_SHOTS) if shots >= 1 else shots, rng)


def read_picks(path: str | Path, train: Sequence[Item], val: Sequence[Item], shots: int) -> tuple[list[int], list[int]]:
    """Rows of a published list: {"train": [[path, label], ...], "val": [...]}, with paths as in the split file.

    Raises:
        CcliError: not such a list, an unknown image, another label, or not `shots` images of each class.
    """
    remedy = 'write JSON {"train": [[path, label], ...], "val": [...]}'
    with in_one_line(NOT_SUCH_JSON, f"DATASET.PICKS {path} is not a list of picks", remedy):
        with os_errors(f"DATASET.PICKS {path} cannot be read"):
            data = json.loads(Path(path).expanduser().read_text(encoding="utf-8-sig"))
        named = {part: [(str(p), _whole(label)) for p, label, *_ in data.get(part, [])] for part in ("train", "val")}
    rows = [_rows_of(named[part], pool, part, path) for part, pool in (("train", train), ("val", val))]
    picked, pool = Counter(label for _, label in named["train"]), Counter(label for _, label, _ in train)
    wrong = [label for label, count in pool.items() if picked[label] != (min(shots, count) if shots >= 1 else count)]
    if wrong:
        raise CcliError(
            f"DATASET.PICKS {path} has {picked[wrong[0]]} training images of class {wrong[0]}, which does not match "
            f"DATASET.NUM_SHOTS {shots}; give the number for which the list was made"
        )
    return rows[0], rows[1]


def _whole(label) -> int:
    if not isinstance(label, int):
        raise ValueError(f"label {label!r}")
    return label


def _rows_of(named: list[tuple[str, int]], pool: Sequence[Item], part: str, source: str | Path) -> list[int]:
    known = {path: row for row, (path, _, _) in enumerate(pool)}
    rows = []
    for path, label in named:
        row = known.get(path)
        if row is None:
            raise CcliError(f"DATASET.PICKS {source}: {path} is not among the data set's {part} images")
        if pool[row][1] != label:
            raise CcliError(f"DATASET.PICKS {source}: {path} has label {label}, but {pool[row][1]} in the data set")
        rows.append(row)
    if len(set(rows)) < len(rows):
        raise CcliError(f"DATASET.PICKS {source} names a {part} image twice")
    return rows


def subsample(labels: Iterable[int], which: str) -> dict[int, int]:
    """Old label -> new label of the classes to keep: all, the first half ("base", rounded up) or the rest ("new").

    Raises:
        CcliError: `which` is unknown, or keeps no class.
    """
    ordered = sorted(set(labels))
    check_choice("DATASET.SUBSAMPLE_CLASSES", which, SUBSAMPLES)
    half = math.ceil(len(ordered) / 2)
    kept = {"all": ordered, "base": ordered[:half], "new": ordered[half:]}[which]
    if not kept:
        raise CcliError(f"DATASET.SUBSAMPLE_CLASSES {which}: no class is left of {len(ordered)}")
    return {old: new for new, old in enumerate(kept)}
