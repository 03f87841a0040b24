"""CCLI at ImageNet's size, and how time and memory grow: python -m benchmarks.scale [--store]

Without a flag: bundles of generated features of width 1024, from a quarter of ImageNet's size to all of it in one of
classes, shots, concepts and test images at a time (1000 classes, 16 shots, 2000 concepts, 50 000 test images), each by
train.py in a process of its own. There is no validation set, so alpha is chosen by cross-validation, four more fits.
Seconds are fit + selection + test as the record has them; memory is the process's peak. "power" is the exponent of the
growth over the last doubling: 1 is linear.

--store: the whole size through the feature store, as images would come: 66 000 images of which the store has ten crops
each (for the form to use; also, --cfg plain, the centre and ten views of each shot), 1000 class texts and the
vocabulary. The files are empty and never opened: their features are generated and put into the store beforehand.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from pathlib import Path

import tabulate
import torch
from dassl.config import get_cfg_default
from tqdm import tqdm

from benchmarks.generated import ROOT, WIDTH, Run, around, bundle, centres, on_bundle, run_train
from benchmarks.imagenet_listing import make_tree
from ccli.clip.model import FrozenClip
from ccli.clip.prompts import CONCEPT_TEMPLATE, class_prompts, templates_for
from ccli.concepts.vocabulary import read_vocabulary
from ccli.datasets.common.few_shot import extend_cfg
from ccli.datasets.imagenet import ImageNet
from ccli.features.bundles import write_bundle
from ccli.features.encoder import BATCH, FeatureEncoder, _row_names

FULL = {"classes": 1000, "shots": 16, "concepts": 2000, "test images": 50_000}
CROPS, CROP = 10, (0.5, 1.0)


def at(size: dict[str, int], place: Path) -> Run:
    """One run on a bundle of that size."""
    path = write_bundle(
        place / "scale.npz", bundle(size["classes"], size["shots"], 0, size["test images"], size["concepts"])
    )
    return run_train(place / "-".join(map(str, size.values())), *on_bundle(path, size["shots"]))


def growth(place: Path) -> list[list]:
    """Rows of the table."""
    whole = at(FULL, place)
    rows = []
    for name in FULL:
        sizes = [FULL | {name: FULL[name] // part} for part in (4, 2)]
        runs = [at(size, place) for size in tqdm(sizes, desc=name, leave=False, disable=None)] + [whole]
        for size, run in zip([*sizes, FULL], runs):
            rows.append([name, size[name], f"{_work(run):.1f}", f"{run.seconds:.1f}", f"{run.memory:.2f}", ""])
        rows[-1][-1] = (
            f"{math.log2(_work(runs[2]) / _work(runs[1])):.2f}, {math.log2(runs[2].memory / runs[1].memory):.2f}"
        )
    return rows


def _work(run: Run) -> float:
    return sum(run.record["seconds"][phase] for phase in ("fit", "select", "test"))


def fill_store(root: Path, crops_of_all: bool) -> None:
    """Features of what a run will ask for, in the store of demo-clip, whose name they go by."""
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.DATASET.ROOT, cfg.DATASET.NUM_SHOTS, cfg.SEED = str(root), FULL["shots"], 1
    data = ImageNet(cfg)
    clip = FrozenClip("demo-clip")
    store, middle = FeatureEncoder(clip, root / "store", root), centres(FULL["classes"])
    generator = torch.Generator().manual_seed(2)

    def fill(spec: dict, keys: list[str], labels: list[int] | None, noise: float) -> None:
        def encode(missing: list[int]):
            for start in tqdm(range(0, len(missing), BATCH), desc="Filling the store", leave=False, disable=None):
                rows = missing[start : start + BATCH]
                near = middle[[labels[k % len(labels)] for k in rows]] if labels else torch.zeros(len(rows), WIDTH)
                yield rows, around(near, noise, generator)

        store._store(spec).rows(keys, encode)

    texts = class_prompts(data.classnames, templates_for("ImageNet"))[0]
    concepts = [CONCEPT_TEMPLATE.format(name) for name in read_vocabulary(None).names]
    fill(store._text_spec(), texts, list(range(len(texts))), 2)
    fill(store._text_spec(), concepts, None, 1)
    for items in (data.train_x, data.test):
        paths, labels = [item.impath for item in items], [item.label for item in items]
        if crops_of_all or items is data.train_x:
            labels_of_rows = [label for label in labels for _ in range(CROPS)]
            fill(store._spec(CROP), _row_names(store._keys(paths), CROPS, CROP), labels_of_rows, 1.5)
        if not crops_of_all:
            fill(store._spec(None), _row_names(store._keys(paths), 1, None), labels, 1.5)


def through_store(place: Path, cfg: str) -> Run:
    make_tree(place, FULL["shots"], FULL["test images"] // FULL["classes"])
    names = "".join(f"n{k:08d} thing {k}\n" for k in range(FULL["classes"]))
    (place / "imagenet/classnames.txt").write_text(names)
    fill_store(place, crops_of_all=cfg == "rn50")
    os.environ["CCLI_STORE"] = str(place / "store")
    data = (
        "--root",
        place,
        "--backbone",
        "demo-clip",
        "--dataset-config-file",
        ROOT / "configs/datasets/imagenet.yaml",
    )
    protocol = () if cfg == "rn50" else ("PROTOCOL", "fixed")
    return run_train(place / "run", *data, "DATASET.NUM_SHOTS", FULL["shots"], *protocol, cfg=cfg)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help="the whole size alone, through the feature store")
    parser.add_argument(
        "--cfg", default="rn50", choices=["rn50", "rn50_plain"], help="with --store (plain: alpha fixed)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        if not args.store:
            heads = ["of", "number", "fit, select, test (s)", "train.py (s)", "peak memory (GB)", "power: time, memory"]
            print(tabulate.tabulate(growth(Path(place)), heads, tablefmt="github", disable_numparse=True))
            return
        run = through_store(Path(place), args.cfg)
    phases = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in run.record["seconds"].items())
    size = ", ".join(f"{number} {what}" for what, number in FULL.items())
    print(f"{args.cfg}: {size}; {CROPS} crops or views, {os.cpu_count()} cores")
    print(f"train.py in all {run.seconds:.1f} s ({phases}), peak memory {run.memory:.2f} GB")


if __name__ == "__main__":
    main()
