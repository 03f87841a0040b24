"""A plugin in the dialect of CoOp's repository (plugin/) runs unchanged, on a CPU, from its own train.py."""

import contextlib
import io
import json
import os
import pickle
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from fork_server import python
from helpers import script
from PIL import Image

PLUGIN = Path(__file__).parent / "plugin"
COLOURS = {"amber": (250, 190, 40), "jade": (20, 160, 110), "navy": (20, 30, 120), "rose": (240, 90, 130)}
IMAGES = 16  # of each class: 8 to train on, 4 to validate, 4 to test


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with pictures, and a home in which clip keeps its weights."""
    place = tmp_path_factory.mktemp("plugin")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (place / "data/shades/images" / name).mkdir(parents=True)
        for n in range(IMAGES):
            pixels = np.clip(np.array(colour) + rng.integers(-40, 41, (20, 24, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"data/shades/images/{name}/{n:02d}.png")
    return place


def train(place, out, *words):
    """Run the plugin's train.py; what it printed."""
    command = [python(), str(PLUGIN / "train.py"), "--root", str(place / "data"), "--output-dir", str(out)]
    files = ["--dataset-config-file", str(PLUGIN / "shades.yaml"), "--config-file", str(PLUGIN / "tiny.yaml")]
    words = ["--trainer", "Prompts", "--seed", "1", *words, "DATASET.SUBSAMPLE_CLASSES", "base"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"HOME": str(place / "home"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*command, *files, *words], cwd=place, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def options(prec):
    return "DATASET.NUM_SHOTS", "3", "TRAINER.PROMPTS.PREC", prec


@pytest.fixture(scope="module")
def finished(place):
    """(folder, log) of a run with autocast and a scaler, which are off on a CPU."""
    out = place / "amp/seed1"
    return out, train(place, out, *options("amp"))


def weights(folder, epoch):
    path = folder / f"prompt_learner/model.pth.tar-{epoch}"
    return torch.load(path, weights_only=True)


def drawn(log):
    return json.loads(re.search(r"^train_x: (.*)$", log, re.M)[1])


def rates(log):
    """The learning rate at the last line of each epoch: that of the next one."""
    return [float(rate) for rate in re.findall(r"^epoch \[.* batch \[1/1\] .* lr (\S+) eta", log, re.M)]


def test_it_trains(finished, place):
    out, log = finished
    assert log == "Setting fixed seed: 1\n" + (out / "log.txt").read_text()  # which is printed before there is a log
    lines = log.splitlines()
    assert {"** Arguments **", "** Config **", "** System info **", "Finish training"} <= set(lines)
    assert rates(log) == pytest.approx([5.0, 4.26777, 2.5, 0.732233], rel=1e-4)
    assert re.findall(r"^\* total: (\S+)$", log, re.M) == ["8"]
    assert re.search(r"^Elapsed: \d:\d\d:\d\d$", log, re.M)
    losses = [float(loss) for loss in re.findall(r" loss (\S+) ", log)]
    assert len(losses) == 4 and losses[-1] < losses[0]


def test_its_checkpoints(finished):
    out, _ = finished
    assert sorted(os.listdir(out)) == ["log.txt", "prompt_learner", "tensorboard"]
    names = ["checkpoint", "model.pth.tar-2", "model.pth.tar-4"]
    assert sorted(os.listdir(out / "prompt_learner")) == names
    assert (out / "prompt_learner/checkpoint").read_text().splitlines()[0] == "model.pth.tar-4"
    saved = weights(out, 4)
    assert {"state_dict", "epoch", "optimizer", "scheduler", "val_result"} <= set(saved)
    assert (saved["epoch"], saved["val_result"]) == (4, None)
    assert set(saved["state_dict"]) == {"ctx", "token_prefix", "token_suffix"}


def test_half_precision_and_the_same_draw(finished, place):
    """The pickled draw is read again, and gives the same images."""
    log = train(place, place / "fp16", *options("fp16"))
    ctx, full = (weights(folder, 4)["state_dict"]["ctx"] for folder in (place / "fp16", finished[0]))
    assert (ctx.dtype, full.dtype) == (torch.float16, torch.float32)
    torch.testing.assert_close(ctx.float(), full, atol=0.05, rtol=0)
    assert rates(log) == rates(finished[1])
    assert "Saving few-shot data" in finished[1] and "Loading few-shot data" in log
    assert drawn(log) == drawn(finished[1]) and len(drawn(log)) == 3 * len(COLOURS)


def test_a_draw_that_upstream_pickled(finished, place):
    """A cache names its items' class by module: upstream's is where ours is."""
    (path,) = (place / "data/shades/split_fewshot").iterdir()
    assert path.name == "shot_3-seed_1.pkl"
    data = path.read_bytes()
    assert b"dassl.data.datasets.base_dataset" in data and b"Datum" in data
    item = pickle.loads(data)["train"][0]
    assert set(vars(item)) == {"_impath", "_label", "_domain", "_classname"}


def test_it_resumes(finished, place):
    """Exactly: two epochs and two more are four. In full precision, which is what amp is on a CPU."""
    out, _ = finished
    half = place / "half"
    shutil.copytree(out / "prompt_learner", half / "prompt_learner")
    (half / "prompt_learner/model.pth.tar-4").unlink()
    (half / "prompt_learner/checkpoint").write_text("model.pth.tar-2\n")
    log = train(place, place / "more", "--resume", str(half), *options("fp32"))
    assert re.findall(r"^epoch \[(\d)/4\]", log, re.M) == ["3", "4"]
    assert torch.equal(weights(place / "more", 4)["state_dict"]["ctx"], weights(out, 4)["state_dict"]["ctx"])


def test_it_evaluates_on_other_classes(finished, place):
    """The token vectors in the checkpoint are of the classes that it was trained on, and are dropped."""
    out, log = finished
    results = [line for line in log.splitlines() if line.startswith("* ")]
    words = ("--eval-only", "--model-dir", str(out), "--load-epoch", "4", *options("fp32"))
    again = train(place, place / "eval/base", *words)
    assert [line for line in again.splitlines() if line.startswith("* ")] == results
    new = train(place, place / "eval/new", *words, "DATASET.SUBSAMPLE_CLASSES", "new")
    assert "epoch [" not in new and "Loading weights to prompt_learner" in new


def test_its_logs_parse(finished):
    out, log = finished
    parser = script("parse_test_res")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        parser.main([str(out.parent)])
    accuracy = re.search(r"^\* accuracy: (\S+)%$", log, re.M)[1]
    assert float(accuracy) == pytest.approx(float(re.search(r"accuracy: (\d+\.\d+)", printed.getvalue())[1]), abs=0.05)
