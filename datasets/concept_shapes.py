"""concept_shapes: generated images whose classes are combinations of shared parts, and its four shifted versions.

24 classes (see `scenes.classes`), 64x64 pixels: per class 32 training, 16 validation and 100 test images; the shifted
versions have 60 test images per class and are for evaluation only. Made on first use, always the same.
"""

import json
import os
import shutil
from pathlib import Path

import filelock
from tqdm import tqdm

from ccli.datasets.common.few_shot import FewShotDataset, register
from ccli.datasets.common.splits import PARTS, Pools, read_split
from ccli.datasets.scenes.classes import CLASSES
from ccli.datasets.scenes.render import render
from ccli.datasets.scenes.sample import class_scene, generator
from ccli.errors import os_errors

NAMES = tuple(CLASSES)
SPLIT_FILE = "split_zhou_ConceptShapes.json"


@register
class ConceptShapes(FewShotDataset):
    """The source: train, val and test of all classes."""

    dataset_dir = short_name = "concept_shapes"
    image_dir = "images"
    shift = ""
    names = NAMES
    counts = {"train": 32, "val": 16, "test": 100}

    @classmethod
    def split_name(cls) -> str:
        return SPLIT_FILE  # of the shifted versions, too

    @classmethod
    def folder(cls, root: str | Path) -> Path:
        """The data set's folder below `root`, drawn if it does not exist."""
        folder = Path(root).expanduser().absolute() / cls.dataset_dir
        if not (folder / SPLIT_FILE).exists():
            _make(folder, cls.names, cls.counts, cls.shift)
        return folder

    @classmethod
    def read(cls, folder: Path) -> Pools:
        return read_split(folder / SPLIT_FILE)._replace(class_ids=list(cls.names))

    @classmethod
    def repair(cls, root: str | Path) -> str:
        return f"remove {Path(root) / cls.dataset_dir} to draw it again"


@register
class ConceptShapesV2(ConceptShapes):
    """A new draw: any rotation, wider sizes, unusual light. All classes."""

    dataset_dir = short_name = "concept_shapes_v2"
    shift = "v2"
    test_only = True
    counts = {"test": 60}


@register
class ConceptShapesSketch(ConceptShapesV2):
    """Coloured line drawings. All classes."""

    dataset_dir = short_name = "concept_shapes_sketch"
    shift = "sketch"


@register
class ConceptShapesA(ConceptShapesV2):
    """Small objects among many large distractors. Every other class."""

    dataset_dir = short_name = "concept_shapes_a"
    shift = "a"
    names = NAMES[::2]


@register
class ConceptShapesR(ConceptShapesV2):
    """Outlined objects, faded or blurry, on a plain background. Every third class."""

    dataset_dir = short_name = "concept_shapes_r"
    shift = "r"
    names = NAMES[::3]


def _make(folder: Path, names: tuple[str, ...], counts: dict[str, int], shift: str) -> None:
    """Draw all images beside the folder and move it into place when complete."""
    with os_errors(f"cannot write {folder}", "choose another --root"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.with_name(f".{folder.name}.lock")):
            if (folder / SPLIT_FILE).exists():
                return
            scratch = folder.with_name(f".{folder.name}.part")
            shutil.rmtree(scratch, ignore_errors=True)
            try:
                split = _draw_images(scratch / "images", names, counts, shift)
                (scratch / SPLIT_FILE).write_text(json.dumps(split))
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(scratch, folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)


def _draw_images(folder: Path, names: tuple[str, ...], counts: dict[str, int], shift: str) -> dict[str, list]:
    split: dict[str, list] = {part: [] for part in PARTS}
    total, of = len(names) * sum(counts.values()), folder.parent.name.strip(".").removesuffix(".part")
    with tqdm(total=total, desc=f"Drawing {of}", unit="", disable=None) as bar:
        for part, count in counts.items():
            for label, name in enumerate(names):
                rng = generator(shift, part, name)
                where = folder / part / name.replace(" ", "_")
                where.mkdir(parents=True)
                for k in range(count):
                    render(class_scene(CLASSES[name], rng, shift), rng).save(where / f"{k:03d}.png", compress_level=1)
                    split[part].append([f"{part}/{where.name}/{k:03d}.png", label, name])
                bar.update(count)
    return split
