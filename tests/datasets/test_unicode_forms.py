"""Names in two Unicode forms: "é" as one character, or as a letter and an accent, as a Mac unpacks it."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from helpers import run_here, unit_rows
from picture_folders import args, draw, fill, load, paths, refusal

from ccli import CCLIClassifier, load_run
from ccli.errors import CcliError
from ccli.results.records import read_record

ONE, TWO = (unicodedata.normalize(form, "café crème") for form in ("NFC", "NFD"))
HANGUL, JAMO = (unicodedata.normalize(form, "한글") for form in ("NFC", "NFD"))


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("CCLI_STORE", str(tmp_path / "store"))


def test_class_folders_of_the_parts(tmp_path):
    folder = fill(tmp_path / "two forms", **{f"train__{TWO}": 2, f"train__{HANGUL}": 2, f"test__{ONE}": 1,
                                             f"test__{JAMO}": 3, f"Valid__{ONE}": 1})  # fmt: skip
    data = load(folder)
    assert data.classnames == data.class_ids == [ONE, HANGUL]
    expected = [f"test/{ONE}/0.png", *(f"test/{JAMO}/{k}.png" for k in range(3))]
    assert sorted(paths(data.test, folder)) == sorted(expected)
    assert all(Path(item.impath).is_file() for item in [*data.train_x, *data.test, *data.val])
    fill(folder, **{f"test__{TWO}": 1})
    assert "has two class folders café crème, in two Unicode forms that look the same; put" in refusal(folder)


@pytest.mark.parametrize("folder_form, file_form", [(ONE, TWO), (TWO, ONE), (TWO, TWO)])
def test_classes_json(folder_form, file_form, tmp_path):
    folder = fill(tmp_path / "x", **{folder_form: 2, "tea": 2})
    (folder / "classes.json").write_text(json.dumps({"names": {file_form: f"{TWO} au lait"}}), encoding="utf-8")
    assert load(folder).classnames == [f"{ONE} au lait", "tea"]


def test_a_kept_split_is_that_of_the_pictures_unpacked_elsewhere(tmp_path):
    folder = fill(tmp_path / "x", **{ONE: 5, "tea": 5})
    draw(folder / "tea" / f"{ONE}.png", 99)
    tested = {unicodedata.normalize("NFC", path) for path in paths(load(folder).test, folder)}
    (folder / ONE).rename(folder / TWO)
    (folder / "tea" / f"{ONE}.png").rename(folder / "tea" / f"{TWO}.png")
    again = load(folder)
    assert {unicodedata.normalize("NFC", path) for path in paths(again.test, folder)} == tested
    assert all(Path(item.impath).is_file() for item in [*again.train_x, *again.test])


def test_a_run_is_tested_on_and_asked_for_the_other_form(tmp_path):
    run_here(*args(fill(tmp_path / "one", **{ONE: 4, "tea": 4, JAMO: 4}), tmp_path / "run", "FEATURES.CROPS", 0))
    new = fill(tmp_path / "other", **{TWO: 3, HANGUL: 2})
    run_here("--eval-only", "--model-dir", tmp_path / "run", *args(new, tmp_path / "eval", "FEATURES.CROPS", 0))
    record = read_record(tmp_path / "eval")
    assert record["total"] == 5 and [one["name"] for one in record["per_class"]] == [ONE, HANGUL]
    run = load_run(tmp_path / "run")
    assert run.label(TWO) == run.label(ONE) == 0


def test_the_estimator():
    X, texts = unit_rows(8, 16, seed=1).numpy(), unit_rows(2, 16, seed=2).numpy()
    y = np.array([TWO, "tea"] * 4)
    given = CCLIClassifier(class_texts={ONE: texts[0], "tea": texts[1]}).fit(X, y)
    assert given.classifier_.classnames == (ONE, "tea") and set(given.predict(X)) <= {TWO, "tea"}
    with pytest.raises(CcliError, match="y has the label 'café crème' in two Unicode forms; give it in one"):
        CCLIClassifier().fit(X, np.array([TWO, ONE] * 4))
