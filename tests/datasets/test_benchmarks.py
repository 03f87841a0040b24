"""Each of the 15 benchmarks, from its official tree in miniature through train.py with demo-clip."""

import random
from collections import Counter

import pytest
from dassl.data.datasets import DATASET_REGISTRY
from helpers import ROOT, config, run_here
from trees import REAL, SPLIT_SETS, Painter, aircraft_tree, imagenet_tree, real_split, split_tree, synset, target_tree

from ccli.datasets.caltech101 import Caltech101
from ccli.datasets.common.few_shot import FewShotDataset
from ccli.results.records import read_record
from ccli.sweeps.config import import_all

TARGETS = {
    "imagenetv2": "ImageNetV2", "imagenet_sketch": "ImageNetSketch",
    "imagenet_a": "ImageNetA", "imagenet_r": "ImageNetR",
}  # fmt: skip
SHOTS = 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("DATA")


@pytest.fixture(scope="module")
def paint(root):
    return Painter(root / "sources")


def published_draw(split, shots=SHOTS, seed=1):
    """CoOp's draw with the global generator, as (path, label, class name)."""
    random.seed(seed)
    drawn = {}
    for part, count in (("train", shots), ("val", min(shots, 4))):
        by_label = {}
        for entry in split[part]:
            by_label.setdefault(entry[1], []).append(tuple(entry))
        drawn[part] = [x for of in by_label.values() for x in (random.sample(of, count) if len(of) >= count else of)]
    return drawn


def train_args(root, name, *opts, trainer="CCLI"):
    return [
        *("--root", root, "--seed", 1, "--trainer", trainer, "--output-dir", root / "runs" / trainer / name),
        *("--dataset-config-file", ROOT / f"configs/datasets/{name}.yaml"),
        *("--config-file", ROOT / f"configs/trainers/{trainer}/demo_clip.yaml"),
        *(*opts, "FEATURES.CROPS", 0),  # trees are read here, and ten crops of all their images take minutes
    ]  # fmt: skip


def load(root, registered, seed=1, **dataset):
    import_all("ccli.datasets")
    cfg = config(ROOT=str(root), NUM_SHOTS=SHOTS, **dataset)
    cfg.SEED = seed
    return DATASET_REGISTRY.get(registered)(cfg)


def seen(items, folder):
    return [(item.impath.removeprefix(f"{folder}/"), item.label, item.classname) for item in items]


def check_run(root, name, split):
    """Train on a tree and compare the record with the split, counted here."""
    out = run_here(*train_args(root, name, "DATASET.NUM_SHOTS", SHOTS))
    record = read_record(root / "runs/CCLI" / name)
    names = {label: class_name for _, label, class_name in split["test"]}
    counts = Counter(label for _, label, _ in split["test"])
    assert record["dataset"] == name and record["total"] == len(split["test"])
    assert [(x["name"], x["total"]) for x in record["per_class"]] == [(names[k], counts[k]) for k in sorted(names)]
    assert f"* total: {len(split['test']):,}" in out


@pytest.mark.parametrize("name", SPLIT_SETS)
def test_a_benchmark_with_a_split_file(root, paint, name):
    registered, folder, images, classes, _ = SPLIT_SETS[name]
    real = name in REAL and real_split(name) is not None  # otherwise one of the same form

    def used(split):
        """The test images and what seeds 1 and 2 draw; no other file of the split exists."""
        drawn = [x for seed in (1, 2) for part in published_draw(split, seed=seed).values() for x in part]
        return {(path, label) for path, label, _ in drawn + split["test"]}

    split = split_tree(root, name, paint, used, real)
    check_run(root, name, split)
    for seed in (1, 2):
        dataset, drawn = load(root, registered, seed), published_draw(split, seed=seed)
        where = root / folder / images
        assert seen(dataset.train_x, where) == drawn["train"] and seen(dataset.val, where) == drawn["val"]
        assert seen(dataset.test, where) == [tuple(entry) for entry in split["test"]]
        assert dataset.num_classes == classes == len(dataset.class_ids)


def test_aircraft(root, paint):
    split = aircraft_tree(root, paint)
    check_run(root, "fgvc_aircraft", split)
    dataset, drawn = load(root, "FGVCAircraft"), published_draw(split)
    where = root / "fgvc_aircraft/images"
    assert seen(dataset.train_x, where) == drawn["train"] and seen(dataset.val, where) == drawn["val"]
    assert dataset.classnames == [f"A{k} / type-{k}" for k in range(100)]


@pytest.fixture(scope="module")
def imagenet(root, paint):
    """ImageNet's tree and a run of CCLI and of zero-shot CLIP on it."""
    imagenet_tree(root, paint)
    for trainer in ("CCLI", "ZeroshotCLIP"):
        run_here(*train_args(root, "imagenet", "DATASET.NUM_SHOTS", 1, trainer=trainer))
    return root


def test_imagenet(imagenet):
    record = read_record(imagenet / "runs/CCLI/imagenet")
    assert record["total"] == 1000 and [x["name"] for x in record["per_class"]] == [f"thing {k}" for k in range(1000)]
    assert record["selected_by"] == "default"  # it has no validation set, and never its test set
    split = {
        "train": [[f"{synset(k)}/{synset(k)}_{n}.JPEG", k, f"thing {k}"] for k in range(1000) for n in (0, 194, 97)],
        "val": [],
    }
    dataset = load(imagenet, "ImageNet")
    assert seen(dataset.train_x, imagenet / "imagenet/images/train") == published_draw(split)["train"]
    assert not dataset.val and dataset.class_ids == [synset(k) for k in range(1000)]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_of_imagenet(imagenet, paint, name):
    classes = target_tree(imagenet, name, paint)
    dataset = load(imagenet, TARGETS[name])
    assert [(item.label, item.classname) for item in dataset.test] == [(j, f"thing {k}") for j, k in enumerate(classes)]
    assert dataset.class_ids == [synset(k) for k in classes]
    for trainer in ("CCLI", "ZeroshotCLIP"):
        args = train_args(imagenet, name, trainer=trainer)
        out = run_here("--eval-only", "--model-dir", imagenet / "runs" / trainer / "imagenet", *args)
        record = read_record(imagenet / "runs" / trainer / name)
        assert record["total"] == len(classes) and f"* correct: {record['correct']:,}" in out
        assert max(record["predictions"]) < len(classes)
        assert record["trained_on"] == "imagenet" and record["shots"] == 1


def test_zero_shot_alone_equals_the_restricted_one(imagenet, paint):
    """Text of 200 classes, or the logits of 1000 restricted to them by synset: the same predictions."""
    if not (imagenet / "imagenet-rendition").exists():
        target_tree(imagenet, "imagenet_r", paint)
    run_here(*train_args(imagenet, "imagenet_r", "OUTPUT_DIR", imagenet / "alone", trainer="ZeroshotCLIP"))
    evaluate = ("--eval-only", "--model-dir", imagenet / "runs/ZeroshotCLIP/imagenet")
    args = train_args(imagenet, "imagenet_r", "OUTPUT_DIR", imagenet / "cut", trainer="ZeroshotCLIP")
    run_here(*evaluate, *args)
    alone, cut = (read_record(imagenet / name) for name in ("alone", "cut"))
    assert alone["predictions"] == cut["predictions"] and alone["per_class"] == cut["per_class"]


def test_a_target_is_not_trained_on(imagenet, paint):
    if not (imagenet / "imagenetv2").exists():
        target_tree(imagenet, "imagenetv2", paint)
    with pytest.raises(SystemExit, match="ImageNetV2 is for evaluation only"):
        run_here(*train_args(imagenet, "imagenetv2", "OUTPUT_DIR", imagenet / "no", "DATASET.NUM_SHOTS", 1))


def test_every_benchmark_is_one_small_loader_and_one_yaml():
    import_all("ccli.datasets")
    for name in [*SPLIT_SETS, "fgvc_aircraft", "imagenet", *TARGETS]:
        lines = (ROOT / "datasets" / f"{name}.py").read_text().splitlines()
        assert len(lines) < (20 if name in SPLIT_SETS else 100)
        registered = (ROOT / f"configs/datasets/{name}.yaml").read_text().split('"')[1]
        loader = DATASET_REGISTRY.get(registered)
        assert issubclass(loader, FewShotDataset) and loader.short_name == name and loader.published
    assert Caltech101.published[:4] == (100, 4128, 1649, 2465)
