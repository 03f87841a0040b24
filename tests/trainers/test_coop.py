"""CoOp as a trainer, on a few generated pictures with a small text tower."""

import json
import shutil

import pytest
import torch
from helpers import ROOT, build, run_here

from ccli.datasets.concept_shapes import ConceptShapes, ConceptShapesR, ConceptShapesV2
from ccli.results.records import read_record

SHORT = ("TRAINER.COOP.N_CTX", 4, "OPTIM.MAX_EPOCH", 3, "FEATURES.VIEWS", 2)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """concept_shapes and one shifted version, small."""
    folder = tmp_path_factory.mktemp("DATA")
    counts = {cls: cls.counts for cls in (ConceptShapes, ConceptShapesV2)}
    ConceptShapes.counts, ConceptShapesV2.counts = {"train": 4, "val": 2, "test": 2}, {"test": 2}
    ConceptShapes.folder(folder), ConceptShapesR.folder(folder)
    for cls, count in counts.items():
        cls.counts = count
    return folder


def args(root, out, *opts, dataset="concept_shapes", trainer="CoOp", flags=(), shots=2, model="demo-clip"):
    return [
        *("--root", root, "--seed", 1, "--trainer", trainer, "--output-dir", out, "--backbone", model, *flags),
        *("--dataset-config-file", ROOT / f"configs/datasets/{dataset}.yaml"),
        *("--config-file", ROOT / f"configs/trainers/{trainer}/demo_clip.yaml"),
        *("DATASET.NUM_SHOTS", shots, *(SHORT if trainer == "CoOp" else ()), *opts),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "coop"
    run_here(*args(root, out))
    return out


def test_a_run_and_its_checkpoint(root, run):
    record = read_record(run)
    assert record["total"] == 48 and record["selected_by"] == "validation"
    assert 1 <= record["hyper_parameters"]["epochs"] <= 3
    state = torch.load(run / "head/model.pth.tar-3", weights_only=True)["state_dict"]
    assert set(state) == {"ctx"} and state["ctx"].shape == (4, 64)


def test_predictions_are_those_of_the_learned_text_features(root, run):
    trainer = build(*args(root, run.parent / "again"))
    trainer.load_model(str(run))
    with torch.no_grad():
        text = trainer.head.text_features()
        logits = trainer.source.logit_scale * trainer._test.features @ text.T
    assert logits.argmax(1).tolist() == read_record(run)["predictions"]
    assert torch.allclose(text.norm(dim=1), torch.ones(24), atol=1e-5)


def test_another_data_set_is_read_by_its_class_names(root, run, tmp_path):
    """The cross-data-set row: contexts of 24 classes beside the names of 8, equal to the 8 of the 24."""
    flags = ("--eval-only", "--model-dir", run)
    run_here(*args(root, tmp_path / "r", dataset="concept_shapes_r", flags=flags))
    record = read_record(tmp_path / "r")
    assert record["trained_on"] == "concept_shapes" and record["trainer"] == "CoOp" and record["total"] == 16
    trainer = build(*args(root, tmp_path / "b", dataset="concept_shapes_r"))
    trainer.load_model(str(run))
    whole = build(*args(root, tmp_path / "w"))
    whole.load_model(str(run))
    with torch.no_grad():
        assert torch.allclose(trainer.head.text_features(), whole.head.text_features()[::3], atol=1e-5)
    out = run_here(*args(root, tmp_path / "e", dataset="concept_shapes_r", flags=(*flags, "--load-epoch", 3)))
    assert "* total: 16" in out  # the last epoch's checkpoint is the run's
    assert read_record(tmp_path / "e")["predictions"] == record["predictions"]


def test_base_to_new(root, tmp_path):
    base, new = "DATASET.SUBSAMPLE_CLASSES base", "DATASET.SUBSAMPLE_CLASSES new"
    run_here(*args(root, tmp_path / "base", *base.split()))
    run_here(*args(root, tmp_path / "new", *new.split(), flags=("--eval-only", "--model-dir", tmp_path / "base")))
    records = [read_record(tmp_path / part) for part in ("base", "new")]
    assert [r["dataset"] for r in records] == ["concept_shapes (base)", "concept_shapes (new)"]
    assert [len(r["per_class"]) for r in records] == [12, 12] and records[1]["trained_on"] == "concept_shapes (base)"


def test_a_checkpoint_of_coops_own_code(root, run, tmp_path):
    """Its token vectors, which belong to its own classes, are dropped."""
    ctx = torch.load(run / "head/model.pth.tar-3", weights_only=True)["state_dict"]["ctx"]
    folder = tmp_path / "theirs/prompt_learner"
    folder.mkdir(parents=True)
    state = {"ctx": ctx, "token_prefix": torch.zeros(7, 1, 64), "token_suffix": torch.zeros(7, 72, 64)}
    content = {"state_dict": state, "epoch": 50, "optimizer": None, "scheduler": None, "val_result": None}
    torch.save(content, folder / "model.pth.tar-50")
    flags = ("--eval-only", "--model-dir", tmp_path / "theirs", "--load-epoch", 50)
    out = run_here(*args(root, tmp_path / "o", flags=flags))
    assert f"* correct: {read_record(run)['correct']}\n" in out
    assert "No record is written" in out and not (tmp_path / "o/result.json").exists()


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("csc", [False, True])
def test_every_kind_of_context_trains(root, tmp_path, position, csc):
    opts = ("TRAINER.COOP.CLASS_TOKEN_POSITION", position, "TRAINER.COOP.CSC", csc, "OPTIM.MAX_EPOCH", 1)
    run_here(*args(root, tmp_path / "o", *opts))
    shape = torch.load(tmp_path / "o/head/model.pth.tar-1", weights_only=True)["state_dict"]["ctx"].shape
    assert shape == ((24, 4, 64) if csc else (4, 64))


def test_without_validation_the_last_epoch_stands(root, tmp_path):
    folder = tmp_path / "data/concept_shapes"
    shutil.copytree(root / "concept_shapes", folder)
    path = folder / "split_zhou_ConceptShapes.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"val": []}))
    run_here(*args(tmp_path / "data", tmp_path / "o"))
    record = read_record(tmp_path / "o")
    assert record["selected_by"] == "default" and record["hyper_parameters"] == {"epochs": 3}


def test_epochs_by_shots(root, tmp_path):
    planned = {}
    for shots in (1, 2, 3, 4, 8, 16, -1):
        trainer = build(*args(root, tmp_path / "o", "OPTIM.MAX_EPOCH", 0, shots=shots))
        planned[shots] = trainer.planned_epochs()
        trainer.dm.dataset.short_name = "imagenet"
        assert trainer.planned_epochs() == 50
    assert planned == {1: 50, 2: 100, 3: 100, 4: 100, 8: 200, 16: 200, -1: 200}


def refused(*argv) -> str:
    with pytest.raises(SystemExit) as caught:
        run_here(*argv)
    assert str(caught.value).startswith("error: ") and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_class_specific_context_knows_its_classes_alone(root, tmp_path):
    csc = ("TRAINER.COOP.CSC", True, "OPTIM.MAX_EPOCH", 1)
    run_here(*args(root, tmp_path / "o", *csc))
    flags = ("--eval-only", "--model-dir", tmp_path / "o")
    message = refused(*args(root, tmp_path / "r", *csc, dataset="concept_shapes_r", flags=flags))
    assert "the context has shape (24, 4, 64), and here it has (8, 4, 64)" in message


def test_bad_settings(root, tmp_path):
    message = refused(*args(root, tmp_path / "o", "TRAINER.COOP.CLASS_TOKEN_POSITION", "mid"))
    assert "CLASS_TOKEN_POSITION must be one of end, middle, front, got 'mid'. Did you mean 'middle'?" in message
    assert "N_CTX must be an integer >= 1, got 0" in refused(*args(root, tmp_path / "o", "TRAINER.COOP.N_CTX", 0))
    assert "shorter" in refused(*args(root, tmp_path / "o", "TRAINER.COOP.N_CTX", 76))


def test_a_backbone_without_a_text_tower(root, tmp_path, tiny_clip_folder):
    """Refused before any image is encoded."""
    for name, change in {"none": {"text_cfg": None}, "other": {"custom_text": True}}.items():
        folder = tmp_path / name
        shutil.copytree(tiny_clip_folder, folder)
        config = json.loads((folder / "open_clip_config.json").read_text())
        config["model_cfg"] |= change
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        message = refused(*args(root, tmp_path / "o", model=folder))
        assert ("no text tower" if name == "none" else "of another architecture") in message
    assert not (root / ".ccli_features" / "none").exists()
