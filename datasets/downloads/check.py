"""Compare a data set on the disk with the published numbers of classes and images, and open every image."""

import os
from collections import Counter
from multiprocessing.pool import ThreadPool
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from ccli.datasets.common.few_shot import FewShotDataset, Sizes
from ccli.datasets.common.splits import PARTS, Item, Pools
from ccli.datasets.downloads.contents import loader_of
from ccli.errors import CcliError, first_line

LISTED = 20  # so many missing or unreadable images are named


def check_dataset(name: str, root: str | Path) -> list[str]:
    """Print sizes, then "OK" or the problems from the second on, and return all problems.

    Args:
        name: the module of a loader, which is also its short_name.
    """
    loader = loader_of(name)
    try:
        folder = loader.folder(root)
        pools = loader.read(folder)
        loader.check_classes(folder, pools)
    except CcliError as error:
        return [str(error)]
    problems = []
    for part in PARTS:
        if counts := Counter(label for _, label, _ in getattr(pools, part)):
            least, most = min(counts.values()), max(counts.values())
            each = f"{least} to {most}" if least < most else f"{least}"
            print(f"{part:5}  {counts.total():8,} images  {len(counts):5,} classes  {each} per class")
        problems += _wrong_counts(part, counts, getattr(pools, part), loader.published)
    paths = Counter(path for part in PARTS for path, _, _ in getattr(pools, part))
    twice = sorted(path for path, count in paths.items() if count > 1)
    problems += [f"{len(twice)} images are listed twice, first {twice[0]}"] if twice else []
    problems += _wrong_images(loader, folder, pools)
    for problem in problems[1:]:  # the caller prints the first and their number
        print(problem)
    if not problems:
        sizes = " / ".join(f"{len(getattr(pools, part)):,}" for part in PARTS)
        print(f"OK: {name} in {folder}: {loader.published.classes} classes, {sizes} images, as published; all readable")
    return problems


def _wrong_counts(part: str, counts: Counter, items: list[Item], published: Sizes) -> list[str]:
    expected, found = getattr(published, part), counts.total()
    if found != expected:
        return [f"{part} has {found:,} images, {expected:,} are published"]
    names = {label: name for _, label, name in items}
    least, most = published.per_class.get(part, (0, found))
    wrong = [label for label, count in sorted(counts.items()) if not least <= count <= most]
    return [
        f"{part} has {counts[label]} images of class {label} ({names[label]}), published are {least} to {most}"
        for label in wrong[:LISTED]
    ]


def _wrong_images(loader: type[FewShotDataset], folder: Path, pools: Pools) -> list[str]:
    """Missing images by class, and images that cannot be opened."""
    items = [(part, item) for part in PARTS for item in getattr(pools, part)]
    missing, unreadable = Counter(), []
    where = folder / loader.image_dir
    bar = {"total": len(items), "desc": "Opening images", "disable": None}
    with ThreadPool(os.cpu_count()) as pool:
        found = tqdm(pool.imap(lambda x: _problem(where / x[1][0]), items, chunksize=16), **bar)
        for (part, (path, label, name)), wrong in zip(items, found):
            if wrong == "missing":
                missing[part, label, name] += 1
            elif wrong:
                unreadable.append(f"{where / path} is unreadable ({wrong}); remove it")
    counts = Counter((part, item[1], item[2]) for part, item in items)
    gone = [
        f"{part}: {count} of {counts[part, label, name]} images of class {label} ({name}) are missing"
        for (part, label, name), count in missing.items()
    ]
    return [*_first(gone, "further classes"), *_first(unreadable, "further images")]


def _first(lines: list[str], what: str) -> list[str]:
    return lines if len(lines) <= LISTED else [*lines[:LISTED], f"and {len(lines) - LISTED} {what}"]


def _problem(path: Path) -> str:
    """Why an image cannot be used, "missing", or ""; the whole file is decoded, in a small size where possible."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (32, 32))
            image.load()
        return ""
    except FileNotFoundError:
        return "missing"
    except Exception as error:  # Pillow's decoders raise many types
        return f"{type(error).__name__}: {first_line(error)}"
