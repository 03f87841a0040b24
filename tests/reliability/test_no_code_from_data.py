"""Hostile files of every kind that a user may download, through the commands that read them: none of them runs.

Archives are tested by tests/datasets/test_archives.py, and the store's blocks by tests/features/test_store.py.
"""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
import yaml
from helpers import ROOT, bundle_args, bundle_file, make_bundle
from hostile import PICKLES, Trap, refused, told
from trees import Painter, split_tree

from ccli.errors import CcliError
from ccli.features.bundles import array_names, read_tip_adapter_cache, write_bundle

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")
EACH_PICKLE = pytest.mark.parametrize("kind", PICKLES)


@pytest.fixture
def trap(tmp_path):
    """What must not be there at the end."""
    path = tmp_path / "trap"
    yield path
    assert not path.exists(), "code of the file ran"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A bundle, and runs on it: of GDA, and of the trained form of CCLI, which has an epoch's checkpoints."""
    place = tmp_path_factory.mktemp("finished")
    bundle = bundle_file(place)
    for args in (bundle_args(bundle, place / "GDA", trainer="GDA"), gradient_args(bundle, place / "CCLI")):
        assert told("train", *args)[1] == ""
    return place


@pytest.fixture
def place(finished, tmp_path):
    """A copy that may be spoilt."""
    return shutil.copytree(finished, tmp_path / "runs")


def last_of(folder):
    """The last checkpoint; the pointer to it is left without a checksum, as older ones are, so that it is opened."""
    name = (folder / "checkpoint").read_text().split()[0]
    (folder / "checkpoint").write_text(f"{name}\n")
    return folder / name


def gradient_args(bundle, out) -> list:
    return bundle_args(bundle, out, "OPTIM.MAX_EPOCH", 2, "TRAIN.CHECKPOINT_FREQ", 1, cfg="rn50_plain")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """EuroSAT in miniature, in a folder as CoOp's."""
    root = tmp_path_factory.mktemp("pictures")
    used = lambda split: [(path, k) for part in split.values() for path, k, _ in part]  # noqa: E731
    split_tree(root, "eurosat", Painter(root / "painted"), used, real=False)
    return root


def picture_args(root, out, backbone, trainer="ZeroshotCLIP") -> list:
    return [
        *("--root", root, "--seed", 1, "--trainer", trainer, "--backbone", backbone, "--output-dir", out),
        *("--dataset-config-file", ROOT / "configs/datasets/eurosat.yaml"),
        *("--config-file", ROOT / f"configs/trainers/{trainer}/demo_clip.yaml", "DATASET.NUM_SHOTS", 1),
    ]


def test_the_traps_work_where_they_are_let(tmp_path):
    for k, write in enumerate(PICKLES.values()):
        write(tmp_path / "file", tmp_path / f"trap{k}")
        load = pickle.load if k == 0 else lambda file: torch.load(file, weights_only=False)
        with open(tmp_path / "file", "rb") as file:
            load(file)
        assert (tmp_path / f"trap{k}").exists()


@EACH_PICKLE
@pytest.mark.parametrize("name", ["the last", "model-best.pth.tar"])
def test_a_head_to_evaluate(place, trap, kind, name):
    head = place / "GDA/head"
    PICKLES[kind](last_of(head) if name == "the last" else head / name, trap)
    eval_only = ("--eval-only", "--model-dir", place / "GDA")
    refused(told("train", *eval_only, *bundle_args(place / "tiny.npz", place / "e", trainer="GDA"))[1], "checkpoint")


@EACH_PICKLE
def test_a_head_to_resume_from(place, trap, kind):
    run = place / "CCLI"
    (run / "result.json").unlink()
    PICKLES[kind](last_of(run / "head"), trap)
    refused(told("train", *gradient_args(place / "tiny.npz", run))[1], "cannot resume")


@EACH_PICKLE
def test_the_best_epoch(place, trap, kind):
    run = place / "CCLI"
    (run / "result.json").unlink()
    for path in run.rglob("best.safetensors"):
        path.unlink()
    PICKLES[kind](run / "head/best.safetensors", trap)
    error = told("train", *gradient_args(place / "tiny.npz", run))[1]
    assert not error or refused(error, "best.safetensors") is None


@EACH_PICKLE
@pytest.mark.parametrize("name", ["model.pth.tar-50", "model-best.pth.tar"])
def test_a_context_of_coop(tmp_path, trap, kind, name):
    (tmp_path / "seed1/prompt_learner").mkdir(parents=True)
    PICKLES[kind](tmp_path / "seed1/prompt_learner" / name, trap)
    refused(told("interpret_prompt", tmp_path / "seed1", "--backbone", "demo-clip")[1], name, "CoOp")
    refused(told("interpret_prompt", tmp_path / "seed1/prompt_learner" / name, "--backbone", "demo-clip")[1], name)


@EACH_PICKLE
@pytest.mark.parametrize("name", ["weights.pt", "weights.bin", "weights.safetensors"])
def test_weights_of_a_named_architecture(pictures, tmp_path, trap, kind, name):
    PICKLES[kind](tmp_path / name, trap)
    backbone = f"RN50@{tmp_path / name}"
    refused(told("train", *picture_args(pictures, tmp_path / "out", backbone))[1], name)


@EACH_PICKLE
@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "open_clip_model.safetensors"])
def test_a_folder_of_open_clip(pictures, tmp_path, tiny_clip_folder, trap, kind, name):
    folder = tmp_path / "clip"
    folder.mkdir()
    shutil.copy(tiny_clip_folder / "open_clip_config.json", folder)
    PICKLES[kind](folder / name, trap)
    refused(told("train", *picture_args(pictures, tmp_path / "out", folder))[1], name)


def test_a_folder_of_open_clip_that_brings_code(pictures, tmp_path, tiny_clip_folder, trap):
    folder = shutil.copytree(tiny_clip_folder, tmp_path / "clip")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "tokenization_x.py").write_text(f"import os; os.mkdir({str(trap)!r})")
    refused(told("train", *picture_args(pictures, tmp_path / "out", folder))[1], "trust_remote_code")


@pytest.mark.parametrize("name", ["classnames", "train_features", "test_labels", "concepts"])
def test_a_bundle_of_objects(tmp_path, trap, name):
    path = write_bundle(tmp_path / "b.npz", make_bundle())
    hostile = np.empty(2, object)
    hostile[:] = [Trap(trap), 1]
    np.savez(path, **dict(np.load(path)) | {name: hostile})
    refused(told("train", *bundle_args(path, tmp_path / "out"))[1], name, "b.npz")
    assert name in array_names(path)


@EACH_PICKLE
def test_a_bundle_that_is_a_pickle(tmp_path, trap, kind):
    PICKLES[kind](tmp_path / "b.npz", trap)
    refused(told("train", *bundle_args(tmp_path / "b.npz", tmp_path / "out"))[1], "b.npz")


@EACH_PICKLE
@pytest.mark.parametrize("name", ["keys_4shots", "values_4shots", "test_f", "test_l", "val_f", "val_l"])
def test_a_cache_of_tip_adapter(tmp_path, trap, kind, name):
    tensors = {"keys_4shots": torch.randn(8, 6), "values_4shots": torch.eye(2).repeat(3, 1)}
    tensors |= {f"{part}_f": torch.randn(5, 8) for part in ("test", "val")}
    tensors |= {f"{part}_l": torch.zeros(5, dtype=torch.long) for part in ("test", "val")}
    for key, tensor in tensors.items():
        torch.save(tensor, tmp_path / f"{key}.pt")
    read_tip_adapter_cache(tmp_path, 4)
    PICKLES[kind](tmp_path / f"{name}.pt", trap)
    with pytest.raises(CcliError, match=rf"{name}\.pt is not a plain tensor file"):
        read_tip_adapter_cache(tmp_path, 4)


def test_the_pickled_picks_in_folders_of_coop(pictures, tmp_path, trap, monkeypatch):
    monkeypatch.setenv("CCLI_STORE", str(tmp_path / "store"))
    folder = pictures / "eurosat"
    (folder / "split_fewshot").mkdir()
    for name in ("split_fewshot/shot_1-seed_1.pkl", "split_fewshot/shot_1_shuffled-seed_1.pkl", "preprocessed.pkl"):
        (folder / name).write_bytes(pickle.dumps({"train": Trap(trap), "val": []}))
    args = picture_args(pictures, tmp_path / "out", "demo-clip", "GDA")
    assert told("train", *args)[1] == ""
    (tmp_path / "picks.pkl").write_bytes(pickle.dumps(Trap(trap)))
    args[args.index("--output-dir") + 1] = tmp_path / "picked"
    refused(told("train", *args, "DATASET.PICKS", tmp_path / "picks.pkl")[1], "picks.pkl")


@pytest.mark.parametrize("option", ["--dataset-config-file", "--config-file"])
@pytest.mark.parametrize("tag", ["object/apply:os.mkdir", "object/new:os.mkdir", "name:os.mkdir", "module:os"])
def test_a_yaml_with_python_tags(tmp_path, trap, option, tag):
    path = tmp_path / "evil.yaml"
    path.write_text(f'CFG_NAME: !!python/{tag} ["{trap}"]\n')
    if tag == "object/apply:os.mkdir":
        yaml.unsafe_load(path.read_text())  # it works where it is let
        trap.rmdir()
    args = bundle_args(bundle_file(tmp_path), tmp_path / "out")
    args[args.index(option) + 1] = path
    refused(told("train", *args)[1], "evil.yaml")


def test_a_configuration_in_python(tmp_path, trap):
    """yacs would run it."""
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(trap)!r})\ncfg = {{}}\n")
    args = bundle_args(bundle_file(tmp_path), tmp_path / "out")
    args[args.index("--config-file") + 1] = tmp_path / "evil.py"
    refused(told("train", *args)[1], "evil.py")


@EACH_PICKLE
@pytest.mark.parametrize("name", ["classifier.safetensors", "classifier.json", "result.json"])
def test_a_run_that_is_asked(place, trap, kind, name, image_folder):
    PICKLES[kind](place / "GDA" / name, trap)
    error = told("predict", "--model-dir", place / "GDA", image_folder)[1]
    assert name == "result.json" or refused(error, name) is None
    told("report", place, "--to", place / "page.html")
    told("parse_test_res", place, "--table")


@pytest.mark.parametrize("head", ["os", "..clip", "antigravity", "ccli.methods.gda", "__main__", 3])
def test_a_classifier_that_names_another_module(place, trap, head, image_folder):
    facts = json.loads((place / "GDA/classifier.json").read_text())
    (place / "GDA/classifier.json").write_text(json.dumps(facts | {"head": head}))
    refused(told("predict", "--model-dir", place / "GDA", image_folder)[1], "classifier.json")
