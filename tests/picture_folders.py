"""Folders of pictures as people keep them, and the data set that is made of one."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, config
from PIL import Image

from ccli.datasets.folder import Folder
from ccli.errors import CcliError


def draw(path: Path, seed: int = 0, size=(20, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def fill(folder: Path, **counts: int) -> Path:
    """`counts` different pictures in the folder's sub-folders; __ stands for a slash."""
    for k, (name, count) in enumerate(counts.items()):
        for number in range(count):
            draw(folder / name.replace("__", "/") / f"{number}.png", 1000 * k + number)
    return folder


def load(folder, shots: int = -1, **dataset) -> Folder:
    return Folder(config(NAME="Folder", FOLDER=str(folder), NUM_SHOTS=shots, **dataset))


def paths(items, folder) -> list[str]:
    return [os.path.relpath(item.impath, folder) for item in items]


def refusal(folder, **dataset) -> str:
    with pytest.raises(CcliError) as error:
        load(folder, **dataset)
    assert "\n" not in str(error.value)
    return str(error.value)


def args(folder, out, *opts, trainer="CCLI", shots=2, cfg="demo_clip"):
    return [
        *("--seed", 1, "--trainer", trainer, "--output-dir", out),
        *("--dataset-config-file", ROOT / "configs/datasets/folder.yaml"),
        *("--config-file", ROOT / f"configs/trainers/{trainer}/{cfg}.yaml"),
        *("DATASET.FOLDER", folder, "DATASET.NUM_SHOTS", shots, *opts),
    ]
