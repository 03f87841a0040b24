"""A folder of somebody's own pictures: layouts, the split that is kept, classes.json, odd names, what is refused."""

import json
from collections import Counter
from pathlib import Path

import pytest
from helpers import config, run_here
from picture_folders import args, draw, fill, load, paths, refusal
from PIL import Image

from ccli.datasets.folder import Folder
from ccli.errors import CcliWarning
from ccli.features.decoding import open_image
from ccli.results.records import read_record
from ccli.trainers.common.feature_source import ImageSource


@pytest.fixture
def split_folder(tmp_path) -> Path:
    counts = {"train__cat": 3, "train__dog": 4, "test__cat": 2, "test__dog": 1, "val__dog": 2}
    return fill(tmp_path / "pets", **counts)


@pytest.fixture
def flat_folder(tmp_path) -> Path:
    return fill(tmp_path / "shoes", boots=5, clogs=10, red_shoes=3)


def test_train_val_and_test_folders(split_folder, capsys):
    data = load(split_folder)
    assert paths(data.train_x, split_folder) == [
        *(f"train/cat/{k}.png" for k in range(3)), *(f"train/dog/{k}.png" for k in range(4)),
    ]  # fmt: skip
    assert paths(data.test, split_folder) == ["test/cat/0.png", "test/cat/1.png", "test/dog/0.png"]
    assert paths(data.val, split_folder) == ["val/dog/0.png", "val/dog/1.png"]
    assert [item.label for item in data.test] == [0, 0, 1]
    assert (data.classnames, data.class_ids, data.short_name) == (["cat", "dog"], ["cat", "dog"], "pets")
    assert not list(split_folder.glob("*.json")) and capsys.readouterr().out == ""
    rooted = Folder(config(NAME="Folder", ROOT=str(split_folder), NUM_SHOTS=-1))
    assert paths(rooted.train_x, split_folder) == paths(data.train_x, split_folder)


def test_the_base_classes_draw(split_folder):
    seeds = {tuple(paths(_seeded(split_folder, seed).train_x, split_folder)) for seed in range(1, 9)}
    assert len(seeds) > 3 and all(Counter(Path(p).parts[1] for p in s) == {"cat": 2, "dog": 2} for s in seeds)
    with pytest.warns(CcliWarning, match="^pets: 1 of 2 classes have fewer than 4 training images"):
        assert len(load(split_folder, shots=4).train_x) == 7
    new = load(split_folder, SUBSAMPLE_CLASSES="new")
    assert (new.class_ids, new.short_name, len(new.train_x)) == (["dog"], "pets (new)", 4)
    picks = split_folder.parent / "picks.json"
    picks.write_text(json.dumps({"train": [["train/cat/2.png", 0], ["train/dog/3.png", 1]]}))
    picked = load(split_folder, shots=1, PICKS=str(picks))
    assert paths(picked.train_x, split_folder) == ["train/cat/2.png", "train/dog/3.png"]


def _seeded(folder, seed):
    cfg = config(NAME="Folder", FOLDER=str(folder), NUM_SHOTS=2)
    cfg.SEED = seed
    return Folder(cfg)


def test_one_level_is_split_once_and_kept(flat_folder):
    data = load(flat_folder)
    # 0.3 of 5, 10 and 3, rounded: 2, 3 and 1
    assert Counter(item.label for item in data.test) == {0: 2, 1: 3, 2: 1}
    assert Counter(item.label for item in data.train_x) == {0: 3, 1: 7, 2: 2}
    parts = paths(data.train_x, flat_folder), paths(data.test, flat_folder)
    assert sorted(parts[0] + parts[1]) == sorted(f"{p.parent.name}/{p.name}" for p in flat_folder.glob("*/*"))

    kept = json.loads((flat_folder / "split_seed1_test0.3.json").read_text())
    assert list(kept) == ["train", "val", "test"] and not kept["val"]
    assert [path for path, _, _ in kept["test"]] == parts[1]
    assert kept["test"][-1][1:] == [2, "red_shoes"]

    kept["test"].append(kept["train"].pop(0))  # what is recorded is what is read
    (flat_folder / "split_seed1_test0.3.json").write_text(json.dumps(kept))
    assert paths(load(flat_folder).test, flat_folder) == [*parts[1], parts[0][0]]
    assert paths(_seeded(flat_folder, 5).test, flat_folder) == [*parts[1], parts[0][0]]  # whatever the run's seed

    other, half = load(flat_folder, SPLIT_SEED=2), load(flat_folder, TEST_SHARE=0.5)
    assert paths(other.test, flat_folder) != parts[1]
    assert Counter(item.label for item in half.test) == {0: 3, 1: 5, 2: 2}
    assert {p.name for p in flat_folder.glob("*.json")} == {
        "split_seed1_test0.3.json", "split_seed2_test0.3.json", "split_seed1_test0.5.json",
    }  # fmt: skip


def test_a_class_is_split_without_regard_to_the_others(flat_folder):
    before = set(paths(load(flat_folder).test, flat_folder))
    fill(flat_folder, aaa=4)
    (flat_folder / "split_seed1_test0.3.json").unlink()
    assert {p for p in paths(load(flat_folder).test, flat_folder) if not p.startswith("aaa")} == before


def test_a_class_with_one_image_has_it_in_train(tmp_path):
    with pytest.warns(CcliWarning, match=r"^few: 1 of 3 classes have no test images \(a\)"):
        data = load(fill(tmp_path / "few", a=1, b=2, c=4))
    assert Counter(item.label for item in data.train_x) == {0: 1, 1: 1, 2: 3}
    assert Counter(item.label for item in data.test) == {1: 1, 2: 1}
    assert "has one image, which leaves none for the test" in refusal(fill(tmp_path / "fewer", a=1, b=1))


def test_classes_json(flat_folder, tiny_clip_folder, tmp_path, monkeypatch):
    (flat_folder / "classes.json").write_text(
        "\ufeff" + json.dumps({"names": {"clogs": "wooden shoe"}, "templates": ["a {}.", "my {}, a kind of shoe."]})
    )
    data = load(flat_folder)
    assert data.classnames == ["boots", "wooden shoe", "red_shoes"] and data.class_ids[1] == "clogs"
    asked = []
    for templates in ("single", "imagenet7"):
        cfg = config(NAME="Folder", FOLDER=str(flat_folder))
        cfg.MODEL.BACKBONE.NAME, cfg.FEATURES.STORE = str(tiny_clip_folder), str(tmp_path / "store")
        cfg.FEATURES.TEMPLATES = templates
        source = ImageSource(cfg, data, "cpu")
        texts = source.encoder.texts
        monkeypatch.setattr(source.encoder, "texts", lambda t, what, f=texts: (asked.append(t), f(t, what))[1])
        source.text()
        monkeypatch.undo()
    assert asked[0] == [
        "a boots.", "a wooden shoe.", "a red shoes.",
        *(f"my {name}, a kind of shoe." for name in ("boots", "wooden shoe", "red shoes")),
    ]  # fmt: skip
    assert len(asked[1]) == 21 and asked[1][0] == "itap of a boots."


def test_hidden_files_other_files_and_suffixes(tmp_path):
    folder = fill(tmp_path / "x", a=2, b=2)
    for place in (".ccli_features/deep", ".git"):
        (folder / place).mkdir(parents=True)
    (folder / "a/.DS_Store").write_text("")
    (folder / "a/._0.png").write_text("")
    (folder / "a/deeper").mkdir()
    for name in ("notes.txt", "movie.mp4", "raw.heic"):
        (folder / f"b/{name}").write_text("")
    draw(folder / "loose.png")
    (folder / "readme.md").write_text("")
    for k, suffix in enumerate(("JPG", "jpeg", "webp", "gif", "bmp", "Png")):
        draw(folder / f"b/more.{suffix}", 50 + k)
    with pytest.warns(CcliWarning) as said:
        data = load(folder)
    assert len(data.train_x) + len(data.test) == 10 and data.classnames == ["a", "b"]
    assert [str(one.message) for one in said] == [
        "x: left out entries of class folders that are not images: 4 (a/deeper, b/movie.mp4, b/notes.txt, 1 more)",
        "x: left out images outside class folders: 1 (loose.png)",
    ]


def test_odd_names_work(tmp_path, tiny_clip_folder):
    names = ["two words", 'it\'s "quoted"', "new\nline", "schön 猫", "a|b", "100%", "{}", "-x"]
    folder = tmp_path / "my 'own'\nshoes"
    for k, name in enumerate(names):
        for number in range(3):
            draw(folder / name / f"p {number}'\n.png", 10 * k + number)
    for trainer in ("CCLI", "ZeroshotCLIP"):
        for _ in range(2):  # the second reads the split
            out = tmp_path / trainer
            run_here("--skip-done", *args(folder, out, "MODEL.BACKBONE.NAME", tiny_clip_folder, "FEATURES.STORE",
                                          tmp_path / "store", trainer=trainer))  # fmt: skip
        record = read_record(out)
        told = [" ".join(name.split()) for name in sorted(names)]
        assert [share["name"] for share in record["per_class"]] == told and record["total"] == len(names)
        assert record["dataset"] == folder.name


def test_the_same_picture_in_two_places_is_warned_of(split_folder, tmp_path):
    copies = {
        "train/cat/0.png": "test/cat/9.png",
        "train/cat/1.png": "train/dog/9.png",
        "train/dog/0.png": "val/dog/9.png",
    }
    for source, target in copies.items():
        (split_folder / target).write_bytes((split_folder / source).read_bytes())
    (split_folder / "train/dog/8.png").write_bytes((split_folder / "train/dog/3.png").read_bytes())  # of one class
    with pytest.warns(CcliWarning) as said:
        load(split_folder)
    assert [str(one.message) for one in said] == [
        "pets: images in more than one part or class spoil the test: 3 (train/cat/0.png = test/cat/9.png, "
        "train/cat/1.png = train/dog/9.png, train/dog/0.png = val/dog/9.png); keep one of each"
    ]
    flat = fill(tmp_path / "flat", a=2, b=2)
    (flat / "a/1.png").write_bytes((flat / "a/0.png").read_bytes())  # one of them is to be tested on
    with pytest.warns(CcliWarning, match=r"or class spoil the test: 1 \(a/0.png = a/1.png\)"):
        load(flat)


def test_only_files_of_one_size_are_read(split_folder, monkeypatch):
    read = []
    monkeypatch.setattr("ccli.features.image_folder.digest", lambda path: (read.append(path.name), path.name)[1])
    for k, path in enumerate(sorted(split_folder.rglob("*.png"))):
        path.write_bytes(path.read_bytes() + b"x" * k * 1000)
    (split_folder / "train/cat/same.png").write_bytes((split_folder / "test/dog/0.png").read_bytes())
    load(split_folder)
    assert sorted(read) == ["0.png", "same.png"]


def test_photos_are_read_as_photos(tmp_path, tiny_clip_folder, user_cache, monkeypatch):
    folder = fill(tmp_path / "x", a=3, b=3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(folder / "a/0.png").save(folder / "a/0.png", exif=exif)
    seen = []
    monkeypatch.setattr("ccli.features.encoder.open_image", lambda *a: (seen.append(a[1]), open_image(*a))[1])
    run_here(*args(folder, tmp_path / "run", "MODEL.BACKBONE.NAME", tiny_clip_folder, trainer="ZeroshotCLIP"))
    assert set(seen) == {"photo"}
    kept = {path.parent.parent for place in (tmp_path, user_cache) for path in place.rglob("spec.json")}
    assert kept == {user_cache / "ccli"}  # where the estimator finds them, too
    assert '"decoding": "photo"' in "".join(path.read_text() for path in user_cache.rglob("spec.json"))


def test_an_unreadable_picture_is_named_by_a_run(tmp_path, tiny_clip_folder):
    folder = fill(tmp_path / "x", a=3, b=3)
    for k in range(3):
        (folder / f"b/{k}.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit, match=r"error: image .*/b/\d\.png is unreadable .*; replace or remove it"):
        run_here(*args(folder, tmp_path / "run", "MODEL.BACKBONE.NAME", tiny_clip_folder, "FEATURES.STORE",
                       tmp_path / "store", trainer="ZeroshotCLIP"))  # fmt: skip
