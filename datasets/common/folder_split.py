"""The split of an image folder without one: made once, written beside the images in CoOp's format, and read later."""

import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ccli.datasets.common.splits import PARTS, Pools, read_split
from ccli.errors import CcliError, composed, os_errors
from ccli.features.decoding import shown
from ccli.files.atomic import moved_into_place


def split_pools(
    folder: Path, images: Mapping[str, Sequence[str]], names: Sequence[str], seed: int, share: float
) -> Pools:
    """Training and test images of the recorded split, which is made and recorded if it does not exist.

    Args:
        images: class folder -> file names, in the order of the labels.
        names: of the classes.
        seed, share: DATASET.SPLIT_SEED and DATASET.TEST_SHARE.

    Raises:
        CcliError: an invalid seed or share, a split of other images, or one that cannot be read or written.
    """
    if seed < 0:
        raise CcliError(f"DATASET.SPLIT_SEED is {seed}; it must be 0 or more, so that the split can be repeated")
    if not 0 < share < 1:
        raise CcliError(f"DATASET.TEST_SHARE is {share}; it must lie between 0 and 1")
    path = folder / f"split_seed{seed}_test{share}.json"
    labels = {f"{name}/{file}": label for label, (name, files) in enumerate(images.items()) for file in files}
    if path.is_file():
        pools = _as_named_here(read_split(path), labels)
        _check_same(path, pools, labels)
        return Pools(*([(item, label, names[label]) for item, label, _ in part] for part in pools[:3]))
    pools = _new_split(images, names, seed, share)
    if not pools.test:
        raise CcliError(f"every class in {shown(folder)} has one image, which leaves none for the test; add images")
    remedy = "copy the images to a folder that can be written to, or sort them into train/CLASS and test/CLASS"
    with os_errors(f"the split cannot be written to {shown(path)}", remedy), moved_into_place(path) as scratch:
        scratch.write_text(json.dumps(dict(zip(PARTS, pools))), encoding="utf-8")
    return pools


def _new_split(images: Mapping[str, Sequence[str]], names: Sequence[str], seed: int, share: float) -> Pools:
    """Draw each class from a stream of its own, so that it does not depend on the other classes."""
    train, test = [], []
    for label, (name, files) in enumerate(images.items()):
        wanted = min(max(1, math.floor(share * len(files) + 0.5)), len(files) - 1)
        tested = set(random.Random(f"{seed}|{name}").sample(list(files), wanted))
        for file in files:
            (test if file in tested else train).append((f"{name}/{file}", label, names[label]))
    return Pools(train, [], test)


def _as_named_here(pools: Pools, paths: Iterable[str]) -> Pools:
    """The same with paths as the files are named here, in whatever Unicode form: a Mac may have unpacked them."""
    here = {composed(path): path for path in paths} | {path: path for path in paths}
    parts = ([(here.get(item, here.get(composed(item), item)), *rest) for item, *rest in part] for part in pools[:3])
    return Pools(*parts)


def _check_same(path: Path, pools: Pools, labels: Mapping[str, int]) -> None:
    """Refuse a split whose images are not those of the folder."""
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
            f"since {shown(path)} was made, {' and '.join(found)}; its test set is kept: undo that, or remove "
            "the file to split again (new results will then not be comparable with earlier ones)"
        )
    wrong = next((item for item, label in recorded if labels[item] != label), None)
    if wrong or len(recorded) > len(known):
        what = f"gives {shown(wrong)} another class than its folder" if wrong else "names an image twice"
        raise CcliError(f"{shown(path)} {what}; fix it, or remove it to split again")
