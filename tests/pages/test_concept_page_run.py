"""report.py --concepts on runs that train.py has made: of pictures and of a bundle, and what it refuses."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from browser import CHROMIUM, WHY_NOT, Browser
from helpers import ROOT, bundle_args, bundle_file, run_here, script
from linear_run import adds_up, data_of
from PIL import Image

from ccli import load_run
from ccli.pages.concepts.contents import MARKS
from ccli.results.records import read_record
from scripts import screenshots


def report(run, page):
    return script("report").main(["--concepts", str(run), "--to", str(page)])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A run on a few pictures of concept_shapes, and the page about it."""
    from ccli.datasets.concept_shapes import ConceptShapes

    place = tmp_path_factory.mktemp("pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConceptShapes, "counts", {"train": 2, "val": 1, "test": 2})
        run_here(
            *("--root", place / "data", "--seed", 1, "--trainer", "CCLI", "--output-dir", place / "run"),
            *("--dataset-config-file", ROOT / "configs/datasets/concept_shapes.yaml"),
            *("--config-file", ROOT / "configs/trainers/CCLI/demo_clip.yaml"),
            *("DATASET.NUM_SHOTS", 2, "FEATURES.CROPS", 2),
        )
    return _reported(place / "run")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A run on a bundle, and the page about it."""
    place = tmp_path_factory.mktemp("bundle")
    run_here(*bundle_args(bundle_file(place), place / "run", cfg="rn50_dense"))
    return _reported(place / "run")


def _reported(run):
    page = run.parent / "page.html"
    assert report(run, page) == 0
    data = data_of(page.read_text(encoding="utf-8"))
    return SimpleNamespace(run=run, page=page, data=data, record=read_record(run))


def decompositions(data):
    found = [one["marks"] for one in data["classes"]]
    found += [pair["parts"] for one in data["classes"] for pair in one["confused"]]
    return found + [one[name] for one in data["examples"] for name in ("parts", "instead") if one[name]]


def agrees(made):
    """The page says of test images and classes what the record says, and every number is the sum of its parts."""
    data, record = made.data, made.record
    for parts in decompositions(data):
        adds_up(parts)
    pairs = sorted((one["label"], one["prediction"]) for one in data["examples"])
    assert pairs == sorted(zip(record["labels"], record["predictions"])), "there are few, and all are kept"
    assert [{k: one[k] for k in ("name", "correct", "total")} for one in data["classes"]] == record["per_class"]
    for k, one in enumerate(data["classes"]):
        for pair in one["confused"]:
            taken = [(k, pair["class"]), (pair["class"], k)]
            counts = [sum(x == both for x in zip(record["labels"], record["predictions"])) for both in taken]
            assert counts == [pair["as"], pair["from"]] and sum(counts)
        assert len(one["marks"]["concepts"]) <= sum(MARKS)
    overview = dict(data["overview"])
    assert overview["Accuracy"].startswith(f"{record['accuracy']:.2f} % ({record['correct']} of {record['total']} ")
    assert float(overview["Temperature"]) == pytest.approx(record["calibration"]["temperature"], rel=1e-3)


def test_a_run_on_pictures(pictures):
    agrees(pictures)
    data, record = pictures.data, pictures.record
    assert (len(data["classes"]), len(data["examples"]), record["shots"]) == (24, 48, 2)
    assert sum(one["instead"] is not None for one in data["examples"]) == record["total"] - record["correct"] > 0
    assert [one["label"] for one in data["images"][:48]] == [one["label"] for one in data["examples"]]
    shown = {k for entry in [*data["concepts"], *data["classes"]] for k in entry["images"]}
    assert len(data["images"]) == 48 + len(shown) == 48 + 48, "each test and training image once"
    assert all(one["uri"].startswith("data:image/jpeg;base64,") for one in data["images"])
    assert len({one["uri"] for one in data["images"]}) == 96
    assert {len(one["images"]) for one in data["concepts"]} <= {1, 2, 3, 5}
    assert {len(one["images"]) for one in data["classes"]} == {2}


def test_its_page_needs_nothing_else(pictures):
    text = pictures.page.read_text(encoding="utf-8")
    assert set(re.findall(r"\b(?:src|href|action)=\"([^\"#][^\"]*)", text)) == {"data:,"}
    assert "http:" not in text and "https:" not in text and str(pictures.run) not in text
    assert pictures.page.stat().st_size < 5_000_000


def test_explanations_are_of_the_loaded_classifier(pictures):
    run = load_run(pictures.run)
    logits = run.logits(run.examples.features)
    probabilities = torch.from_numpy(run.predict_proba(run.examples.features))
    by_row = sorted(range(48), key=lambda k: run.examples.labels[k] == run.examples.predictions[k])
    for row, one in zip(by_row, pictures.data["examples"]):
        answer = one["prediction"]
        assert answer == run.examples.predictions[row] == int(logits[row].argmax())
        assert one["parts"]["total"] == pytest.approx(float(logits[row, answer]), rel=1e-4)
        assert one["probability"] == pytest.approx(float(probabilities[row, answer]), rel=1e-3)


def test_a_run_on_a_bundle(bundle):
    agrees(bundle)
    assert (len(bundle.data["classes"]), len(bundle.data["concepts"]), len(bundle.data["examples"])) == (6, 40, 120)
    assert {one["uri"] for one in bundle.data["images"]} == {""}
    (note,) = bundle.data["notes"]
    assert note.startswith("A feature bundle has no pictures")


def test_a_sparse_run_on_a_bundle(tmp_path):
    run_here(*bundle_args(bundle_file(tmp_path), tmp_path / "run"))
    found = _reported(tmp_path / "run")
    agrees(found)
    assert found.data["sparse"] is True and all("better" in one for one in found.data["concepts"])
    for parts in decompositions(found.data):
        values = [parts["zero_shot"], *(value for _, value in parts["concepts"])]
        assert sum(values) == pytest.approx(parts["total"], abs=1e-5) and len(values) <= 1 + 2 * 5


def refused(run, capsys):
    capsys.readouterr()
    assert report(run, run.parent / "none.html") == 2 and not (run.parent / "none.html").exists()
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_another_method_is_refused(tmp_path, capsys):
    run_here(*bundle_args(bundle_file(tmp_path), tmp_path / "run", trainer="ZeroshotCLIP"))
    line = refused(tmp_path / "run", capsys)
    assert line.startswith(
        f"report.py: error: {tmp_path / 'run'} has no concepts to show: explanations need a run of CCLI"
    )
    run_here(*bundle_args(bundle_file(tmp_path), tmp_path / "none", "TRAINER.CCLI.SOURCE", "random"))
    assert refused(tmp_path / "none", capsys).endswith("with visual or text concepts")


def test_a_run_that_is_not_finished_is_refused(bundle, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    line = refused(tmp_path / "empty", capsys)
    assert "empty/classifier.json is not there: the run in" in line and line.endswith("or make the run again")
    assert "classifier.json is not there" in refused(tmp_path / "nowhere", capsys)
    cut_off = tmp_path / "run"
    shutil.copytree(bundle.run, cut_off)
    (cut_off / "result.json").unlink()
    assert "result.json does not exist; a run writes it when it ends, so finish the run" in refused(cut_off, capsys)


def test_another_version_is_refused(bundle, tmp_path, capsys):
    shutil.copytree(bundle.run, tmp_path / "run")
    path = tmp_path / "run/classifier.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    line = refused(tmp_path / "run", capsys)
    assert line == f"report.py: error: {path} has version 99, this code reads version 1; make the run again"


def choose(browser, element, value):
    browser.evaluate(
        f"(e => {{ e.value = {json.dumps(value)}; e.dispatchEvent(new Event('input')) }})"
        f"(document.getElementById('{element}'))"
    )


def texts(browser, selector):
    return browser.evaluate(f"[...document.querySelectorAll('{selector}')].map(e => e.textContent)")


@pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)
def test_the_page_of_a_run_in_a_browser(pictures):
    with Browser() as browser:
        browser.open(pictures.page, "#class-3")
        asked = [url for url in browser.requests if not url.startswith("data:")]
        assert asked == [pictures.page.resolve().as_uri()]
        sizes = browser.evaluate("[...document.images].map(i => i.complete ? i.naturalWidth : 0)")
        assert len(sizes) > 60 * 3 and min(sizes) > 0
        assert browser.evaluate("document.querySelectorAll('.gap').length") == 0
        wrong = sum(one["instead"] is not None for one in pictures.data["examples"])
        choose(browser, "example-which", "wrong")
        assert texts(browser, "#example-count") == [f"{wrong} of 48 test images kept for this page"]
        assert texts(browser, ".verdict") == ["mistake"] * min(wrong, 12)
        choose(browser, "concept-search", "striped")
        gallery = load_run(pictures.run).concepts
        titles = [gallery.title(k) for k in range(len(gallery.names))]
        expected = sorted(title for title in titles if "striped" in title)
        assert sorted(texts(browser, "#concept-list h3")) == expected and 0 < len(expected) < 60
        assert browser.errors == []


@pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)
def test_pictures_of_both_pages(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["screenshots", str(pictures.run), str(pictures.run), str(tmp_path)])
    monkeypatch.setattr(screenshots, "FILTERS", {"concept-search": "star"})
    assert screenshots.main() == 0 and capsys.readouterr().out.count(" kB\n") == 2
    for name, width in (("report", 900), ("concepts", 1200)):
        image = Image.open(tmp_path / f"{name}.png").convert("RGB")
        assert image.width == width and image.height > 600 and len(image.resize((60, 60)).getcolors(3600)) > 50
