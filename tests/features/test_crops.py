"""FEATURES.CROPS: images as the mean of their views, for whichever trainer."""

import pytest
import torch
from helpers import ROOT, build, run_here
from torch.nn import functional as F

from ccli.results.records import read_record


def args(folder, trainer, *opts, dataset="concept_shapes", out="run"):
    return [
        *("--root", folder / "data", "--seed", 1, "--trainer", trainer, "--output-dir", folder / out),
        *("--dataset-config-file", ROOT / f"configs/datasets/{dataset}.yaml"),
        *("--config-file", ROOT / f"configs/trainers/{trainer}/demo_clip.yaml"),
        *("DATASET.NUM_SHOTS", 1, *opts),
    ]  # fmt: skip


def mean_of_views(source, items, count):
    views = source.encoder.views([item.impath for item in items], count, (0.5, 1.0))
    return F.normalize(sum(F.normalize(view, dim=1) for view in views), dim=1)


def test_an_image_is_the_mean_of_its_views(few_pictures, monkeypatch):
    monkeypatch.setattr("ccli.features.encoder.AT_ONCE", 5)  # several parts
    source = build(*args(few_pictures, "CCLI", "FEATURES.CROPS", 3)).source
    for split, items in (
        (source.train(False), source.dataset.train_x), (source.val(), source.dataset.val),
        (source.test(), source.dataset.test),
    ):  # fmt: skip
        assert torch.allclose(split.features, mean_of_views(source, items, 3), atol=1e-6)
        assert split.labels.tolist() == [item.label for item in items]
    centre = build(*args(few_pictures, "CCLI", "FEATURES.CROPS", 0)).source.test().features
    paths = [item.impath for item in source.dataset.test]
    assert torch.allclose(centre, F.normalize(source.encoder.images(paths), dim=1), atol=1e-6)
    assert not torch.allclose(centre, source.test().features, atol=1e-2)


def test_nothing_but_crops_is_encoded(few_pictures):
    trainer = build(*args(few_pictures, "CCLI"))
    found = trainer.source.wanted(type(trainer))
    everything = [*trainer.dm.dataset.train_x, *trainer.dm.dataset.val, *trainer.dm.dataset.test]
    assert found[0] == ([item.impath for item in everything], (10, (0.5, 1.0)))
    assert len(found) == 1  # no views of the shots beside their mean: the fit does not look at them
    trainer.before_train()
    stored = [path.read_text() for path in (few_pictures / "data/.ccli_features").glob("*/spec.json")]
    assert (
        sum('"view": "centre"' in text for text in stored) == 0 and sum('"view": "crop' in text for text in stored) == 1
    )


@pytest.mark.parametrize("trainer", ["ZeroshotCLIP", "TipAdapter"])
def test_other_methods_take_them_too(few_pictures, trainer):
    run_here(*args(few_pictures, trainer, "FEATURES.CROPS", 2))
    record = read_record(few_pictures / "run")
    assert record["config"]["FEATURES"]["CROPS"] == 2
    source = build(*args(few_pictures, trainer, "FEATURES.CROPS", 2)).source
    if trainer == "ZeroshotCLIP":
        logits = mean_of_views(source, source.dataset.test, 2) @ source.text()[0].T
        assert record["predictions"] == logits.argmax(1).tolist()


def test_an_evaluation_elsewhere_is_of_crops_too(few_pictures):
    run_here(*args(few_pictures, "CCLI"))
    target = args(few_pictures, "CCLI", dataset="concept_shapes_r", out="target")
    run_here("--eval-only", "--model-dir", few_pictures / "run", *target)
    assert read_record(few_pictures / "target")["config"]["FEATURES"]["CROPS"] == 10


def test_a_negative_number_is_refused(few_pictures):
    with pytest.raises(SystemExit, match=r"FEATURES\.CROPS must be an integer >= 0, got -1"):
        run_here(*args(few_pictures, "CCLI", "FEATURES.CROPS", -1))
