"""Folders of pictures as labelling tools and people make them, and a finished run that is tested on another folder."""

import pytest
from helpers import run_here, sweep
from picture_folders import args, draw, fill, load, paths, refusal
from PIL import Image

from ccli.errors import CcliWarning
from ccli.results.records import read_record


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("CCLI_STORE", str(tmp_path / "store"))


@pytest.mark.parametrize(
    "train, val, test",
    [("train", "valid", "test"), ("Train", "VALIDATION", "TEST"), ("training", "dev", "Testing"),
     ("TRAINING", "Val", "testing")],
)  # fmt: skip
def test_parts_by_their_usual_names(train, val, test, tmp_path):
    counts = {f"{part}__{name}": 2 for part in (train, val, test) for name in ("cat", "dog")}
    data = load(fill(tmp_path / "two words", **counts))
    for items, part in ((data.train_x, train), (data.val, val), (data.test, test)):
        assert paths(items, tmp_path / "two words") == [f"{part}/{c}/{k}.png" for c in ("cat", "dog") for k in (0, 1)]


def test_what_stands_beside_the_parts_is_named_and_two_of_one_part_are_refused(tmp_path):
    folder = fill(tmp_path / "x", train__a=1, train__b=1, test__a=1, test__b=1, unlabelled__c=2, extra=1)
    with pytest.warns(CcliWarning, match=r"^x: left out folders beside train, test: 2 \(extra, unlabelled\)$"):
        load(folder)
    fill(folder, Val__a=1, valid__a=1)
    assert refusal(folder).endswith("valid are both for val; put their class folders into one of them")


def test_classes_may_be_called_as_parts_are(tmp_path):
    assert load(fill(tmp_path / "x", val=3, dev=3, test=3)).classnames == ["dev", "test", "val"]


@pytest.mark.parametrize("suffix", ["jfif", "JPE", "tif", "TIFF", "avif", "jp2", "ppm", "pgm", "tga", "ico"])
def test_pictures_in_every_common_format_are_used(suffix, tmp_path):
    folder = fill(tmp_path / "x", a=2, b=2)
    with Image.open(folder / "a/0.png") as image:
        image.convert("L" if suffix == "pgm" else "RGB").save(folder / f"a/new.{suffix}")
    data = load(folder)
    assert f"a/new.{suffix}" in paths([*data.train_x, *data.test], folder)


@pytest.fixture
def run(tmp_path):
    """A run on a folder that is split, and a new folder of the same classes."""
    pets = fill(tmp_path / "my pets", cat=5, dog=5, owl=5)
    run_here(*args(pets, tmp_path / "run", "FEATURES.CROPS", 0, trainer="GDA"))
    for k, name in enumerate(("cat", "dog", "owl")):
        for number in range(10):
            draw(tmp_path / f"new ones/{name}/{number}.png", 5000 + 100 * k + number)
    return tmp_path


def evaluated(place, folder, *opts):
    out = place / f"of {folder.name} {len(opts)}"
    run_here(
        "--eval-only", "--model-dir", place / "run", *args(folder, out, "FEATURES.CROPS", 0, *opts, trainer="GDA")
    )  # fmt: skip
    return read_record(out)


def test_a_finished_run_is_tested_on_all_of_another_folder(run):
    new = run / "new ones"
    record = evaluated(run, new)
    assert record["total"] == 30 and record["trained_on"] == "my pets"
    assert not list(new.glob("*.json")), "nothing is written"
    (run / "moved").mkdir()
    new.rename(run / "moved/test")
    again = evaluated(run, run / "moved")
    assert (again["total"], again["predictions"]) == (30, record["predictions"])
    some = fill(run / "some", owl=4, cat=3)
    assert evaluated(run, some)["total"] == 7
    share = evaluated(run, some, "DATASET.TEST_SHARE", 0.5)
    assert share["total"] == 4 and list(some.glob("split_seed1_test0.5.json")), "what is asked for is done"


def test_on_its_own_folder_it_is_tested_on_the_part_that_it_has_not_seen(run):
    assert evaluated(run, run / "my pets")["total"] == read_record(run / "run")["total"] == 6


def test_folders_to_test_on_are_not_trained_on(tmp_path):
    folder = fill(tmp_path / "x", test__a=2, test__b=2)
    assert "has no train folder: add train/CLASS with images to learn from, or test a finished run" in refusal(folder)
    flat = fill(tmp_path / "flat", a=4, b=4)
    with pytest.raises(SystemExit, match="for evaluation"):
        run_here(*args(flat, tmp_path / "run", "DATASET.TEST_SHARE", 1.0, trainer="GDA"))


def test_targets_of_a_sweep_are_tested_as_a_whole(run):
    argv = ["--datasets", run / "my pets", "--targets", run / "new ones", "--trainers", "GDA", "--shots", 2,
            "--seeds", 1, "--cfg", "demo_clip", "--output", run / "out", "FEATURES.CROPS", 0]  # fmt: skip
    done = sweep(*argv)
    assert done.returncode == 0, done.stderr
    (record,) = [read_record(path.parent) for path in (run / "out").rglob("result.json") if "new ones" in str(path)]
    assert record["total"] == 30
