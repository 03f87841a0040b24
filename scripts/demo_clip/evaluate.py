"""How much of concept_shapes' test images demo-clip names: python -m scripts.demo_clip.evaluate [--root DATA]

Prints the share of images whose class name, full combination, colour, texture and shape it names, among all names of
that kind. The combinations are held out of its training.
"""

import os
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.console import flag, script
from ccli.clip.model import FrozenClip
from ccli.clip.weights import DEMO
from ccli.datasets.common.splits import read_split
from ccli.datasets.concept_shapes import SPLIT_FILE, ConceptShapes
from ccli.datasets.scenes.classes import CLASSES
from ccli.datasets.scenes.parts import COLOURS, SHAPES, TEXTURES
from ccli.features.encoder import FeatureEncoder


@script
@flag("--root", type=Path, default="data", help="folder of the data sets")
def main(args) -> None:
    root = args.root.absolute()
    folder = ConceptShapes.folder(root)
    items = read_split(folder / SPLIT_FILE).test
    store = FeatureEncoder(FrozenClip(DEMO), os.environ.get("CCLI_STORE") or root / ".ccli_features", root)
    images = F.normalize(store.images([folder / "images" / path for path, _, _ in items], "test images"), dim=-1)
    triples = [CLASSES[name] for _, _, name in items]

    def share(sentences: list[str], truth: list[int]) -> float:
        best = (images @ F.normalize(store.texts(sentences), dim=-1).T).argmax(1)
        return 100 * float((best == torch.tensor(truth)).float().mean())

    names, combinations = list(CLASSES), list(CLASSES.values())
    labels = [label for _, label, _ in items]
    print(f"class name          {share([f'a photo of a {name}.' for name in names], labels):5.1f} % of {len(items)}")
    print(f"full combination    {share(['a photo of a ' + ' '.join(c) + '.' for c in combinations], labels):5.1f} %")
    for position, (what, parts) in enumerate((("colour", COLOURS), ("texture", TEXTURES), ("shape", SHAPES))):
        truth = [list(parts).index(triple[position]) for triple in triples]
        print(f"{what:<8}among {len(parts):<5} {share([f'The photo is {part}.' for part in parts], truth):5.1f} %")
