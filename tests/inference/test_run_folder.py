"""Classifiers that runs leave: every trainer's comes back as it was, and what is damaged or another's is refused."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from helpers import build, bundle_args, bundle_file, run_here, unit_rows
from picture_folders import args, fill

from ccli import load_run
from ccli.clip.weights import absolute_backbone
from ccli.concepts.discovery import discover
from ccli.errors import CcliError
from ccli.fitting.calibration import Calibration, fit_temperature
from ccli.inference import saving
from ccli.inference.classifier import Classifier
from ccli.methods.zero_shot import ZeroShot
from ccli.results.records import read_record

TRAINERS = (
    "ZeroshotCLIP",
    "LinearProbe",
    "CLIPAdapter",
    "TipAdapter",
    "TipAdapterF",
    "TaskRes",
    "LPPlusPlus",
    "GDA",
    "CCLI",
)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_each_trainers_classifier_answers_as_the_trainer_does(trainer, tmp_path):
    made = build(*bundle_args(bundle_file(tmp_path), tmp_path / "run", trainer=trainer))
    made.train()
    run, test = load_run(tmp_path / "run"), made.task.test.features
    assert run.method == trainer and run.classnames == made.source.classnames and run.images is None
    assert torch.allclose(run.logits(test), made.head(test).detach(), atol=1e-5)
    record = read_record(tmp_path / "run")
    assert [run.classnames.index(name) for name in run.predict(test.numpy())] == record["predictions"]
    assert record["calibration"]["temperature"] == run.temperature
    if trainer == "ZeroshotCLIP":  # learns from no images, these neither
        assert run.calibration == Calibration(1.0, "none")
    else:
        assert record["calibration"]["fitted_on"] == "validation"
        assert run.temperature == fit_temperature(made.head(made.task.val.features).detach(), made.task.val.labels)
    assert np.allclose(run.predict_proba(test), (run.logits(test).double() / run.temperature).softmax(1))
    assert (run.concepts is not None) == (trainer == "CCLI")


@pytest.mark.parametrize("trainer", ["LinearProbe", "TipAdapter", "TipAdapterF", "LPPlusPlus", "GDA", "CCLI"])
def test_without_validation_images_folds_give_the_temperature(trainer, tmp_path):
    made = build(*bundle_args(bundle_file(tmp_path, val=0), tmp_path / "run", trainer=trainer))
    made.train()
    heads = [head for head, _ in made.held]
    assert len(heads) == 4 and sum(len(split) for _, split in made.held) == len(made.task.train)
    for head in heads:  # with what was chosen for the whole
        for name, value in made.hyper_parameters.items():
            assert not hasattr(head, name) or float(getattr(head, name)) == pytest.approx(value)
    logits = torch.cat([head(split.features).detach() for head, split in made.held])
    labels = torch.cat([split.labels for _, split in made.held])
    assert read_record(tmp_path / "run")["calibration"]["fitted_on"] == "cross-validation"
    assert load_run(tmp_path / "run").temperature == fit_temperature(logits, labels)


@pytest.mark.parametrize(
    "trainer, shots, opts", [("CCLI", 1, ()), ("TaskRes", 4, ()), ("GDA", 4, ("PROTOCOL", "paper"))]
)
def test_without_held_out_images_probabilities_stay_as_they_are(trainer, shots, opts, tmp_path):
    opts += ("OPTIM.MAX_EPOCH", 2) if trainer == "TaskRes" else ()
    if opts and opts[0] == "PROTOCOL":  # validation images are there, and are not the test set
        run_here(*bundle_args(bundle_file(tmp_path), tmp_path / "val", *opts, trainer=trainer, shots=shots))
        expected = "validation"
    else:
        expected = "none"
        run_here(*bundle_args(bundle_file(tmp_path, val=0), tmp_path / "val", *opts, trainer=trainer, shots=shots))
    said = read_record(tmp_path / "val")["calibration"]
    assert said["fitted_on"] == expected and (expected != "none" or said["temperature"] == 1.0)
    assert expected != "none" or said["ece"] == said["ece_uncalibrated"]


def test_the_recorded_error_is_that_of_the_loaded_run(tmp_path):
    made = build(*bundle_args(bundle_file(tmp_path), tmp_path / "run"))
    made.train()
    p, labels = load_run(tmp_path / "run").predict_proba(made.task.test.features), made.task.test.labels.numpy()
    which = np.ceil(p.max(1) * 15).astype(int)
    gaps = [abs((p.argmax(1) == labels)[which == b].sum() - p.max(1)[which == b].sum()) for b in range(1, 16)]
    assert read_record(tmp_path / "run")["calibration"]["ece"] == pytest.approx(sum(gaps) / len(p), abs=6e-4)


def test_a_test_elsewhere_has_the_runs_temperature(tmp_path):
    bundle = bundle_file(tmp_path)
    run_here(*bundle_args(bundle, tmp_path / "run"))
    run_here("--eval-only", "--model-dir", tmp_path / "run", *bundle_args(bundle, tmp_path / "again"))
    first, again = (read_record(tmp_path / name)["calibration"] for name in ("run", "again"))
    assert first == again and first["temperature"] != 1


def test_concepts_prototypes_and_examples_are_those_of_the_run(tmp_path):
    made = build(*bundle_args(bundle_file(tmp_path), tmp_path / "run", cfg="rn50_dense"))
    made.train()
    run, task = load_run(tmp_path / "run"), made.task
    assert run.concepts.names == task.concepts and set(run.concepts.kinds) == {"concept"}
    assert run.concepts.picks == discover(task.concept_features, task.train.features, 3)[1].tolist()
    means = torch.stack([task.train.features[task.train.labels == k].mean(0) for k in range(task.num_classes)])
    assert torch.allclose(run.prototypes, torch.nn.functional.normalize(means, dim=1), atol=1e-6)
    record, kept = read_record(tmp_path / "run"), run.examples
    wrong = [a != b for a, b in zip(kept.labels, kept.predictions)]
    assert wrong == sorted(wrong, reverse=True) and sum(wrong) == record["total"] - record["correct"]
    assert run.logits(kept.features).argmax(1).tolist() == kept.predictions
    why = run.explain(kept.features[:3])
    for one, logits in zip(why, run.logits(kept.features[:3])):
        summed = one.zero_shot + one.class_texts + one.constant + one.others + sum(r.part for r in one.concepts)
        assert summed == pytest.approx(one.total, abs=1e-9) and one.total == pytest.approx(
            float(logits.max()), abs=1e-5
        )


@pytest.mark.parametrize(
    "source, cfg", [("random", "rn50"), ("images", "rn50"), ("features", "rn50_dense"), ("none", "rn50_dense")]
)
def test_controls_have_no_named_concepts(source, cfg, tmp_path):
    opts = ("TRAINER.CCLI.SOURCE", source)
    run_here(*bundle_args(bundle_file(tmp_path), tmp_path / "run", *opts, cfg=cfg))
    run = load_run(tmp_path / "run")
    assert run.concepts is None
    with pytest.raises(CcliError, match="source of vectors is visual or text"):
        run.explain(unit_rows(1, run.width))
    with pytest.raises(CcliError, match="source of vectors is visual or text"):
        run.explain_class(run.classnames[0])


def test_coops_learned_texts_need_no_text_tower(tmp_path, tiny_clip_folder):
    fill(tmp_path / "shots/train", ant=2, bee=2)
    fill(tmp_path / "shots/test", ant=2, bee=2)
    cfg = ("MODEL.BACKBONE.NAME", tiny_clip_folder, "OPTIM.MAX_EPOCH", 2)
    run_here(*args(tmp_path / "shots", tmp_path / "run", *cfg, trainer="CoOp"))
    run, record = load_run(tmp_path / "run"), read_record(tmp_path / "run")
    assert isinstance(run.head, ZeroShot) and run.images.backbone == str(tiny_clip_folder)
    paths = [str(p) for name in ("ant", "bee") for p in sorted((tmp_path / "shots/test" / name).iterdir())]
    assert [run.classnames.index(name) for name in run.predict(paths)] == record["predictions"]


def test_a_run_is_enough_by_itself(tmp_path, monkeypatch):
    run_here(*bundle_args(bundle_file(tmp_path), tmp_path / "run"))
    (tmp_path / "moved").mkdir()
    for name in ("classifier.json", "classifier.safetensors"):
        shutil.copy(tmp_path / "run" / name, tmp_path / "moved")
    features = unit_rows(5, 32)
    first = load_run(tmp_path / "run").predict_proba(features)
    shutil.rmtree(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(load_run("moved").predict_proba(features), first)
    saving.save(load_run("moved"), "again")
    for name in ("classifier.json", "classifier.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "moved" / name).read_bytes()


@pytest.fixture
def saved(tmp_path):
    saving.save(Classifier(ZeroShot(unit_rows(3, 8), 9.0), "ZeroshotCLIP", ("a", "b", "c"), 8), tmp_path / "run")
    return tmp_path / "run"


def refusal(folder) -> str:
    with pytest.raises(CcliError) as error:
        load_run(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def changed(folder, **facts):
    path = folder / "classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    return folder


def test_what_is_not_a_runs_classifier_is_refused(saved, tmp_path):
    assert "not finished, was made by another version, or is none" in refusal(tmp_path)
    assert "version 2, this code reads version 1" in refusal(changed(saved, version=2))
    assert "names a head 'os'" in refusal(changed(saved, version=1, head="os"))
    assert "names a head '../x'" in refusal(changed(saved, head="../x"))
    assert "damaged" in refusal(changed(saved, head="gda"))  # another head's tensors
    assert "damaged" in refusal(changed(saved, head="zero_shot", classnames=["a"]))
    (saved / "classifier.json").write_text('{"version": 1')
    assert "classifier.json is damaged" in refusal(saved)
    (saved / "classifier.json").write_text("[]")
    assert "classifier.json is damaged" in refusal(saved)


def test_tensors_that_are_damaged_or_anothers_are_refused(saved, tmp_path):
    path = saved / "classifier.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert "does not belong to the classifier.json beside it" in refusal(saved)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "does not belong" in refusal(saved)
    path.unlink()
    assert "cannot be read" in refusal(saved)


def test_a_head_of_ones_own_is_told_and_the_run_ends_well(tmp_path, monkeypatch):
    class Own(ZeroShot):
        pass

    made = build(*bundle_args(bundle_file(tmp_path), tmp_path / "run", trainer="ZeroshotCLIP"))
    monkeypatch.setattr(made, "make_head", lambda task: Own(task.text_features, task.logit_scale))
    made.train()
    assert read_record(tmp_path / "run")["correct"] and not (tmp_path / "run/classifier.json").exists()
    own = Classifier(Own(unit_rows(3, 8), 1.0), "Own", ("a", "b", "c"), 8)
    with pytest.raises(CcliError, match="a Own cannot be saved"):
        saving.save(own, tmp_path / "own")
    assert not (tmp_path / "own").exists()


def test_features_of_another_kind_are_refused(saved):
    run = load_run(saved)
    for bad in (np.ones((2, 7)), np.ones(8), torch.ones(1, 2, 8)):
        with pytest.raises(CcliError, match=r"takes \(images, 8\)"):
            run.predict(bad)
    with pytest.raises(CcliError, match="not finite"):
        run.predict(np.full((1, 8), np.nan))
    with pytest.raises(CcliError, match="trained on features, not on pictures"):
        run.predict(["a.png"])
    assert run.predict(np.zeros((0, 8))) == [] and run.predict_proba(3 * np.eye(8)).shape == (8, 3)
    assert np.allclose(run.predict_proba(3 * np.eye(8)), run.predict_proba(np.eye(8)))  # of any length


def test_a_backbone_of_other_weights_is_refused(tmp_path, tiny_clip_folder):
    fill(tmp_path / "shots/train", ant=2, bee=2)
    fill(tmp_path / "shots/test", ant=1, bee=1)
    run_here(*args(tmp_path / "shots", tmp_path / "run"))
    image = str(tmp_path / "shots/test/ant/0.png")
    run = load_run(tmp_path / "run", backbone=str(tiny_clip_folder))
    with pytest.raises(CcliError, match="other weights than those that the classifier was trained on"):
        run.predict([image])
    assert load_run(tmp_path / "run", backbone="demo-clip").predict([image])[0] in ("ant", "bee")


def test_places_of_backbones_hold_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pt").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    assert absolute_backbone("ViT-B/16") == "ViT-B/16" and absolute_backbone("RN50@openai") == "RN50@openai"
    assert absolute_backbone("RN50@weights.pt") == f"RN50@{tmp_path}/weights.pt"
    assert absolute_backbone("folder") == os.path.join(tmp_path, "folder")


def test_saving_over_a_classifier_replaces_it_whole(saved, monkeypatch):
    before = load_run(saved).predict_proba(np.eye(8))
    new = Classifier(ZeroShot(unit_rows(3, 8, seed=5), 9.0), "x", ("a", "b", "c"), 8, Calibration(2.0, "validation"))
    monkeypatch.setattr(saving.json, "dumps", lambda facts: 1 / 0)  # cut off between the two files
    with pytest.raises(ZeroDivisionError):
        saving.save(new, saved)
    monkeypatch.undo()
    assert "does not belong" in refusal(saved)
    saving.save(new, saved)
    assert load_run(saved).temperature == 2.0 and not np.allclose(load_run(saved).predict_proba(np.eye(8)), before)
    assert sorted(path.name for path in saved.iterdir()) == ["classifier.json", "classifier.safetensors"]
