"""The split of pictures that come without one: made once, kept beside them in CoOp's format, and read ever after."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from ccli.datasets.common.splits import PARTS, Item, Pools, read_split
from ccli.errors import CcliError
from ccli.features.decoding import shown
from ccli.files.atomic import moved_into_place


def split_file(folder: Path, seed: int, share: float) -> Path:
    return folder / f"split_seed{seed}_test{share}.json"


def split_pools(
    folder: Path, images: Mapping[str, Sequence[str]], names: Sequence[str], seed: int, share: float
) -> Pools:
    """Images in training and test, as the recorded split has them; where there is none, it is made and recorded.

    Args:
        images: class folder -> file names; the classes' order is that of their labels.
        names: of the classes.
        seed, share: DATASET.SPLIT_SEED and DATASET.TEST_SHARE.

    Raises:
        CcliError: a seed or share that is none, a split of other images, or one that cannot be read or kept.
    """
    if seed < 0:
        raise CcliError(f"DATASET.SPLIT_SEED is {seed}; it must be 0 or more, so that the split can be repeated")
    if not 0 < share < 1:
        raise CcliError(f"DATASET.TEST_SHARE is {share}; it must lie between 0 and 1")
    path = split_file(folder, seed, share)
    labels = {f"{name}/{file}": label for label, (name, files) in enumerate(images.items()) for file in files}
    if path.is_file():
        pools = read_split(path)
        _check_same(path, pools, labels)
        return Pools(*([(item, label, names[label]) for item, label, _ in part] for part in pools[:3]))
    pools = _new_split(images, names, seed, share)
    if not pools.test:
        raise CcliError(f"every class in {shown(folder)} has one image, which leaves none to test on; add images")
    _keep(path, pools)
    return pools


def _new_split(images: Mapping[str, Sequence[str]], names: Sequence[str], seed: int, share: float) -> Pools:
    """A class's part depends on the seed, its name and its files, and not on other classes."""
    train: list[Item] = []
    test: list[Item] = []
    for label, (name, files) in enumerate(images.items()):
        count = len(files)
        wanted = min(max(1, math.floor(share * count + 0.5)), count - 1)
        tested = set(random.Random(f"{seed}|{name}").sample(list(files), wanted))
        for file in files:
            (test if file in tested else train).append((f"{name}/{file}", label, names[label]))
    return Pools(train, [], test)


def _check_same(path: Path, pools: Pools, labels: Mapping[str, int]) -> None:
    """Refuse a split of other images than there are."""
    recorded = [(item, label) for part in pools[:3] for item, label, _ in part]
    known = {item for item, _ in recorded}
    new = [item for item in labels if item not in known]
    gone = sorted(known - labels.keys())
    if new or gone:
        found = [
            f"{len(items)} image{'s have' if len(items) > 1 else ' has'} {what} (such as {shown(items[0])})"
            for items, what in ((new, "appeared"), (gone, "disappeared"))
            if items
        ]
        raise CcliError(
            f"since {shown(path)} was made, {' and '.join(found)}; its test set stays what it was: undo that, or "
            "remove the file to split anew (earlier results then compare with no new ones)"
        )
    wrong = next((item for item, label in recorded if labels[item] != label), None)
    if wrong or len(recorded) > len(known):
        what = f"gives {shown(wrong)} another class than its folder" if wrong else "names an image twice"
        raise CcliError(f"{shown(path)} {what}; mend it, or remove it to split anew")


def _keep(path: Path, pools: Pools) -> None:
    content = json.dumps(dict(zip(PARTS, pools)))
    try:
        with moved_into_place(path) as scratch:
            scratch.write_text(content, encoding="utf-8")
    except OSError as error:
        raise CcliError(
            f"the split cannot be kept as {shown(path)} ({error.strerror or error}): copy the pictures to a folder "
            "that can be written to, or sort them into train/CLASS and test/CLASS"
        ) from error
