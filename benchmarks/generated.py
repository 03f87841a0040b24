"""Generated bundles, images, folders and models of any size. Accuracy on them says nothing."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from dassl.config import get_cfg_default
from PIL import Image
from torch.nn import functional as F
from tqdm import tqdm

from ccli.clip.weights import DEMO
from ccli.datasets.common.few_shot import FewShotDataset, extend_cfg
from ccli.features.bundles import Bundle, write_bundle
from ccli.features.task import Split

WIDTH, CONCEPTS, CHUNK = 1024, 2000, 10_000


def centres(count: int, width: int = WIDTH) -> torch.Tensor:
    """Of classes, [count, width], unit rows."""
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(0)), dim=-1)


def around(rows: torch.Tensor, noise: float, generator: torch.Generator) -> torch.Tensor:
    """Unit rows near given ones [n, D]: each plus a random direction, `noise` long."""
    direction = F.normalize(torch.randn(rows.shape, generator=generator), dim=-1)
    return F.normalize(rows + noise * direction, dim=-1)


def bundle(classes: int, train: int, val: int, test: int, concepts: int = CONCEPTS, width: int = WIDTH) -> Bundle:
    """Clusters of `train` and `val` images per class, `test` images in all, and random concepts."""
    generator, middle = torch.Generator().manual_seed(1), centres(classes, width)

    def split(count: int) -> Split:
        labels = (torch.arange(count) % classes).sort().values
        return Split(around(middle[labels], 1.5, generator), labels)

    return Bundle(
        tuple(f"class {k}" for k in range(classes)),
        around(middle, 2, generator),
        torch.ones(classes),
        100.0,
        split(classes * train),
        split(classes * val) if val else None,
        split(test),
        tuple(f"concept {k}" for k in range(concepts)),
        around(torch.zeros(concepts, width), 1, generator),
    )


def large_bundle(path: Path, rows: int, width: int, shots: int, classes: int, dtype: str = "<f4") -> Path:
    """A bundle with `rows` test images; they repeat after a few thousand, which saves time and changes no memory."""
    write_bundle(path, bundle(classes, shots, 4, classes, 50, width))
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files if name != "test_features"}
    np.savez(path, **kept | {"test_labels": np.arange(rows) % classes})
    labels, generator = torch.arange(CHUNK) % classes, torch.Generator().manual_seed(2)
    chunk = around(centres(classes, width)[labels], 1.5, generator).numpy().astype(dtype)
    with zipfile.ZipFile(path, "a") as archive, archive.open("test_features.npy", "w", force_zip64=True) as file:
        header = {"descr": dtype, "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, CHUNK):
            file.write(chunk[: rows - start].tobytes())
    return path


def images(folder: Path, count: int, size: tuple[int, int], suffix: str) -> list[Path]:
    """Files of `size` = (width, height) pixels: smooth noise with grain, different in each."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    paths = [folder / f"{k:07d}.{suffix}" for k in range(count)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(size, Image.BICUBIC)
        grain = rng.normal(0, 12, (size[1], size[0], 1))
        Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return paths


def imagenet_tree(root: Path, train: int, test: int) -> None:
    """ImageNet's 1000 class folders, with `train` and `test` empty files in each."""
    synsets = [f"n{k:08d}" for k in range(1000)]
    for synset in tqdm(synsets, desc="Making empty files", disable=None):
        for part, count, name in (("train", train, "{}_{}.JPEG"), ("val", test, "ILSVRC2012_val_{}{}.JPEG")):
            folder = root / "imagenet/images" / part / synset
            folder.mkdir(parents=True)
            for k in range(count):
                os.close(os.open(folder / name.format(synset, k), os.O_CREAT))
    names = "".join(f"{synset} thing {k}\n" for k, synset in enumerate(synsets))
    (root / "imagenet/classnames.txt").write_text(names)


def few_shot(kind: type[FewShotDataset], root: str | Path, shots: int) -> FewShotDataset:
    """A data set of ours below `root`, seed 1."""
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.DATASET.ROOT, cfg.DATASET.NUM_SHOTS, cfg.SEED = str(root), shots, 1
    return kind(cfg)


def untrained(architecture: str, folder: Path) -> str:
    """FrozenClip's name of a model with random weights, which is saved in the folder; demo-clip keeps its own."""
    if architecture == DEMO:
        return DEMO
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model(architecture)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": model.visual.preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return str(folder)
