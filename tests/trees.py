"""The official trees of the 15 benchmarks in miniature: their folders and kinds of file names, generated images."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from helpers import SHARED
from PIL import Image

# yaml name: registered name, folder, folder of the images below it, classes, a path like the official ones
SPLIT_SETS: dict[str, tuple[str, str, str, int, Callable]] = {
    "caltech101": ("Caltech101", "caltech-101", "101_ObjectCategories", 100, lambda c, k: f"t{c}/image_{k:04d}.jpg"),
    "oxford_pets": ("OxfordPets", "oxford_pets", "images", 37, lambda c, k: f"Breed_{c}_{k}.jpg"),
    "stanford_cars": ("StanfordCars", "stanford_cars", "", 196, lambda c, k: f"cars_train/{c * 40 + k:05d}.jpg"),
    "oxford_flowers": ("OxfordFlowers", "oxford_flowers", "jpg", 102, lambda c, k: f"image_{c * 40 + k:05d}.jpg"),
    "food101": ("Food101", "food-101", "images", 101, lambda c, k: f"dish_{c}/{c * 999 + k}.jpg"),
    "sun397": ("SUN397", "sun397", "SUN397", 397, lambda c, k: f"{'abc'[c % 3]}/place_{c}/sun_a{k}b.jpg"),
    "dtd": ("DescribableTextures", "dtd", "images", 47, lambda c, k: f"kind{c}/kind{c}_{k:04d}.jpg"),
    "eurosat": ("EuroSAT", "eurosat", "2750", 10, lambda c, k: f"Land{c}/Land{c}_{k}.jpg"),
    "ucf101": ("UCF101", "ucf101", "UCF-101-midframes", 101, lambda c, k: f"Act_{c}/v_Act{c}_g{k:02d}_c01.jpg"),
}  # fmt: skip
REAL = {"caltech101", "oxford_pets", "dtd", "eurosat"}  # their split files lie in shared/


class Painter:
    """Pictures at any path: a few are drawn, the rest are links to them."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.sources = []
        for k in range(8):
            coarse = np.random.default_rng(k).integers(0, 256, (3, 3, 3), dtype=np.uint8)
            path = folder / f"{k}.jpg"
            Image.fromarray(coarse).resize((24, 20), Image.Resampling.BICUBIC).save(path)
            self.sources.append(path)

    def __call__(self, path: Path, kind: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.link(self.sources[kind % len(self.sources)], path)


def real_split(name: str) -> Path | None:
    path = SHARED / "coop_splits" / f"split_zhou_{SPLIT_SETS[name][0]}.json"
    return path if path.is_file() else None


def made_split(name: str, sizes: tuple[int, int, int] = (3, 2, 1)) -> dict[str, list]:
    """A split with the official number of classes, labels in mixed order, `sizes` images of each class in the parts."""
    _, _, _, classes, path = SPLIT_SETS[name]
    split, start = {}, 0
    for part, size in zip(("train", "val", "test"), sizes):
        split[part] = [[path(c, start + k), c, f"class_{c}"] for c in range(classes) for k in range(size)]
        random.Random(classes).shuffle(split[part])
        start += size
    return split


def split_tree(root: Path, name: str, paint: Painter, wanted: Callable[[dict], list], real: bool) -> dict[str, list]:
    """The tree of a data set that has a split file, with the images that `wanted(split)` lists; returns the split."""
    registered, folder, images, _, _ = SPLIT_SETS[name]
    split = json.loads(real_split(name).read_text()) if real else made_split(name)
    (root / folder).mkdir(parents=True)
    (root / folder / f"split_zhou_{registered}.json").write_text(json.dumps(split))
    for path, label in wanted(split):
        paint(root / folder / images / path, label)
    return split


def aircraft_tree(root: Path, paint: Painter) -> dict[str, list]:
    folder = root / "fgvc_aircraft"
    folder.mkdir(parents=True)
    names = [f"A{k} / type-{k}" for k in range(100)]
    (folder / "variants.txt").write_text("".join(f"{name}\n" for name in names))
    split = {}
    for p, part in enumerate(("train", "val", "test")):
        numbers = random.Random(p).sample(range(100), 100)
        split[part] = [[f"{p}{k:06d}.jpg", k, names[k]] for k in numbers]
        (folder / f"images_variant_{part}.txt").write_text("".join(f"{x[:-4]} {n}\n" for x, _, n in split[part]))
        for path, label, _ in split[part]:
            paint(folder / "images" / path, label)
    return split


def synset(k: int) -> str:
    return f"n{1440764 + 7 * k:08d}"


def class_names(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classnames.txt").write_text("".join(f"{synset(k)} thing {k}\n" for k in range(1000)))


def imagenet_tree(root: Path, paint: Painter, train: int = 3) -> None:
    class_names(root / "imagenet")
    for k in range(1000):
        for i in range(train):
            paint(root / "imagenet/images/train" / synset(k) / f"{synset(k)}_{97 * i}.JPEG", k)
        paint(root / "imagenet/images/val" / synset(k) / f"ILSVRC2012_val_{k:08d}.JPEG", k)


def target_tree(root: Path, name: str, paint: Painter) -> list[int]:
    """The tree of a target of ImageNet; returns the ImageNet classes that it has."""
    folder, images, classes, folder_of = {
        "imagenetv2": ("imagenetv2", "imagenetv2-matched-frequency-format-val", range(1000), str),
        "imagenet_sketch": ("imagenet-sketch", "images", range(1000), synset),
        "imagenet_a": ("imagenet-adversarial", "imagenet-a", range(4, 1000, 5)[:200], synset),
        "imagenet_r": ("imagenet-rendition", "imagenet-r", range(1, 1000, 4)[:200], synset),
    }[name]
    class_names(root / folder)
    for k in classes:
        paint(root / folder / images / folder_of(k) / f"picture_{k}.JPEG", k)
    (root / folder / images / "README.txt").write_text("as in the archive of ImageNet-A")
    return list(classes)
