"""Images on disk to stored features against what the cores allow: python -m benchmarks.encoding [--precision bf16]

The bound is model time + decoding time / cores an image: the model alone on a batch in memory (with all cores), and
Pillow alone, in one thread, from file to resized crop. All three are measured in turn, several times, and the fastest
of each counts. demo-clip has pictures of 64x64 pixels (PNG); RN50 and ViT-B/32 are of full size, untrained, and have
photographs' sizes (500x375, JPEG of smooth noise with grain). Beside it, the model as open_clip builds it, and with
--precision bf16 how far features agree with float32's: the cosine of centred features, and how often demo-clip names
the same class of concept_shapes' test images.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tabulate
import torch
from dassl.config import get_cfg_default
from PIL import Image
from torch.nn import functional as F

import ccli.clip
from ccli.clip.model import PRECISIONS, FrozenClip
from ccli.datasets.common.few_shot import extend_cfg
from ccli.datasets.concept_shapes import ConceptShapes
from ccli.features import crops
from ccli.features.decoding import open_image
from ccli.features.encoder import BATCH, FeatureEncoder

CLIP_FOLDER = Path(ccli.clip.__file__).parent
UNTRAINED = {"RN50": "RN50-quickgelu", "ViT-B/32": "ViT-B-32-quickgelu"}


def save_untrained(architecture: str, folder: Path) -> str:
    """A model's folder as FrozenClip takes it, with random weights."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model(architecture)
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": model.visual.preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return str(folder)


def save_pictures(folder: Path, count: int, size: tuple[int, int], suffix: str) -> list[Path]:
    """Smooth noise with grain, different in each picture."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = [folder / f"{k}.{suffix}" for k in range(count)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(size, Image.BICUBIC)
        grain = rng.normal(0, 12, (size[1], size[0], 1))
        Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return paths


def fastest(rounds: int, works: dict[str, tuple[Callable[[], object], int]]) -> dict[str, float]:
    """Milliseconds an image of each (work, images in it), the works in turn."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(rounds):
        for name, (work, count) in works.items():
            start = time.perf_counter()
            work()
            best[name] = min(best[name], 1000 * (time.perf_counter() - start) / count)
    return best


def measure(name: str, precision: str, count: int, rounds: int, place: Path) -> tuple[list, float]:
    """A row of the table, and the mean cosine with float32's features."""
    small = name == "demo-clip"
    backbone = name if small else save_untrained(UNTRAINED[name], place / "model")
    paths = save_pictures(place / "pictures", count, (64, 64) if small else (500, 375), "png" if small else "jpg")
    clip, plain = FrozenClip(backbone, precision=precision), FrozenClip(backbone)
    facts, some = clip.facts, paths[:BATCH]

    def decode(path: Path) -> np.ndarray:
        return crops.centre_crop(open_image(path), facts.image_size, facts.interpolation)

    batch = crops.normalised([decode(path) for path in some], facts.mean, facts.std, "cpu")
    parts = batch.split(clip.images_at_once)
    as_built = _as_built(backbone, precision)
    stores = (FeatureEncoder(clip, place / f"store{k}", place) for k in range(rounds + 1))
    passes = 10 if small else 2
    works = {
        "model": (lambda: [clip.encode_image(x) for _ in range(passes) for x in parts], passes * BATCH),
        "decoding": (lambda: [decode(path) for path in some], len(some)),
        "store": (lambda: next(stores).images(paths), count),
        "open_clip": (lambda: as_built(batch), BATCH),
    }
    fastest(1, works | {"store": (lambda: next(stores).images(some), BATCH)})  # warm
    ms = fastest(rounds, works)
    bound = ms["model"] + ms["decoding"] / os.cpu_count()
    row = [name, precision, *(f"{ms[key]:.2f}" for key in ("open_clip", "model", "decoding")), f"{bound:.2f}"]
    row += [f"{ms['store']:.2f}", f"{bound / ms['store']:.2f}", f"{1000 / ms['store']:.0f}"]
    ours, theirs = (F.normalize(x - x.mean(0), dim=-1) for x in (clip.encode_image(batch), plain.encode_image(batch)))
    return row, float((ours * theirs).sum(-1).mean())


def _as_built(backbone: str, precision: str) -> Callable[[torch.Tensor], torch.Tensor]:
    from open_clip.factory import create_model

    folder = CLIP_FOLDER / "demo_clip" if backbone == "demo-clip" else backbone
    model = create_model(f"local-dir:{folder}").eval().to(PRECISIONS[precision])
    return torch.inference_mode()(lambda batch: model.encode_image(batch.contiguous().to(PRECISIONS[precision])))


def agreement(precision: str, root: str, place: Path) -> tuple[int, int]:
    """How many of concept_shapes' test images demo-clip names as in float32, of how many."""
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.DATASET.ROOT, cfg.DATASET.NUM_SHOTS, cfg.SEED = root, 1, 1
    data = ConceptShapes(cfg)
    named = []
    for kind in ("fp32", precision):
        store = FeatureEncoder(FrozenClip("demo-clip", precision=kind), place / "agreement", root)
        text = F.normalize(store.texts([f"a photo of a {name}." for name in data.classnames]), dim=-1)
        named.append((store.images([item.impath for item in data.test], "test images") @ text.T).argmax(1))
    return int((named[0] == named[1]).sum()), len(data.test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["demo-clip", *UNTRAINED], choices=["demo-clip", *UNTRAINED])
    parser.add_argument("--precision", default="fp32", choices=list(PRECISIONS))
    parser.add_argument("--images", type=int, default=512, help="to encode (demo-clip: eight times as many)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--root", default="data", help="folder of the data sets, for --precision bf16")
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # open_clip warns of untrained weights
    rows, cosines = [], {}
    for name in args.models:
        with tempfile.TemporaryDirectory() as place:
            count = args.images * (8 if name == "demo-clip" else 1)
            row, cosines[name] = measure(name, args.precision, count, args.rounds, Path(place))
            rows.append(row)
    print(f"milliseconds an image, {os.cpu_count()} cores, {torch.get_num_threads()} threads of the model")
    heads = [
        "model",
        "precision",
        "open_clip's",
        "model alone",
        "decoding alone",
        "bound",
        "to the store",
        "share of the bound",
    ]
    print(tabulate.tabulate(rows, [*heads, "images/s"], tablefmt="github", disable_numparse=True))
    if args.precision != "fp32":
        print(f"cosine with float32, centred: {', '.join(f'{name} {cosine:.4f}' for name, cosine in cosines.items())}")
        with tempfile.TemporaryDirectory() as place:
            same, of = agreement(args.precision, args.root, Path(place))
        print(f"demo-clip names the same class in {same} of {of} test images of concept_shapes")


if __name__ == "__main__":
    main()
