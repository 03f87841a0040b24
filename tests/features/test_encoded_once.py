"""An image is encoded once, whichever entry point sees it first: the estimator, train.py or predict.py."""

import json
import os

import pytest
from helpers import run_here, script
from picture_folders import args, draw, fill

from ccli import CCLIClassifier
from ccli.features import encoder
from ccli.features.encoder import FeatureEncoder

predict = script("predict")


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "pictures", train__cat=4, train__dog=4, test__cat=2, test__dog=2)


def labels(capsys, *argv) -> tuple[list[dict], str]:
    capsys.readouterr()
    predict.main([*map(str, argv), "--json"])
    out = capsys.readouterr()
    return [json.loads(line) for line in out.out.splitlines()], out.err


def another_process():
    encoder._open_encoder.cache_clear()
    encoder._open_clip.cache_clear()


def test_what_the_estimator_encoded_neither_a_run_nor_predict_encodes(folder, tmp_path, encoded, capsys):
    paths = sorted(folder.glob("*/*/*.png"))
    CCLIClassifier(backbone="demo-clip", concepts=("red", "round", "striped")).fit(paths, [p.parts[-2] for p in paths])
    first = list(encoded)
    assert 100 < sum(first) <= 12 * 10  # some crops of small pictures are equal
    another_process()
    run_here(*args(folder, tmp_path / "run"))
    another_process()
    found, _ = labels(capsys, "--model-dir", tmp_path / "run", folder)
    assert [one["image"] for one in found] == [str(path) for path in sorted(folder.rglob("*.png"))]
    assert encoded == first


def test_what_predict_encoded_it_does_not_encode_again(folder, tmp_path, encoded, capsys):
    run_here(*args(folder, tmp_path / "run"))
    before, new = len(encoded), [draw(tmp_path / f"new/{k}.png", 500 + k) for k in range(3)]
    first, _ = labels(capsys, "--model-dir", tmp_path / "run", *new)
    assert 25 < sum(encoded[before:]) <= 3 * 10
    count = len(encoded)
    another_process()
    assert labels(capsys, "--model-dir", tmp_path / "run", tmp_path / "new")[0] == first and len(encoded) == count


def test_a_picture_is_known_under_any_name_and_a_changed_one_is_noticed(folder, tmp_path, tiny_clip, encoded):
    paths = sorted(folder.rglob("*.png"))
    first = FeatureEncoder(tiny_clip, tmp_path / "store").views(paths, 2, (0.5, 1))
    moved = folder.rename(tmp_path / "moved")
    paths = [moved / path.relative_to(folder) for path in paths]
    os.utime(paths[3], ns=(1, 1))
    assert (FeatureEncoder(tiny_clip, tmp_path / "store").views(paths, 2, (0.5, 1)) == first).all()
    assert sum(encoded) == 24
    draw(paths[3], seed=999)
    again = FeatureEncoder(tiny_clip, tmp_path / "store").views(paths, 2, (0.5, 1))
    assert sum(encoded) == 26 and (again == first).flatten(2).all(2).sum(1).tolist() == [11, 11]


def test_contents_are_read_once(folder, tmp_path, tiny_clip, monkeypatch):
    paths, read, digest = sorted(folder.rglob("*.png")), [], encoder.keys.digest
    monkeypatch.setattr("ccli.features.keys.digest", lambda path: (read.append(path), digest(path))[1])
    monkeypatch.setattr("ccli.features.keys.BLOCK", 5)
    for _ in range(2):
        assert FeatureEncoder(tiny_clip, tmp_path / "store").missing(paths) == paths
        assert read == paths
    FeatureEncoder(tiny_clip, tmp_path / "store").images(paths[:4])
    assert FeatureEncoder(tiny_clip, tmp_path / "store").missing(paths) == paths[4:]


def test_predict_goes_on_without_a_store_that_cannot_be_written(folder, tmp_path, monkeypatch, capsys):
    run_here(*args(folder, tmp_path / "run"))
    (folder / "train/cat/bad.png").write_text("no picture")
    kept, said = labels(capsys, "--model-dir", tmp_path / "run", folder)
    assert len(kept) == 12 and "cannot write features" not in said
    another_process()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CCLI_STORE", str(tmp_path / "file/store"))
    found, said = labels(capsys, "--model-dir", tmp_path / "run", folder)
    assert found == kept  # to the bit
    (warning,) = [line for line in said.splitlines() if "cannot write features" in line]
    assert warning.startswith("warning: cannot write features to ") and warning.endswith("; features are not kept")
    assert "bad.png is unreadable" in said and "1 of 13 pictures could not be read" in said
