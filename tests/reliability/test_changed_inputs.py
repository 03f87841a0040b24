"""Files that have changed under a run: what was made of the old ones is not taken for a result of the new ones."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import bundle_args, bundle_file, config, run_here
from picture_folders import args, fill
from PIL import Image
from safetensors.torch import load_file, save_file

import ccli
from ccli.datasets.concept_shapes import ConceptShapesV2
from ccli.features.keys import images_stamp
from ccli.results.records import read_record
from ccli.trainers.common.options import plain_config


@pytest.fixture
def pets(tmp_path) -> Path:
    """Bitmaps, which all have one size."""
    folder = fill(tmp_path / "pets", cat=6, dog=6)
    for path in folder.rglob("*.png"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    return folder


def repaint(*paths: Path) -> None:
    for k, path in enumerate(paths):
        size = path.stat().st_size
        noise = np.random.default_rng(k).integers(0, 256, (16, 20, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        assert path.stat().st_size == size


def refused(*argv) -> str:
    with pytest.raises(SystemExit) as end:
        run_here(*argv)
    return str(end.value)


def test_pictures_of_a_finished_run(tmp_path, pets):
    command = ("--skip-done", *args(pets, tmp_path / "run", trainer="ZeroshotCLIP"))
    run_here(*command)
    assert "is done; skipped" in run_here(*command)
    repaint(pets / "cat/0.bmp")
    assert "run holds a run on images that were other files than now" in refused(*command)
    shutil.rmtree(tmp_path / "run")
    assert "accuracy" in run_here(*command)


def test_pictures_between_a_kill_and_its_resumption(tmp_path, pets):
    command = args(pets, tmp_path / "run", "OPTIM.MAX_EPOCH", 2)
    run_here(*command)
    (tmp_path / "run/result.json").unlink()
    assert "accuracy" in run_here(*command)  # from its checkpoint
    (tmp_path / "run/result.json").unlink()
    repaint(*pets.rglob("*.bmp"))
    assert "images that were other files than now" in refused(*command)


def test_pictures_of_an_evaluation(tmp_path, pets):
    """Those of its target alone: it is made again."""
    run_here(*args(pets, tmp_path / "run", trainer="ZeroshotCLIP"))
    target = fill(tmp_path / "other", train__cat=2, train__dog=2, test__cat=2, test__dog=2)
    flags = ("--skip-done", "--eval-only", "--model-dir", tmp_path / "run")
    command = (*flags, *args(target, tmp_path / "eval", trainer="ZeroshotCLIP"))
    run_here(*command)
    os.utime(target / "train/cat/0.png", ns=(0, 0))
    assert "is done; skipped" in run_here(*command)
    os.utime(target / "test/cat/0.png", ns=(0, 0))
    assert "accuracy" in run_here(*command) and "is done; skipped" in run_here(*command)


def test_the_stamp_of_images(tmp_path):
    folder = fill(tmp_path / "a", cat=2)
    paths = [folder / "cat/0.png", folder / "cat/1.png"]
    first = images_stamp(paths, folder)
    assert len(first) == 16 and first == images_stamp([*reversed(paths), paths[0]], folder)
    moved = shutil.copytree(folder, tmp_path / "b")
    assert images_stamp([moved / "cat/0.png", moved / "cat/1.png"], moved) == first
    found = {first, images_stamp(paths[:1], folder), images_stamp(paths, tmp_path)}
    os.utime(paths[0], ns=(1, 1))
    found.add(images_stamp(paths, folder))
    assert len(found) == 4


def test_the_vocabulary(tmp_path, pets):
    words = tmp_path / "words.txt"
    words.write_text("red\nblue\nround\nstriped\n")
    command = args(pets, tmp_path / "run", "OPTIM.MAX_EPOCH", 1, "FEATURES.VOCABULARY", words)
    run_here(*command)
    assert read_record(tmp_path / "run")["config"]["FEATURES"]["VOCABULARY"].startswith("words.txt ")
    words.write_text("wooden\nmetal\nstriped\nsoft\n")
    for flags in ((), ("--skip-done",)):
        message = refused(*flags, *command)
        assert "holds a run with FEATURES.VOCABULARY 'words.txt " in message and message.count("words.txt") == 2


def test_weights_of_ones_own(tmp_path, pets):
    model = shutil.copytree(Path(ccli.__file__).parent / "clip" / "demo_clip", tmp_path / "model")
    command = ("--skip-done", "--backbone", model, *args(pets, tmp_path / "run", trainer="ZeroshotCLIP"))
    run_here(*command)
    assert "is done; skipped" in run_here(*command)
    (weights,) = model.glob("*.safetensors")
    tensors = load_file(weights)
    name = max(tensors, key=lambda key: tensors[key].numel())
    save_file(tensors | {name: tensors[name] * torch.tensor(1.01).to(tensors[name].dtype)}, weights)
    assert "holds a run with MODEL.BACKBONE.FILES" in refused(*command)
    shutil.rmtree(model)
    assert "is done; skipped" in run_here(*command)  # nothing says that it was another


def test_the_list_of_a_benchmarks_images(tmp_path):
    def kept() -> dict:
        return plain_config(config(NAME="DescribableTextures", ROOT=str(tmp_path)))["DATASET"]

    assert "SPLIT_FILE" not in kept()
    path = tmp_path / "dtd/split_zhou_DescribableTextures.json"
    path.parent.mkdir()
    found = []
    for content in ({"train": []}, {"train": [["a.jpg", 0, "a"]]}, {"train": []}):
        path.write_text(json.dumps(content))
        found.append(kept()["SPLIT_FILE"])
    assert found[0].startswith(f"{path.name} ") and found[0] != found[1] and found[0] == found[2]


def test_the_list_of_a_shifted_version(tmp_path, monkeypatch):
    monkeypatch.setattr(ConceptShapesV2, "counts", {"test": 1})
    ConceptShapesV2.folder(tmp_path)
    kept = plain_config(config(NAME="ConceptShapesV2", ROOT=str(tmp_path)))["DATASET"]
    assert kept["SPLIT_FILE"].startswith("split_zhou_ConceptShapes.json ")


def test_a_record_whose_checkpoints_were_removed(tmp_path):
    bundle = bundle_file(tmp_path)
    run_here(*bundle_args(bundle, tmp_path / "run"))
    before = read_record(tmp_path / "run")
    shutil.rmtree(tmp_path / "run/head")
    assert "DATASET.NUM_SHOTS 4, not 1" in refused(*bundle_args(bundle, tmp_path / "run", shots=1))
    assert read_record(tmp_path / "run") == before
    run_here(*bundle_args(bundle, tmp_path / "run"))  # the same run may be made again
