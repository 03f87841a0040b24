"""scripts/own_images.sh on real photographs, from a folder of pictures to labels, reasons, a model and a page."""

import csv
import json
import os
import subprocess

import numpy as np
import pytest
from browser import CHROMIUM, WHY_NOT, Browser
from fork_server import python
from helpers import ROOT, config
from linear_run import adds_up, data_of
from picture_folders import fill
from real_pictures import photographs, write_tiles

from ccli import load_run
from ccli.datasets.folder import Folder
from ccli.results.records import read_record

pytest.importorskip("skimage", reason="needs scikit-image, which has the photographs: pip install -e '.[test]'")
SHOTS, TESTS = 3, 2


def script(*argv, cwd, **env):
    environment = os.environ | {"PYTHON": python(), "OMP_NUM_THREADS": "1", "OUT": "out"} | env
    command = ["bash", str(ROOT / "scripts/own_images.sh"), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(the folder with everything, what the script printed)"""
    folder = tmp_path_factory.mktemp("own")
    write_tiles(folder / "my things", SHOTS, TESTS)
    ended = script("my things", -1, "demo_clip", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    return folder, ended.stdout


def run_of(folder):
    return folder / "out/my things/CCLI/demo_clip_-1shots/seed1"


def test_every_test_picture_has_its_label_and_probabilities(done):
    folder, _ = done
    run, names = load_run(run_of(folder)), sorted(photographs())
    rows = list(csv.DictReader((folder / "out/my things/predictions.csv").open(newline="")))
    assert run.classnames == tuple(names) and len(rows) == len(names) * TESTS
    probabilities = run.predict_proba([row["image"] for row in rows])
    for row, p in zip(rows, probabilities):
        order = np.argsort(-p)[:3]
        assert [row[f"label_{k}"] for k in (1, 2, 3)] == [names[k] for k in order] and row["label"] == row["label_1"]
        assert [float(row[f"probability_{k}"]) for k in (1, 2, 3)] == pytest.approx(p[order].tolist(), abs=2e-6)
    right = sum(row["label"] == row["image"].split("/")[-2] for row in rows)
    assert right >= 0.5 * len(rows)  # of eight classes; the small CLIP has seen drawn shapes alone
    record = read_record(run_of(folder))
    assert record["total"] == len(rows) and record["calibration"]["fitted_on"] == "cross-validation"


def test_a_picture_of_each_class_is_explained(done):
    folder, said = done
    text = (folder / "out/my things/reasons.txt").read_text()
    assert text in said and text.count("zero-shot") == len(photographs())
    for block in text.split("/my things/test/")[1:]:
        numbers = [float(line.split()[0]) for line in block.splitlines()[1:] if line[:6] == " " * 6]
        assert numbers[0] == pytest.approx(sum(numbers[1:]), abs=4e-3)
        assert 2 <= len(numbers) <= 2 + 5, "the logit, zero-shot, and at most five concepts"


def test_the_exported_model_gives_the_labels_of_the_table(done):
    onnxruntime = pytest.importorskip("onnxruntime")
    folder, said = done
    run = load_run(run_of(folder))
    rows = list(csv.DictReader((folder / "out/my things/predictions.csv").open(newline="")))[::4]
    pixels = np.stack([np.stack(run.pixels(row["image"])) for row in rows])
    session = onnxruntime.InferenceSession(folder / "out/my things/model.onnx")
    logits, probabilities = session.run(["logits", "probabilities"], {"pixels": pixels})
    assert np.allclose(logits, run.logits([row["image"] for row in rows]), atol=5e-3)  # of half floats
    assert probabilities.max(1) == pytest.approx([float(row["probability_1"]) for row in rows], abs=1e-3)
    assert "checked with onnxruntime" in said


def test_the_page_holds_the_run(done):
    folder, _ = done
    data, record = data_of((folder / "out/my things/concepts.html").read_text()), read_record(run_of(folder))
    assert [one["name"] for one in data["classes"]] == sorted(photographs())
    assert len(data["examples"]) == record["total"] and all(image["uri"] for image in data["images"])
    for one in data["examples"]:
        adds_up(one["parts"])


@pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)
def test_both_pages_in_a_browser(done):
    folder, _ = done
    command = [python(), str(ROOT / "report.py"), "out", "--to", "report.html"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    with Browser() as browser:
        for page in ("report.html", "out/my things/concepts.html"):
            browser.open(folder / page)
            assert browser.errors == []
            images = json.loads(
                browser.evaluate("JSON.stringify([...document.images].map(i => i.complete && i.naturalWidth))")
            )
            assert all(images) and (len(images) > 50) == ("concepts" in page)


def test_the_script_teaches_and_refuses(tmp_path):
    assert "Usage: bash scripts/own_images.sh PICTURES" in script("--help", cwd=tmp_path).stdout
    assert script(cwd=tmp_path).returncode == 2
    ended = script("nowhere", cwd=tmp_path)
    assert ended.returncode == 2 and "error: no folder" in ended.stderr
    (tmp_path / "empty").mkdir()
    ended = script("empty", -1, "demo_clip", cwd=tmp_path)
    assert ended.returncode != 0 and "empty" in ended.stderr and "Traceback" not in ended.stderr


def test_what_the_fit_leaves_out_ends_no_later_step(tmp_path):
    """OS files, a folder in a class folder, and a picture that cannot be read and is not used; from inside."""
    folder = fill(tmp_path / "my pets", cat=8, dog=8)
    cfg = config(NAME="Folder", FOLDER=str(folder), NUM_SHOTS=1)
    cfg.SEED = 1
    data = Folder(cfg)  # makes the split, which is kept
    used = {item.impath for item in [*data.train_x, *data.test]}
    spare = next(path for path in sorted(folder.glob("cat/*.png")) if str(path) not in used)
    spare.write_bytes(b"no picture")
    for name in ("Thumbs.db", "desktop.ini", "notes.txt"):
        (folder / "cat" / name).write_text("x")
        (folder / name).write_text("x")
    (folder / "dog/a deeper one").mkdir()
    ended = script(".", 1, "demo_clip", cwd=folder, OUT=str(tmp_path / "out"), CCLI_STORE=str(tmp_path / "store"))
    assert ended.returncode == 0, ended.stderr
    place = tmp_path / "out/my pets"
    assert {path.name for path in place.iterdir()} >= {"predictions.csv", "reasons.txt", "model.onnx", "concepts.html"}
    rows = list(csv.DictReader((place / "predictions.csv").open(newline="")))
    assert len(rows) == 15 and str(spare) not in {row["image"] for row in rows}
    assert f"image {spare} is unreadable" in ended.stderr
    assert ended.stderr.count("warning: my pets: left out entries of class folders that are not images: 4") == 1
    assert (place / "reasons.txt").read_text().count("zero-shot") == 2, "a picture of each class"
