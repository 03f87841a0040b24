"""A listing of class folders: complete, sorted, kept, and made without looking at a file."""

import os

import pytest
from helpers import config
from trees import Painter, imagenet_tree, synset

from ccli.datasets.common import listing
from ccli.datasets.common.listing import class_folders
from ccli.datasets.imagenet import ImageNet
from ccli.errors import CcliError


@pytest.fixture
def tree(tmp_path):
    for name, files in {"b": ["2.JPEG", "10.jpg", "1.png"], "a": ["x.jpeg"], "c": []}.items():
        (tmp_path / "train" / name).mkdir(parents=True)
        for file in [*files, ".hidden.jpg", "notes.txt"]:
            (tmp_path / "train" / name / file).touch()
    (tmp_path / "train" / ".git").mkdir()
    (tmp_path / "train" / "README.jpg").touch()
    return tmp_path


@pytest.fixture
def read(monkeypatch):
    """Names of the class folders that are read from the disk."""
    names, original = [], listing._names
    monkeypatch.setattr(listing, "_names", lambda folder: (names.append(folder.name), original(folder))[1])
    return names


def test_folders_and_files_are_sorted_and_others_left_out(tree):
    found = class_folders(tree / "train", tree)
    assert found == {"a": ["x.jpeg"], "b": ["1.png", "10.jpg", "2.JPEG"], "c": []} and list(found) == ["a", "b", "c"]


def test_only_what_changed_is_read_again(tree, read):
    first = class_folders(tree / "train", tree)
    assert sorted(read) == ["a", "b", "c"]
    read.clear()
    assert class_folders(tree / "train", tree) == first and read == []
    (tree / "train/a/new.jpg").touch()
    os.utime(tree / "train/a", ns=(1, 1))  # whatever the clock's grain
    assert class_folders(tree / "train", tree)["a"] == ["new.jpg", "x.jpeg"] and read == ["a"]
    read.clear()
    (tree / "train/c").rename(tree / "train/d")
    assert list(class_folders(tree / "train", tree)) == ["a", "b", "d"] and read == ["d"]
    assert list(class_folders(tree / "train", tree)) == ["a", "b", "d"]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 1}', '{"a": ["x", "y"]}', "\x80\x04"])
def test_a_damaged_cache_is_made_again(tree, content):
    first = class_folders(tree / "train", tree)
    (tree / ".ccli_listing_train.json").write_text(content)
    assert class_folders(tree / "train", tree) == first
    assert class_folders(tree / "train", tree) == first


def test_a_folder_that_cannot_be_written_is_listed_all_the_same(tree, capsys):
    found = class_folders(tree / "train", tree / "absent")
    assert found["a"] == ["x.jpeg"] and "cannot be cached" in capsys.readouterr().out


def test_no_folder(tmp_path):
    with pytest.raises(CcliError, match=r"cannot list the class folders in .*nothing"):
        class_folders(tmp_path / "nothing", tmp_path)


def test_imagenet_looks_only_at_what_is_drawn(tmp_path, monkeypatch):
    """The pool's files may be anything: of 3000 names, only the 1000 drawn and the test images are ever asked for."""
    imagenet_tree(tmp_path, Painter(tmp_path / "sources"))
    asked = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, *a, **k: (asked.append(os.fspath(path)), real(path, *a, **k))[1])
    monkeypatch.setattr(os.path, "isfile", lambda path: (asked.append(os.fspath(path)), True)[1])
    cfg = config(ROOT=str(tmp_path), NUM_SHOTS=1)
    cfg.SEED = 1
    for _ in range(2):
        asked.clear()
        dataset = ImageNet(cfg)
        looked_at = {path for path in asked if str(path).endswith(".JPEG")}
        assert looked_at == {x.impath for x in dataset.train_x + dataset.test} and len(looked_at) == 2000
    assert dataset.train_x[0].impath.startswith(str(tmp_path / "imagenet/images/train" / synset(0)))
