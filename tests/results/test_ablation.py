"""Ablations: the table by hand, the figure, what concepts find, and the script that makes the runs."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from fork_server import python
from helpers import ROOT, unit_rows
from PIL import Image

from ccli.cli import main as ccli
from ccli.concepts.gallery import Concepts
from ccli.datasets.scenes.classes import CLASSES
from ccli.datasets.scenes.render import render
from ccli.datasets.scenes.sample import class_scene, generator
from ccli.errors import CcliError
from ccli.inference.classifier import Classifier
from ccli.inference.saving import save
from ccli.methods.zero_shot import ZeroShot
from ccli.results.ablation import ablation, ablation_table
from ccli.results.records import write_record
from experiments import concept_quality
from scripts.demo_clip.words import all_words, kinds_of_words, words_of_images, words_of_scene

METHOD = {"SEED": 0, "CFG_NAME": "", "TRAINER": {"K": 3, "SOURCE": "visual"}, "FEATURES": {"K": 1}}


def record(correct, total, **fields):
    return {
        "dataset": "dtd", "trainer": "CCLI", "cfg": "rn50", "backbone": "RN50", "shots": 4, "protocol": "validation",
        "selected_by": "validation", "correct": correct, "total": total, "accuracy": 100 * correct / total,
        "per_class": [{"name": "dotted", "correct": correct, "total": total}], "labels": [0] * total,
        "predictions": [0] * correct + [1] * (total - correct), "hyper_parameters": {}, "seconds": {}, "versions": {},
        "config": {}, **fields,
    }  # fmt: skip


def run(correct, seed, **changes):
    """A record of 100 test images; changes are options of TRAINER."""
    config = METHOD | {"SEED": seed, "TRAINER": METHOD["TRAINER"] | changes}
    name = "_".join(f"{key}-{value}" for key, value in changes.items())
    config["CFG_NAME"] = f"rn50/{name}" if name else ""
    return record(correct, 100, seed=seed, cfg=f"rn50/{name}" if name else "rn50", config=config)


def test_the_table_by_hand():
    records = [
        run(60, 1), run(64, 2), run(50, 1, K=10), run(58, 2, K=10), run(66, 2, K=5), run(70, 1, SOURCE="text"),
        run(60, 1) | {"cfg": "rn50/same"},  # it differs in nothing
    ]  # fmt: skip
    lines = [(x.option, x.value, x.mean, round(x.std, 3), x.seeds, x.difference) for x in ablation(records, "rn50")]
    # the method: 62, sqrt(8) = 2.828; K 5: only seed 2, 66 - 64; K 10: (50 - 60 + 58 - 64) / 2; text: 70 - 60
    assert lines == [
        ("TRAINER.K", "3", 62, 2.828, 2, None), ("TRAINER.K", "5", 66, 0, 1, 2), ("TRAINER.K", "10", 54, 5.657, 2, -8),
        ("TRAINER.SOURCE", "visual", 62, 2.828, 2, None), ("TRAINER.SOURCE", "text", 70, 0, 1, 10),
    ]  # fmt: skip
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in ablation_table(ablation(records, "rn50")).splitlines()
    ]
    assert rows[2] == ["K", "3", "62.00 ± 2.83", "the method", "2"]
    assert rows[4] == ["", "10", "54.00 ± 5.66", "-8.00", "2"]


def test_what_is_no_ablation_is_refused():
    with pytest.raises(CcliError, match=r"no run of the method itself \(cfg rn50\)"):
        ablation([run(50, 1, K=10)], "rn50")
    with pytest.raises(CcliError, match="one trainer, data set and number of shots, got 2"):
        ablation([run(50, 1), run(50, 1) | {"shots": 1}], "rn50")


def test_the_command_writes_table_and_figure(tmp_path, capsys):
    for k, one in enumerate([run(60, 1), run(50, 1, K=10), run(10, 1, K=10) | {"shots": 1}]):
        write_record(tmp_path / str(k), one)
    shots = run(60, 1)["shots"]
    assert ccli(["ablation", str(tmp_path), "rn50", str(shots)]) == 0
    assert "-10.00" in capsys.readouterr().out
    for suffix, start in (("pdf", b"%PDF"), ("png", b"\x89PNG")):
        assert (tmp_path / f"ablation_rn50_{shots}shots.{suffix}").read_bytes().startswith(start)
    assert ccli(["ablation", str(tmp_path), "vit_b16", "4"]) == 2 and "no run of the method" in capsys.readouterr().err


def test_words_are_true_of_the_very_pictures(few_pictures):
    """Pictures drawn once more are the files, and a class's own parts are in each."""
    for name in list(CLASSES)[:3]:
        rng = generator("", "train", name)
        scene = class_scene(CLASSES[name], rng, "")
        again = render(scene, rng)
        file = few_pictures / f"data/concept_shapes/images/train/{name.replace(' ', '_')}/000.png"
        assert np.array_equal(np.asarray(Image.open(file)), np.asarray(again))
        several = words_of_images(name, 4)
        assert several[0] == set(words_of_scene(scene)) and len(set(several)) > 1
        assert all(set(CLASSES[name]) <= words for words in several)
    assert kinds_of_words().keys() == set(all_words())


def test_precision_at_k_by_hand(tmp_path, capsys, monkeypatch):
    red = next(name for name, parts in CLASSES.items() if parts[0] == "red")
    blue = next(name for name, parts in CLASSES.items() if parts[0] == "blue")
    images = [f"/x/train/{name.replace(' ', '_')}/{k:03d}.png" for name in (red, blue) for k in range(4)]
    write_record(tmp_path / "run", record(1, 2, seed=1, dataset="concept_shapes"))
    picks = {"red": [0, 1, 7], "blue": [4, 5, 6], "scarlet": [5, 6, 7], "something else": [0, 1, 2]}
    rows, kinds, labels = unit_rows(4, 8), ("a kind",) * 4, [0] * 4 + [1] * 4
    concepts = Concepts(tuple(picks), kinds, rows, torch.ones(4), list(picks.values()), images, labels)
    save(Classifier(ZeroShot(unit_rows(2, 8), 1.0), "CCLI", (red, blue), 8, concepts=concepts), tmp_path / "run")
    found = {one.entry: (one.precision, one.chance) for one in concept_quality.quality(tmp_path / "run")}
    assert found == {"red": (2 / 3, 0.5), "blue": (1.0, 0.5), "scarlet": (0.0, 0.5)}
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "run"), "--to", str(tmp_path / "all.md")])
    assert concept_quality.main() == 0
    cells = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    assert [cell.strip() for cell in cells[-1]] == ["all", "3", "56", "50"]  # (67 + 100 + 0) / 3
    assert "scarlet" in (tmp_path / "all.md").read_text()
    write_record(tmp_path / "other", record(1, 2, seed=1, dataset="dtd"))
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "other")])
    assert concept_quality.main() == 2 and "is a run on dtd" in capsys.readouterr().err


def script(*argv, cwd, **env):
    environment = os.environ | {"PYTHON": python(), "OMP_NUM_THREADS": "1", "OUT": "runs"} | env
    command = ["bash", str(ROOT / "scripts/ablation.sh"), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def test_the_script_teaches_and_refuses(tmp_path):
    assert "Usage: bash scripts/ablation.sh" in script("--help", cwd=tmp_path).stdout
    for argv in (("concept_shapes",), ("concept_shapes", "all")):
        assert script(*argv, cwd=tmp_path).returncode == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_script(few_pictures):
    done = script("concept_shapes", 1, cwd=few_pictures, SEEDS="1")
    assert done.returncode == 0, done.stderr
    for option in (
        "SOURCE",
        "NUM_CONCEPTS",
        "TOP_K",
        "TEXT_SHARE",
        "CLASS_AXES",
        "DISTINCTIVE",
        "ALPHA",
        "CROPS",
        "NETWORK",
    ):
        assert option in done.stdout
    assert (
        "| colour" in done.stdout and "K = 10" in done.stdout and " failed" not in done.stderr.replace("0 failed", "")
    )
    assert (few_pictures / "runs/concept_shapes/CCLI/ablation_demo_clip_1shots.png").exists()
    assert "striped" in (few_pictures / "runs/concept_shapes/CCLI/concept_quality_demo_clip_1shots.md").read_text()
