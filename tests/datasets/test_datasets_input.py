"""Folders and lists that are wrong: named in one line, with the command that repairs them."""

import json
import os
import shutil

import pytest
from helpers import config, run_apart
from test_benchmarks import train_args
from trees import Painter, aircraft_tree, imagenet_tree, made_split, split_tree, synset, target_tree

from ccli.datasets.common.splits import PARTS, read_split
from ccli.datasets.imagenet import ImageNet
from ccli.datasets.imagenet_a import ImageNetA
from ccli.datasets.oxford_pets import OxfordPets
from ccli.errors import CcliError, CcliWarning


def every(split):
    return {(path, label) for part in PARTS for path, label, _ in split[part]}


@pytest.fixture
def pets(tmp_path):
    """A root with a complete Oxford Pets."""
    split_tree(tmp_path, "oxford_pets", Painter(tmp_path / "sources"), every, real=False)
    return tmp_path


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    root = tmp_path_factory.mktemp("imagenet")
    paint = Painter(root / "sources")
    imagenet_tree(root, paint, train=1)
    target_tree(root, "imagenet_a", paint)
    return root


def load(cls, root, shots=2, seed=1, **dataset):
    cfg = config(ROOT=str(root), NUM_SHOTS=shots, **dataset)
    cfg.SEED = seed
    return cls(cfg)


def refused(cls, root, **dataset) -> str:
    with pytest.raises(CcliError) as caught:
        load(cls, root, **dataset)
    message = str(caught.value)
    assert "\n" not in message
    return message


REPAIR = "`python download.py oxford_pets --root {}` completes it"


def test_a_wrong_root(pets):
    message = refused(OxfordPets, pets / "nowhere")
    assert f"no folder {pets}/nowhere/oxford_pets" in message and REPAIR.format(pets / "nowhere") in message


def test_the_data_set_itself_as_root(pets):
    assert refused(OxfordPets, pets / "oxford_pets").endswith(f"did you mean --root {pets}?")


def test_no_split_file(pets):
    (pets / "oxford_pets/split_zhou_OxfordPets.json").unlink()
    message = refused(OxfordPets, pets)
    assert "no split file" in message and "none is ever made up" in message and REPAIR.format(pets) in message


def test_the_split_of_another_data_set(pets):
    (pets / "oxford_pets/split_zhou_OxfordPets.json").write_text(json.dumps(made_split("dtd")))
    message = refused(OxfordPets, pets)
    assert "lists 47 classes, but OxfordPets has 37" in message and REPAIR.format(pets) in message


def test_images_that_are_missing_are_counted(pets):
    names = [path for path, _, _ in made_split("oxford_pets")["test"][3:8]]
    for name in names:
        (pets / "oxford_pets/images" / name).unlink()
    message = refused(OxfordPets, pets)
    assert f"5 of 37 images of oxford_pets are missing, first {pets}/oxford_pets/images/{names[0]}" in message
    assert REPAIR.format(pets) in message


def test_a_missing_class_folder_is_named(tmp_path):
    split_tree(tmp_path, "food101", Painter(tmp_path / "sources"), every, real=False)
    shutil.rmtree(tmp_path / "food-101/images/dish_7")
    from ccli.datasets.food101 import Food101

    message = refused(Food101, tmp_path)
    assert f"there is no folder {tmp_path}/food-101/images/dish_7)" in message and "download.py food101" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["train"].append(["x.jpg", 99, "late"]), "labels jump: the highest is 99, and 37 does not occur"),
        (lambda s: s["test"].append(["x.jpg", 37, "late"]), "class 37 \\('late'\\) has no training image"),
        (lambda s: s["val"].append(["x.jpg", 4, "other"]), "label 4 is called 'class_4' and, for 'x.jpg', 'other'"),
        (lambda s: s["val"].append(["x.jpg", 4.5, "class_4"]), "label 4.5"),
        (lambda s: s["val"].append(["x.jpg", True, "class_1"]), "label True"),
        (lambda s: s["test"].append(["../../etc/passwd", 4, "class_4"]), "leads out of the data set's folder"),
        (lambda s: s["test"].append(["/etc/passwd", 4, "class_4"]), "leads out of the data set's folder"),
        (lambda s: [s[part].clear() for part in s], "there are no images"),
        (lambda s: s["test"].clear(), "there are no test images"),
        (lambda s: s["train"].append(["x.jpg", 10**30, "late"]), "labels jump: the highest is 10+, and 37 does not"),
        (lambda s: s["train"].append(["x.jpg", 3, "\ud800"]), "surrogates not allowed"),
    ],
)
def test_a_split_file_that_contradicts_itself(pets, change, words):
    split = made_split("oxford_pets")
    change(split)
    (pets / "oxford_pets/split_zhou_OxfordPets.json").write_text(json.dumps(split))
    with pytest.raises(CcliError, match=f"split_zhou_OxfordPets.json is not a split file .*{words}"):
        load(OxfordPets, pets)


def test_deeply_nested_lists_are_refused(pets):
    path = pets / "oxford_pets/split_zhou_OxfordPets.json"
    path.write_text("[" * 200_000)
    assert "is not a split file (maximum recursion" in refused(OxfordPets, pets)
    path.write_text(json.dumps(made_split("oxford_pets")))
    (pets / "picks.json").write_text("[" * 200_000)
    assert "is not a list of picks" in refused(OxfordPets, pets, PICKS=str(pets / "picks.json"))


def test_other_sizes_than_published_are_said(pets):
    words = "111 / 74 / 37 images to train, validate and test, 2,944 / 736 / 3,669 are published"
    with pytest.warns(CcliWarning, match=words):
        load(OxfordPets, pets)


def test_a_root_with_a_space_is_quoted(tmp_path):
    assert f"download.py oxford_pets --root '{tmp_path}/a b'`" in refused(OxfordPets, tmp_path / "a b")


def test_through_train_py_it_is_one_line_and_nothing_is_left(pets):
    shutil.rmtree(pets / "oxford_pets/images")
    run = run_apart(*train_args(pets, "oxford_pets", "DATASET.NUM_SHOTS", 2))
    assert run.returncode == 2 and run.stderr.startswith("train.py: error: ") and run.stderr.count("\n") == 1
    assert f"there is no folder {pets}/oxford_pets/images)" in run.stderr and REPAIR.format(pets) in run.stderr
    assert not (pets / "runs/CCLI/oxford_pets").exists()


def test_imagenet_with_a_class_folder_missing(big):
    folder = big / "imagenet/images/train" / synset(500)
    folder.rename(big / "moved")
    try:
        message = refused(ImageNet, big, shots=1)
    finally:
        (big / "moved").rename(folder)
    assert f"class folder {folder} is missing or empty" in message and "download.py imagenet " in message
    assert len(load(ImageNet, big, shots=1).train_x) == 1000  # and back again, whatever was remembered


def test_imagenet_with_a_folder_of_no_class(big):
    (big / "imagenet/images/val/n99999999").mkdir()
    try:
        assert "n99999999 is not a class of ImageNet" in refused(ImageNet, big, shots=1)
    finally:
        (big / "imagenet/images/val/n99999999").rmdir()


def test_imagenet_a_with_a_class_missing(big):
    folder = big / "imagenet-adversarial/imagenet-a" / synset(9)
    folder.rename(big / "moved")
    try:
        assert "lists 199 classes, but ImageNetA has 200" in refused(ImageNetA, big)
    finally:
        (big / "moved").rename(folder)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("tench n01440764\n", "'tench n01440764' is not a line such as"),
        ("n01440764 a\nn01440764 b\n", "has 2 lines with 1 synsets"),
        ("n01440764 a\nn01440765 b\n", "has 2 lines with 2 synsets; expected 1000"),
    ],
)
def test_class_names_that_are_none(big, tmp_path, lines, words):
    (tmp_path / "imagenet").mkdir()
    os.symlink(big / "imagenet/images", tmp_path / "imagenet/images")
    (tmp_path / "imagenet/classnames.txt").write_text(lines)
    message = refused(ImageNet, tmp_path)
    assert words in message and "download.py imagenet " in message


def test_a_target_without_class_names_takes_those_of_imagenet_beside_it(big, tmp_path):
    for name in ("imagenet", "imagenet-adversarial"):
        (tmp_path / name).mkdir()
    os.symlink(big / "imagenet-adversarial/imagenet-a", tmp_path / "imagenet-adversarial/imagenet-a")
    assert "no " in refused(ImageNetA, tmp_path) and "classnames.txt" in refused(ImageNetA, tmp_path)
    shutil.copy(big / "imagenet/classnames.txt", tmp_path / "imagenet/classnames.txt")
    assert load(ImageNetA, tmp_path).classnames == load(ImageNetA, big).classnames


def test_aircraft_with_a_line_that_is_none(tmp_path):
    from ccli.datasets.fgvc_aircraft import FGVCAircraft

    aircraft_tree(tmp_path, Painter(tmp_path / "sources"))
    path = tmp_path / "fgvc_aircraft/images_variant_val.txt"
    path.write_text(path.read_text() + "../../x A0 / type-0\n")
    assert "'../../x A0 / type-0' is not an image and its variant" in refused(FGVCAircraft, tmp_path)
    path.write_bytes(b"\xff\xfe")
    assert f"{path} cannot be read" in refused(FGVCAircraft, tmp_path)
    train = tmp_path / "fgvc_aircraft/images_variant_train.txt"
    path.write_text("")
    train.write_text("".join(line for line in train.read_text().splitlines(True) if not line.endswith("A7 / type-7\n")))
    assert "class 7 ('A7 / type-7') has no training image" in refused(FGVCAircraft, tmp_path)
    path.unlink()
    message = refused(FGVCAircraft, tmp_path)
    assert f"no {path}" in message and "download.py fgvc_aircraft" in message


def test_pickled_caches_of_other_code_are_never_read(pets):
    """CoOp keeps its draw in such a file; unpickling it would run what it says."""
    trap = pets / "sprung"
    cache = pets / "oxford_pets/split_fewshot/shot_2-seed_1.pkl"
    cache.parent.mkdir()
    cache.write_bytes(b"cos\nsystem\n(S'touch " + str(trap).encode() + b"'\ntR.")
    load(OxfordPets, pets)
    assert not trap.exists()


def test_reading_a_split_needs_no_images(pets):
    shutil.rmtree(pets / "oxford_pets/images")
    assert len(read_split(pets / "oxford_pets/split_zhou_OxfordPets.json").train) == 37 * 3
