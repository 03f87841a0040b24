"""DATASET.PICKS and DATASET.SUBSAMPLE_CLASSES, on image data sets and on bundles."""

import json
import math

import pytest
import torch
from helpers import SHARED, bundle_args, bundle_file, config, make_bundle, run_apart, run_here
from test_benchmarks import published_draw, train_args
from test_datasets_input import every, load, pets, refused  # noqa: F401
from trees import Painter, made_split, split_tree

from ccli.datasets.feature_bundle import FeatureBundle
from ccli.datasets.oxford_pets import OxfordPets
from ccli.features.bundles import read_bundle, write_bundle
from ccli.results.records import read_record


@pytest.fixture
def picks(pets, tmp_path):  # noqa: F811
    """A list of picks that no seed here would draw: the last images of each class in the split."""
    split = made_split("oxford_pets")
    chosen = {}
    for part, count in (("train", 2), ("val", 1)):
        of = [[x for x in split[part] if x[1] == label] for label in range(37)]
        chosen[part] = [[path, label] for items in of for path, label, _ in items[-count:]]
    path = tmp_path / "picks.json"
    path.write_text(json.dumps(chosen))
    return path, chosen


def paths(items):
    return [item.impath.rpartition("/images/")[2] for item in items]


def test_picks_stand_for_the_draw(pets, picks):  # noqa: F811
    path, chosen = picks
    for seed in (1, 7):
        dataset = load(OxfordPets, pets, seed=seed, PICKS=str(path))
        assert paths(dataset.train_x) == [p for p, _ in chosen["train"]]
        assert paths(dataset.val) == [p for p, _ in chosen["val"]]
        assert len(dataset.test) == 37
    assert paths(load(OxfordPets, pets).train_x) != [p for p, _ in chosen["train"]]


@pytest.mark.skipif(not SHARED.is_dir(), reason="no published picks beside this checkout")
@pytest.mark.parametrize("shots", [1, 4, 16])
def test_published_picks_are_the_draw_of_seed_1(tmp_path, shots):

    split_tree(tmp_path, "oxford_pets", Painter(tmp_path / "sources"), every, real=True)
    drawn = load(OxfordPets, tmp_path, shots=shots)
    listed = load(
        OxfordPets, tmp_path, shots=shots, seed=5,
        PICKS=str(SHARED / f"coop_fewshot/oxford_pets-shot_{shots}-seed_1.json"),
    )  # fmt: skip
    assert paths(drawn.train_x) == paths(listed.train_x) and paths(drawn.val) == paths(listed.val)


def test_a_run_with_picks_says_which(pets, picks):  # noqa: F811
    out = train_args(pets, "oxford_pets", "DATASET.NUM_SHOTS", 2, "DATASET.PICKS", picks[0], trainer="CCLI")
    run_here(*out)
    record = read_record(pets / "runs/CCLI/oxford_pets")
    assert record["config"]["DATASET"]["PICKS"].startswith("picks.json ")
    picks[0].write_text(picks[0].read_text() + " ")
    again = run_apart("--skip-done", *out)
    assert again.returncode == 2 and "DATASET.PICKS" in again.stderr  # another list is another run


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["train"].pop(), "has 1 training images of class 36, which does not match DATASET.NUM_SHOTS 2"),
        (lambda c: c["train"].append(["none.jpg", 3]), "none.jpg is not among the data set's train images"),
        (lambda c: c["train"].__setitem__(0, [c["val"][0][0], 0]), "is not among the data set's train images"),
        (lambda c: c["val"][0].__setitem__(1, 5), "has label 5, but 0 in the data set"),
        (lambda c: c["train"].__setitem__(1, c["train"][0]), "names a train image twice"),
        (lambda c: c.__setitem__("train", [["a"]]), "is not a list of picks"),
    ],
)
def test_picks_that_do_not_fit(pets, picks, change, words):  # noqa: F811
    path, chosen = picks
    change(chosen)
    path.write_text(json.dumps(chosen))
    assert words in refused(OxfordPets, pets, PICKS=str(path))


@pytest.mark.parametrize("content", ["", "[]", "3", '{"train": {"data": 1}}', "\x80\x04cos\nsystem\n"])
def test_files_that_are_no_picks(pets, tmp_path, content):  # noqa: F811
    (tmp_path / "no.pkl").write_text(content)
    assert "is not a list of picks" in refused(OxfordPets, pets, PICKS=str(tmp_path / "no.pkl"))
    assert "cannot be read" in refused(OxfordPets, pets, PICKS=str(tmp_path / "absent.json"))


@pytest.mark.parametrize("which", ["base", "new"])
def test_half_of_the_classes(pets, which):  # noqa: F811
    """CoCoOp's rule: the first ceil(n / 2) labels, or the rest from 0; the draw is that of all classes."""
    split, half = made_split("oxford_pets"), math.ceil(37 / 2)
    kept = range(half) if which == "base" else range(half, 37)
    dataset = load(OxfordPets, pets, SUBSAMPLE_CLASSES=which)
    drawn = published_draw(split)
    for items, expected in (
        (dataset.train_x, drawn["train"]),
        (dataset.val, drawn["val"]),
        (dataset.test, split["test"]),
    ):
        left = [(path, label - kept[0], name) for path, label, name in expected if label in kept]
        assert [(p, x.label, x.classname) for p, x in zip(paths(items), items)] == left
    assert dataset.classnames == dataset.class_ids == [f"class_{k}" for k in kept]
    assert dataset.num_classes == len(kept) and dataset.short_name == f"oxford_pets ({which})"


def test_an_unknown_part_of_the_classes(pets):  # noqa: F811
    assert "all, base, new, got 'bse'. Did you mean 'base'?" in refused(OxfordPets, pets, SUBSAMPLE_CLASSES="bse")


@pytest.mark.parametrize("which", ["base", "new"])
def test_half_of_a_bundles_classes(tmp_path, which):
    bundle = make_bundle(classes=7)
    path = write_bundle(tmp_path / "b.npz", bundle)
    cfg = config(BUNDLE=str(path), NUM_SHOTS=3, SUBSAMPLE_CLASSES=which)
    cfg.SEED = 1
    whole = config(BUNDLE=str(path), NUM_SHOTS=3)
    whole.SEED = 1
    kept = list(range(4)) if which == "base" else [4, 5, 6]
    part, full, stored = FeatureBundle(cfg), FeatureBundle(whole), read_bundle(path)
    for name in ("train", "val"):
        rows = [r for r in full.rows[name].tolist() if getattr(stored, name).labels[r] in kept]
        mine = getattr(part.bundle, name).take(part.rows[name])
        assert torch.equal(mine.features, getattr(stored, name).features[rows])
        assert (mine.labels + kept[0]).tolist() == getattr(stored, name).labels[rows].tolist()
    of = torch.isin(stored.test.labels, torch.tensor(kept))
    assert torch.equal(part.bundle.test.features, stored.test.features[of])
    assert torch.equal(part.bundle.text_features, stored.text_features[kept])
    assert part.classnames == [f"class {k}" for k in kept]


def test_a_run_on_half_of_a_bundle_is_told_apart(tmp_path):
    bundle = bundle_file(tmp_path)
    for which in ("all", "base", "new"):
        run_here(*bundle_args(bundle, tmp_path / which, "DATASET.SUBSAMPLE_CLASSES", which))
    records = {which: read_record(tmp_path / which) for which in ("all", "base", "new")}
    assert {which: r["dataset"] for which, r in records.items()} == {
        "all": "tiny", "base": "tiny (base)", "new": "tiny (new)",
    }  # fmt: skip
    assert [r["total"] for r in records.values()] == [120, 60, 60]


def test_picks_are_not_for_bundles(tmp_path):
    run = run_apart(*bundle_args(bundle_file(tmp_path), tmp_path / "o", "DATASET.PICKS", "x.json"))
    assert run.returncode == 2 and "DATASET.PICKS names image files, which a bundle does not have" in run.stderr
