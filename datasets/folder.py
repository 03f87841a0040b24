"""Folder: a user's own images in one folder per class, as DATASETS.md describes it."""

from collections import Counter
from pathlib import Path

from ccli.datasets.common.few_shot import FewShotDataset, register
from ccli.datasets.common.folder_classes import read_classes
from ccli.datasets.common.folder_split import split_pools
from ccli.datasets.common.splits import Item, Pools
from ccli.errors import CcliError, composed, nearest, warn
from ccli.features.class_texts import warn_of_numbers
from ccli.features.decoding import PHOTO, shown
from ccli.features.image_folder import (
    CLASSES,
    PARTS,
    SUFFIXES,
    Listing,
    list_images,
    name_of,
    others_of,
    parts_of,
    place_of,
    same_pictures,
)

NAMED = 3  # of many, so many are named


def extend_cfg(cfg) -> None:
    """Add the path of the images, and the split of folders without train and test."""
    cfg.DATASET.setdefault("FOLDER", "")  # empty: DATASET.ROOT
    cfg.DATASET.setdefault("SPLIT_SEED", 1)  # not the run's seed: all runs have the same test images
    cfg.DATASET.setdefault("TEST_SHARE", 0.3)  # 1: nothing is trained on, and all are tested


@register
class Folder(FewShotDataset):
    """Shots drawn from class folders. `templates` are those of classes.json, if any."""

    decoding = PHOTO
    templates: tuple[str, ...] = ()

    @classmethod
    def repair(cls, root: str | Path) -> str:
        return "restore the pictures and start again"

    def pools(self, cfg) -> tuple[Path, Pools]:
        if not (cfg.DATASET.FOLDER or cfg.DATASET.ROOT):
            raise CcliError("Folder needs DATASET.FOLDER PATH (or --root PATH), a folder with one folder per class")
        folder = place_of(cfg.DATASET.FOLDER, cfg.DATASET.ROOT)
        self.short_name = name_of(folder)
        if not folder.is_dir():
            raise CcliError(f"no folder {shown(folder)}; give the path of one with a folder of images per class")
        parts = parts_of(folder)
        listed = {name: list_images(folder / name) for name in parts.values()}
        self.test_only = cfg.DATASET.TEST_SHARE == 1
        _check_parts(folder, parts, listed, self.test_only)
        self._say_left_out(listed, others_of(folder, parts))
        classes = [composed(name) for name in listed[next(iter(parts.values()))].images]
        names, self.templates = read_classes(folder, classes)
        warn_of_numbers(names, self.short_name, f"give names in {shown(folder / CLASSES)}")
        if "" not in parts:
            found = Pools(*(_items(parts.get(part), listed, classes, names) for part in PARTS))
        elif self.test_only:
            found = Pools([], [], _items("", listed, classes, names))
        else:
            node = cfg.DATASET
            found = split_pools(folder, listed[""].images, names, node.SPLIT_SEED, node.TEST_SHARE)
        self._say_untested(found, names)
        self._warn_of_doubles(folder, found, listed)
        return folder, found._replace(class_ids=classes)

    def _say_left_out(self, listed: dict[str, Listing], others: list[str]) -> None:
        found = {
            what: [f"{part}/{name}".lstrip("/") for part, one in listed.items() for name in getattr(one, kind)]
            for kind, what in (
                ("others", "entries of class folders that are not images"),
                ("loose", "images outside class folders"),
            )
        }
        for what, names in (found | {f"folders beside {', '.join(listed)}": others}).items():
            if names:
                warn(f"{self.short_name}: left out {what}: {len(names)} ({_some(names)})")

    def _say_untested(self, pools: Pools, names: list[str]) -> None:
        tested = {label for _, label, _ in pools.test}
        untested = [name for label, name in enumerate(names) if label not in tested]
        if untested and tested:
            warn(f"{self.short_name}: {len(untested)} of {len(names)} classes have no test images ({_some(untested)})")

    def _warn_of_doubles(self, folder: Path, pools: Pools, listed: dict[str, Listing]) -> None:
        """Warn of images that are in two parts or two classes."""
        place = {path: (part, label) for part, pool in zip(PARTS, pools[:3]) for path, label, _ in pool}
        sizes = tuple(
            (f"{part}/{name}/{file}".lstrip("/"), size)
            for part, found in listed.items()
            for name, files in found.images.items()
            for file, size in files.items()
        )
        doubles = [alike for alike in same_pictures(folder, sizes) if len({place[path] for path in alike}) > 1]
        if doubles:
            pairs = [f"{shown(alike[0])} = {shown(alike[1])}" for alike in doubles]
            warn(
                f"{self.short_name}: images in more than one part or class spoil the test: {len(doubles)} "
                f"({_some(pairs)}); keep one of each"
            )


def _check_parts(folder: Path, parts: dict[str, str], listed: dict[str, Listing], test_only: bool) -> None:
    """Raise CcliError for the first problem of the layout."""
    if "train" in parts and "test" not in parts:
        hint = f"; if {parts['train']} is a class, rename its folder" if listed[parts["train"]].loose else ""
        raise CcliError(
            f"{shown(folder)} has a train folder and no test folder: add test/CLASS with images to test on, or put the "
            f"class folders into {shown(folder)} itself to keep a part of each for the test{hint}"
        )
    if not test_only and not parts.keys() & {"train", ""}:
        raise CcliError(
            f"{shown(folder)} has no train folder: add train/CLASS with images to learn from, or test a finished run "
            "on it (--eval-only)"
        )
    first = next(iter(parts.values()))  # train, where there is one
    classes = [composed(name) for name in listed[first].images]
    if not classes:
        raise CcliError(f"no class folders in {shown(folder / first)}: put the images of each class into a folder")
    for part, found in listed.items():
        _check_class_folders(folder / part, found)
        unknown = next((name for name in found.images if composed(name) not in classes), None)
        if unknown is not None:
            raise CcliError(
                f"class folder {shown(folder / part / unknown)} has no counterpart in {first}; add its training "
                f"images, or move it away.{nearest(unknown, classes)}"
            )
        twice = next((name for name, n in Counter(map(composed, found.images)).items() if n > 1), None)
        if twice is not None:
            raise CcliError(
                f"{shown(folder / part)} has two class folders {shown(twice)}, in two Unicode forms that look the "
                "same; put their images into one"
            )
        if not found.images:
            raise CcliError(f"no class folders in {shown(folder / part)}: add some, or remove it")
    if len(classes) == 1:
        raise CcliError(f"{shown(folder / first)} has one class folder, {shown(classes[0])}; add at least another")


def _check_class_folders(place: Path, found: Listing) -> None:
    for name, files in found.images.items():
        for text in (name, *files):
            if "\\" in text or text != text.encode("utf-8", "ignore").decode("utf-8"):
                raise CcliError(
                    f"name {shown(text)} in {shown(place)} is not UTF-8 or has a backslash, which lists of images "
                    "cannot hold; rename it"
                )
        if not files:
            inside = [path for path in found.others if path.startswith(f"{name}/")]
            there = f", but {_some(inside)}" if inside else ""
            raise CcliError(
                f"class folder {shown(place / name)} has no images ({', '.join(s[1:] for s in SUFFIXES)}){there}; add "
                "some, or move it away"
            )


def _items(part: str | None, listed: dict[str, Listing], classes: list[str], names: list[str]) -> list[Item]:
    """The images in the folder of a part; none where it has no folder."""
    images = listed[part].images if part in listed else {}
    folders = {composed(name): name for name in images}
    return [
        (f"{part}/{folders[name]}/{file}".lstrip("/"), label, names[label])
        for label, name in enumerate(classes)
        if name in folders
        for file in images[folders[name]]
    ]


def _some(names: list[str]) -> str:
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return ", ".join([*map(shown, names[:NAMED]), *more])
