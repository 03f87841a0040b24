"""CCLI at ImageNet's size, and how time and memory grow: python -m benchmarks.scale

Without --store: bundles of generated features of width 1024, from a quarter of ImageNet's size to all of it in one of
classes, shots, concepts and test images at a time, each by train.py in a process of its own. There is no validation
set, so alpha is chosen on folds. Seconds are fit + selection + test as the record has them; memory is the process's
peak; "power" is the exponent of the growth over the last doubling (1 is linear).

--store: the whole size through the feature store: 66 000 images with ten crops each (with --cfg rn50_plain, the centre
and ten views of each shot), 1000 class texts and the vocabulary. The files are empty and never opened: their features
are generated and put into the store beforehand.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks.console import flag, script, table
from benchmarks.generated import WIDTH, around, bundle, centres, few_shot, imagenet_tree
from benchmarks.processes import Measured, measured, one_run, own_seconds
from ccli.clip.model import FrozenClip
from ccli.clip.prompts import CONCEPT_TEMPLATE, class_prompts, templates_for
from ccli.clip.weights import DEMO
from ccli.concepts.vocabulary import read_vocabulary
from ccli.datasets.imagenet import ImageNet
from ccli.features.bundles import write_bundle
from ccli.features.encoder import BATCH, FeatureEncoder, _row_names

FULL = {"classes": 1000, "shots": 16, "concepts": 2000, "test images": 50_000}
CROPS, CROP = 10, (0.5, 1.0)


def at(size: dict[str, int], place: Path, cfg: str) -> Measured:
    """One run on a bundle of that size."""
    features = bundle(size["classes"], size["shots"], 0, size["test images"], size["concepts"])
    path = write_bundle(place / f"{'-'.join(map(str, size.values()))}.npz", features)
    run = measured(one_run(path, "CCLI", size["shots"], place, cfg=cfg))
    path.unlink()
    return run


def growth(place: Path, cfg: str, names: Sequence[str]) -> list[list]:
    """Rows of the table."""
    whole = at(FULL, place, cfg)
    rows = []
    for name in names:
        sizes = [FULL | {name: FULL[name] // part} for part in (4, 2)]
        runs = [at(size, place, cfg) for size in tqdm(sizes, desc=name, leave=False, disable=None)] + [whole]
        work, memory = [own_seconds(run.record) for run in runs], [run.memory for run in runs]
        for size, run, own in zip([*sizes, FULL], runs, work):
            rows.append([name, size[name], f"{own:.1f}", f"{run.seconds:.1f}", f"{run.memory:.2f}", ""])
        rows[-1][-1] = ", ".join(f"{math.log2(values[2] / values[1]):.2f}" for values in (work, memory))
    return rows


def fill_store(root: Path, crops_of_all: bool) -> None:
    """Put the features that a run needs into the store, as demo-clip's."""
    data = few_shot(ImageNet, root, FULL["shots"])
    store, middle = FeatureEncoder(FrozenClip(DEMO), root / "store", root), centres(FULL["classes"])
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


def through_store(place: Path, cfg: str) -> Measured:
    imagenet_tree(place, FULL["shots"], FULL["test images"] // FULL["classes"])
    fill_store(place, crops_of_all=cfg != "rn50_plain")
    options = ("MODEL.BACKBONE.NAME", DEMO, *(("PROTOCOL", "fixed") if cfg == "rn50_plain" else ()))
    run = one_run("imagenet", "CCLI", FULL["shots"], place, *options, cfg=cfg, root=str(place))
    return measured(run, CCLI_STORE=str(place / "store"))


@script
@flag("--store", action="store_true", help="the whole size alone, through the feature store")
@flag("--cfg", default="rn50", choices=["rn50", "rn50_dense", "rn50_plain"], help="the form (plain: alpha fixed)")
@flag("--of", nargs="+", default=list(FULL), choices=FULL, help="without --store: what grows")
def main(args) -> None:
    if not args.store:
        heads = ["of", "number", "fit, select, test (s)", "train.py (s)", "peak memory (GB)", "power: time, memory"]
        print(table(growth(args.scratch, args.cfg, args.of), heads))
        return
    run = through_store(args.scratch, args.cfg)
    phases = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in run.record["seconds"].items())
    size = ", ".join(f"{number} {what}" for what, number in FULL.items())
    print(f"{args.cfg}: {size}; {CROPS} crops or views, {os.cpu_count()} cores")
    print(f"train.py in all {run.seconds:.1f} s ({phases}), peak memory {run.memory:.2f} GB")
