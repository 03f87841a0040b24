"""What a feature trainer asks for and leaves behind."""

import hashlib

import pytest
from helpers import ROOT, bundle_args, bundle_file, config, run_here

from ccli.results.records import is_done, read_record
from ccli.trainers.common.base import plain_config
from ccli.trainers.common.feature_source import BundleSource


def test_zero_shot_asks_for_no_shots(tmp_path, monkeypatch):
    bundle = bundle_file(tmp_path)
    run_here(*bundle_args(bundle, tmp_path / "before", trainer="ZeroshotCLIP"))

    def refuse(self, *args):
        raise AssertionError("zero-shot asked for training or validation images")

    monkeypatch.setattr(BundleSource, "train", refuse)
    monkeypatch.setattr(BundleSource, "val", refuse)
    run_here(*bundle_args(bundle, tmp_path / "after", trainer="ZeroshotCLIP"))
    assert read_record(tmp_path / "after")["predictions"] == read_record(tmp_path / "before")["predictions"]
    with pytest.raises(AssertionError, match="asked for"):
        run_here(*bundle_args(bundle, tmp_path / "ccli"))


def test_a_record_speaks_of_test_images_alone(tmp_path):
    bundle = bundle_file(tmp_path)
    out = run_here(*bundle_args(bundle, tmp_path / "run", "TEST.SPLIT", "val"))
    assert "Evaluate on the *val* set" in out and not is_done(tmp_path / "run")
    run_here(*bundle_args(bundle, tmp_path / "run"))  # the same run, tested
    assert is_done(tmp_path / "run")


def test_an_unseeded_run_is_not_resumed(tmp_path):
    bundle = bundle_file(tmp_path)
    run_here(*bundle_args(bundle, tmp_path / "run", seed=-1))
    before = read_record(tmp_path / "run")
    with pytest.raises(SystemExit, match="unseeded run"):
        run_here(*bundle_args(bundle, tmp_path / "run", seed=-1))
    assert read_record(tmp_path / "run") == before


def test_training_on_test_images_is_refused_before_they_are_drawn(tmp_path):
    args = [
        *("--root", tmp_path / "data", "--output-dir", tmp_path / "run", "--trainer", "CCLI", "DATASET.NUM_SHOTS", 1),
        *("DATASET.NAME", "ConceptShapesR"),
    ]  # fmt: skip
    with pytest.raises(SystemExit, match=r"^error: ConceptShapesR is for evaluation only: train on its source, then"):
        run_here("--config-file", ROOT / "configs/trainers/CCLI/demo_clip.yaml", *args)
    assert not list(tmp_path.iterdir())


def test_files_among_the_options_are_named_with_their_content(tmp_path):
    cfg = config()
    cfg.DATASET.PICKS = str(tmp_path / "picks.json")
    for text in ("{}", "[]"):
        (tmp_path / "picks.json").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        assert plain_config(cfg)["DATASET"]["PICKS"] == f"picks.json {digest}"
    cfg.DATASET.PICKS = ""
    assert plain_config(cfg)["DATASET"]["PICKS"] == ""
