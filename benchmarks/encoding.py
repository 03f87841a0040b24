"""Images on disk to stored features against what the cores allow: python -m benchmarks.encoding [--precision bf16]

The bound per image is model time + decoding time / cores: the model alone on a batch in memory, with all cores, and
Pillow alone, in one thread, from file to resized crop. All are measured in turn, and the fastest of --rounds counts.
demo-clip has images of 64x64 pixels (PNG); RN50 and ViT-B/32 are untrained, with images of 500x375 (JPEG). Beside it,
the model as open_clip builds it, and with --precision bf16 how far features agree with float32's: the cosine of centred
features, and how often demo-clip names the same class of concept_shapes' test images.
"""

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

import ccli.clip
from benchmarks.console import fastest, flag, script, table
from benchmarks.generated import few_shot, images, untrained
from ccli.clip.model import PRECISIONS, FrozenClip
from ccli.clip.weights import DEMO
from ccli.datasets.concept_shapes import ConceptShapes
from ccli.features import crops
from ccli.features.decoding import open_image
from ccli.features.encoder import BATCH, FeatureEncoder

DEMO_FOLDER = Path(ccli.clip.__file__).parent / "demo_clip"
MODELS = {DEMO: DEMO, "RN50": "RN50-quickgelu", "ViT-B/32": "ViT-B-32-quickgelu"}


def measure(name: str, precision: str, count: int, rounds: int, place: Path) -> tuple[list, float]:
    """A row of the table, and the mean cosine with float32's features."""
    small = name == DEMO
    backbone = untrained(MODELS[name], place)
    paths = images(place / "images", count, (64, 64) if small else (500, 375), "png" if small else "jpg")
    clip, plain = FrozenClip(backbone, precision=precision), FrozenClip(backbone)
    facts, some, passes = clip.facts, paths[:BATCH], 10 if small else 2

    def decode(path: Path) -> np.ndarray:
        return crops.centre_crop(open_image(path), facts.image_size, facts.interpolation)

    batch = crops.normalised([decode(path) for path in some], facts.mean, facts.std, "cpu")
    parts, as_built = batch.split(clip.images_at_once), _as_built(backbone, precision)
    stores = (FeatureEncoder(clip, place / f"store{k}", place) for k in range(rounds + 1))

    def works(stored: list[Path]) -> dict[str, tuple[Callable[[], object], int]]:
        """Work by name, and the images in it."""
        return {
            "open_clip": (lambda: as_built(batch), BATCH),
            "model": (lambda: [clip.encode_image(x) for _ in range(passes) for x in parts], passes * BATCH),
            "decoding": (lambda: [decode(path) for path in some], len(some)),
            "store": (lambda: next(stores).images(stored), len(stored)),
        }

    fastest(1, [work for work, _ in works(some).values()])  # warm
    seconds, _ = fastest(rounds, [work for work, _ in works(paths).values()])
    ms = {key: 1000 * s / n for s, (key, (_, n)) in zip(seconds, works(paths).items())}
    bound = ms["model"] + ms["decoding"] / os.cpu_count()
    row = [name, precision, *(f"{ms[key]:.2f}" for key in ("open_clip", "model", "decoding")), f"{bound:.2f}"]
    row += [f"{ms['store']:.2f}", f"{bound / ms['store']:.2f}", f"{1000 / ms['store']:.0f}"]
    ours, theirs = (F.normalize(x - x.mean(0), dim=-1) for x in (clip.encode_image(batch), plain.encode_image(batch)))
    return row, float((ours * theirs).sum(-1).mean())


def _as_built(backbone: str, precision: str) -> Callable[[torch.Tensor], torch.Tensor]:
    from open_clip.factory import create_model

    folder = DEMO_FOLDER if backbone == DEMO else backbone
    model = create_model(f"local-dir:{folder}").eval().to(PRECISIONS[precision])
    return torch.inference_mode()(lambda batch: model.encode_image(batch.contiguous().to(PRECISIONS[precision])))


def agreement(precision: str, root: str, place: Path) -> tuple[int, int]:
    """How many of concept_shapes' test images demo-clip names as in float32, and how many there are."""
    data, named = few_shot(ConceptShapes, root, 1), []
    for kind in ("fp32", precision):
        store = FeatureEncoder(FrozenClip(DEMO, precision=kind), place / "agreement", root)
        text = F.normalize(store.texts([f"a photo of a {name}." for name in data.classnames]), dim=-1)
        named.append((store.images([item.impath for item in data.test], "test images") @ text.T).argmax(1))
    return int((named[0] == named[1]).sum()), len(data.test)


@script
@flag("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
@flag("--precision", default="fp32", choices=list(PRECISIONS))
@flag("--images", type=int, default=512, help="to encode (demo-clip: eight times as many)")
@flag("--rounds", type=int, default=3)
@flag("--root", default="data", help="folder of the data sets, for --precision bf16")
def main(args) -> None:
    logging.disable(logging.WARNING)  # open_clip warns of untrained weights
    rows, cosines = [], []
    for name in args.models:
        with tempfile.TemporaryDirectory() as place:
            count = args.images * (8 if name == DEMO else 1)
            row, cosine = measure(name, args.precision, count, args.rounds, Path(place))
            rows.append(row)
            cosines.append(f"{name} {cosine:.4f}")
    print(f"milliseconds per image, {os.cpu_count()} cores, {torch.get_num_threads()} threads of the model")
    heads = ["model", "precision", "open_clip's", "model alone", "decoding alone", "bound", "to the store"]
    print(table(rows, [*heads, "share of the bound", "images/s"]))
    if args.precision != "fp32":
        print(f"cosine with float32, centred: {', '.join(cosines)}")
        with tempfile.TemporaryDirectory() as place:
            same, of = agreement(args.precision, args.root, Path(place))
        print(f"demo-clip names the same class in {same} of {of} test images of concept_shapes")
