"""`download.py NAME --check`: published sizes, missing and unreadable images, in words."""

import json
import shutil

import numpy as np
import pytest
from helpers import ROOT, call
from PIL import Image
from trees import SPLIT_SETS, Painter, imagenet_tree, made_split, real_split, split_tree

from ccli.datasets.caltech101 import Caltech101
from ccli.datasets.common import few_shot
from ccli.datasets.common.few_shot import Sizes
from ccli.datasets.downloads.check import check_dataset
from ccli.datasets.dtd import DescribableTextures
from ccli.datasets.imagenet import ImageNet


def every(split):
    return {(path, label) for part in ("train", "val", "test") for path, label, _ in split[part]}


@pytest.fixture
def dtd(tmp_path, monkeypatch):
    """A miniature that is complete, and published as such."""
    split_tree(tmp_path, "dtd", Painter(tmp_path / "sources"), every, real=False)
    monkeypatch.setattr(
        DescribableTextures, "published", Sizes(47, 141, 94, 47, dict(train=(3, 3), val=(2, 2), test=(1, 1)))
    )
    return tmp_path


def run(root, capsys, name="dtd") -> tuple[str, str]:
    """(stdout, what it exited with)"""
    exits = ""
    try:
        print(call("download", name, "--root", root, "--check"), end="")
    except SystemExit as error:
        exits = str(error.code)
    return capsys.readouterr().out, exits


def test_a_complete_data_set_is_ok_in_one_line(dtd, capsys):
    out, exits = run(dtd, capsys)
    lines = out.splitlines()
    assert exits == "" and lines[-1] == (
        f"OK: dtd in {dtd}/dtd: 47 classes, 141 / 94 / 47 images, as published; all readable"
    )
    assert [line.split() for line in lines[:-1]] == [
        ["train", "141", "images", "47", "classes", "3", "per", "class"],
        ["val", "94", "images", "47", "classes", "2", "per", "class"],
        ["test", "47", "images", "47", "classes", "1", "per", "class"],
    ]


def test_what_is_missing_is_counted_by_class(dtd, capsys):
    shutil.rmtree(dtd / "dtd/images/kind7")
    next((dtd / "dtd/images/kind9").iterdir()).unlink()
    problems = check_dataset("dtd", dtd)
    assert len(problems) == 4 and "train: 3 of 3 images of class 7 (class_7) are missing" in problems
    assert "test: 1 of 1 images of class 7 (class_7) are missing" in problems
    out, exits = run(dtd, capsys)
    assert "OK" not in out and "(and 3 more, see above)" in exits and all(p in out + exits for p in problems)


def test_every_unreadable_image_is_named(dtd, capsys):
    """Cut short, of another kind, empty, and a file whose head alone is right."""
    big = dtd / "big.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(big)
    content = big.read_bytes()
    bad = {"train": content[: len(content) // 2], "val": b"<html>", "test": b""}
    split, names = made_split("dtd"), []
    for part, data in bad.items():
        path = dtd / "dtd/images" / split[part][0][0]
        path.unlink()  # it is a link
        path.write_bytes(data)
        names.append(str(path))
    problems = check_dataset("dtd", dtd)
    assert sorted(problem.split(" is unreadable")[0] for problem in problems) == sorted(names)
    assert run(dtd, capsys)[1].startswith("error: dtd: ")


def test_other_sizes_than_published(dtd):
    split = made_split("dtd")
    split["val"].pop()
    moved = split["train"].pop()
    label = (moved[1] + 1) % 47
    split["train"].append([moved[0], label, f"class_{label}"])
    (dtd / "dtd/split_zhou_DescribableTextures.json").write_text(json.dumps(split))
    problems = check_dataset("dtd", dtd)
    assert "val has 93 images, 94 are published" in problems
    assert f"train has 2 images of class {moved[1]} (class_{moved[1]}), published are 3 to 3" in problems
    assert f"train has 4 images of class {label} (class_{label}), published are 3 to 3" in problems


def test_an_image_in_two_parts_is_said(dtd):
    split = made_split("dtd")
    split["test"][0] = split["train"][0]
    (dtd / "dtd/split_zhou_DescribableTextures.json").write_text(json.dumps(split))
    assert f"1 images are listed twice, first {split['train'][0][0]}" in check_dataset("dtd", dtd)


def test_long_lists_end_with_a_count(dtd):
    shutil.rmtree(dtd / "dtd/images")
    (dtd / "dtd/images").mkdir()
    problems = check_dataset("dtd", dtd)
    assert len(problems) == 21 and problems[-1] == f"and {3 * 47 - 20} further classes"


def test_nothing_there(tmp_path, capsys):
    out, exits = run(tmp_path, capsys)
    assert out == "" and exits.startswith(f"error: dtd: no folder {tmp_path}/dtd")
    assert f"`python download.py dtd --root {tmp_path}`" in exits


@pytest.mark.parametrize("name", ["caltech101", "oxford_pets", "dtd", "eurosat"])
def test_the_published_sizes_are_those_of_the_published_split(tmp_path, name, capsys):
    if real_split(name) is None:
        pytest.skip("no published split file beside this checkout")
    split_tree(tmp_path, name, Painter(tmp_path / "sources"), every, real=True)
    out, exits = run(tmp_path, capsys, name)
    assert exits == "" and out.splitlines()[-1].startswith(f"OK: {name} ")


def test_imagenet_in_miniature_is_not_imagenet(tmp_path, monkeypatch):
    imagenet_tree(tmp_path, Painter(tmp_path / "sources"), train=1)
    assert check_dataset("imagenet", tmp_path) == [
        "train has 1,000 images, 1,281,167 are published", "test has 1,000 images, 50,000 are published",
    ]  # fmt: skip
    monkeypatch.setattr(ImageNet, "published", Sizes(1000, 1000, 0, 1000))
    assert check_dataset("imagenet", tmp_path) == []


def test_the_table_of_sizes_is_what_the_check_asserts():
    """DATASETS.md and the loaders: one truth."""
    from dassl.data.datasets import DATASET_REGISTRY

    from ccli.sweeps.config import import_all

    import_all("ccli.datasets")
    rows = [line.strip("| \n").split("|") for line in (ROOT / "DATASETS.md").read_text().splitlines() if "|" in line]
    table = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows[::-1]}  # the first of a name
    loaders = [DATASET_REGISTRY.get(name) for name in DATASET_REGISTRY.registered_names()]
    checked = [x for x in loaders if issubclass(x, few_shot.FewShotDataset) and x.published]
    assert len(checked) == 15 and Caltech101 in checked and set(SPLIT_SETS) < {x.short_name for x in checked}
    for loader in checked:
        sizes = [int(cell.replace(",", "") or 0) for cell in table[loader.short_name][:4]]
        assert sizes == list(loader.published[:4]), loader.short_name
