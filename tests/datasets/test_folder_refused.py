"""Folders of pictures that are refused, in a line that names the thing and the remedy, before anything is encoded."""

import json
import os

import pytest
from picture_folders import draw, fill, load, refusal

from ccli.features.image_folder import SUFFIXES

FORMATS = ", ".join(suffix[1:] for suffix in SUFFIXES)


@pytest.fixture
def flat_folder(tmp_path):
    return fill(tmp_path / "shoes", boots=5, clogs=10, red_shoes=3)


def test_images_that_come_or_go_are_refused(flat_folder):
    load(flat_folder)
    draw(flat_folder / "boots/new.png", 77)
    told = refusal(flat_folder)
    assert "split_seed1_test0.3.json was made, 1 image has appeared (such as boots/new.png)" in told
    assert "remove the file to split again" in told
    for k in (0, 1):
        (flat_folder / f"clogs/{k}.png").unlink()
    assert "and 2 images have disappeared (such as clogs/0.png)" in refusal(flat_folder)
    (flat_folder / "split_seed1_test0.3.json").unlink()
    assert len(load(flat_folder).train_x) == 4 + 6 + 2  # of 6, 8 and 3


def test_a_damaged_split_is_refused(flat_folder):
    load(flat_folder)
    path = flat_folder / "split_seed1_test0.3.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"test": [*whole["test"], whole["train"][0]]}))
    assert "names an image twice; fix it, or remove it" in refusal(flat_folder)
    swapped = {part: [[p, [1, 0, 2][k], "yxz"[k]] for p, k, _ in whole[part]] for part in whole}
    path.write_text(json.dumps(swapped))
    assert "gives boots/" in refusal(flat_folder)
    path.write_text("{")
    assert "is not a split file" in refusal(flat_folder)


def test_a_split_that_cannot_be_kept(flat_folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ccli.files.atomic.os.replace", refuse)
    told = refusal(flat_folder)
    assert "the split cannot be written to" in told and "(Permission denied)" in told
    assert "train/CLASS and test/CLASS" in told and not list(flat_folder.glob("*.json"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", 'write {"names": {...}, "templates": [...]}'),
        ({"name": {}}, "there is no 'name'; use names and templates. Did you mean 'names'?"),
        ({"names": ["x"]}, 'write names as {"FOLDER": "display name"}'),
        ({"names": {"boot": "x"}}, "which is no class folder. Did you mean 'boots'?"),
        ({"names": {"boots": " "}}, "the name of 'boots' is ' '; write one or more words"),
        ({"names": {"boots": 3}}, "the name of 'boots' is 3; write one or more words"),
        ({"names": {"boots": "Red  shoes"}}, "classes boots and red_shoes are both called 'red_shoes'; give each"),
        ({"templates": "a {}."}, 'write templates as ["a photo of a {}."]'),
        ({"templates": ["a photo."]}, "template 'a photo.': write {} exactly once"),
        ({"templates": ["a {} or {}."]}, "exactly once"),
        ({"templates": ["\ud800 {}"]}, "exactly once"),
    ],
)
def test_a_wrong_classes_json(flat_folder, content, message):
    text = content if isinstance(content, str) else json.dumps(content)
    (flat_folder / "classes.json").write_text(text)
    told = refusal(flat_folder)
    assert message in told and "classes.json" in told


@pytest.mark.parametrize("where", ["class", "file"])
@pytest.mark.parametrize("name", [b"caf\xe9", b"a\\b"])
def test_names_that_no_list_can_hold(flat_folder, where, name):
    path = os.fsencode(flat_folder) + (b"/" + name if where == "class" else b"/boots/" + name + b".png")
    if where == "class":
        os.mkdir(path)
        path += b"/1.png"
    os.link(flat_folder / "clogs/0.png", path)
    assert "is not UTF-8 or has a backslash, which lists of images cannot hold; rename it" in refusal(flat_folder)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "no class folders in {}: put the images of each class into a folder"),
        ({"a": 3}, "{} has one class folder, a; add at least another"),
        ({"a": 3, "b": 2, "c": 0}, f"class folder {{}}/c has no images ({FORMATS}); add some"),
        ({"train__a": 3, "train__b": 2}, "{} has a train folder and no test folder: add test/CLASS"),
        ({"train": 3, "bus": 2}, "if train is a class, rename its folder"),
        ({"train__a": 3, "test__a": 2}, "{}/train has one class folder"),
        ({"train__a": 3, "train__b": 1, "test__c": 2}, "class folder {}/test/c has no counterpart in train"),
        ({"train__cats": 3, "train__b": 1, "test__cat": 2}, "move it away. Did you mean 'cats'?"),
        ({"train__a": 3, "train__b": 1, "test__a": 1, "val__x": 2}, "class folder {}/val/x has no counterpart"),
        ({"train__a": 3, "train__b": 1, "test__a": 1, "test__b": 0}, "class folder {}/test/b has no images"),
        ({"train__a": 3, "train__b": 0, "test__a": 1}, "class folder {}/train/b has no images"),
        ({"train__a": 3, "train__b": 1, "test": 0}, "no class folders in {}/test"),
        ({"test__a": 3, "test__b": 1}, f"no images ({FORMATS}), but test/a, test/b; add"),
    ],
)  # fmt: skip
def test_layouts_that_are_refused(tmp_path, counts, message):
    folder = fill(tmp_path / "x", **counts)
    for name in ("", *counts):
        (folder / name.replace("__", "/")).mkdir(parents=True, exist_ok=True)
    if "test__a" in counts and "train__a" not in counts:
        fill(folder, b=1)
    assert message.replace("{}", str(folder)) in refusal(folder)
    assert not list(folder.glob("split*"))


def test_other_refusals(tmp_path, flat_folder):
    assert f"no folder {tmp_path}/nowhere; give the path" in refusal(tmp_path / "nowhere")
    assert "Folder needs DATASET.FOLDER PATH (or --root PATH)" in refusal("")
    assert "DATASET.SPLIT_SEED is -1" in refusal(flat_folder, SPLIT_SEED=-1)
    for share in (0.0, 1.5, float("nan")):
        assert f"DATASET.TEST_SHARE is {share}; it must lie between 0 and 1" in refusal(flat_folder, TEST_SHARE=share)
