"""The same seed gives the same bits on a CPU; what the number of threads may change; what the record says of it.

No test here needs a GPU, and none says anything of one.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT, bundle_args, bundle_file, run_here
from safetensors.torch import load_file

from ccli.results.records import read_record, same_record

QUICK = ("OPTIM.MAX_EPOCH", 3)
TRAINERS = {
    "ZeroshotCLIP": ("rn50", ()), "LinearProbe": ("rn50", ()), "CLIPAdapter": ("rn50", QUICK),
    "TipAdapter": ("rn50", ()), "TipAdapterF": ("rn50", QUICK), "TaskRes": ("rn50", QUICK),
    "LPPlusPlus": ("rn50", ("TRAINER.LPPLUSPLUS.STEPS", 10)),
    "GDA": ("rn50", ()), "CCLI": ("rn50", ()), "CCLI plain": ("rn50_plain", QUICK),
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return bundle_file(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def larger(tmp_path_factory) -> Path:
    """Large enough for torch to divide the work among threads."""
    return bundle_file(tmp_path_factory.mktemp("larger"), classes=100, width=512, concepts=400)


@pytest.fixture(autouse=True)
def as_before():
    yield
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


def argv(bundle: Path, out: Path, name: str) -> list:
    cfg, opts = TRAINERS[name]
    return bundle_args(bundle, out, *opts, trainer=name.partition(" ")[0], cfg=cfg)


def apart(arguments: list, hashes: str) -> None:
    """In an interpreter of its own, with this seed of Python's hashes."""
    command = [sys.executable, str(ROOT / "train.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": hashes})
    assert done.returncode == 0, done.stderr


def bits(folder: Path) -> bytes:
    return (folder / "classifier.safetensors").read_bytes()


def differ(a: Path, b: Path) -> set[str]:
    """Fields of the records; the configuration names the output folder."""
    return set(same_record(read_record(a), read_record(b))) - {"config"}


@pytest.mark.parametrize("name", TRAINERS)
def test_the_same_seed_gives_the_same_bits(bundle, tmp_path, name):
    for out in ("a", "b"):
        run_here(*argv(bundle, tmp_path / out, name))
    assert differ(tmp_path / "a", tmp_path / "b") == set()
    assert bits(tmp_path / "a") == bits(tmp_path / "b")


@pytest.mark.parametrize("name", [x if x == "CCLI" else pytest.param(x, marks=pytest.mark.slow) for x in TRAINERS])
def test_the_same_bits_in_processes_of_their_own(bundle, tmp_path, name):
    run_here(*argv(bundle, tmp_path / "a", name))
    mine = os.environ.get("PYTHONHASHSEED")
    apart(argv(bundle, tmp_path / "b", name), hashes="2" if mine == "1" else "1")
    assert differ(tmp_path / "a", tmp_path / "b") == set()
    assert bits(tmp_path / "a") == bits(tmp_path / "b")


@pytest.mark.parametrize("name", TRAINERS)
def test_deterministic_algorithms_are_there_for_every_trainer_and_change_nothing_on_a_cpu(bundle, tmp_path, name):
    run_here(*argv(bundle, tmp_path / "plain", name))
    assert not torch.are_deterministic_algorithms_enabled()
    run_here("--deterministic", *argv(bundle, tmp_path / "strict", name))
    assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
    assert bits(tmp_path / "plain") == bits(tmp_path / "strict")
    assert differ(tmp_path / "plain", tmp_path / "strict") == set()


def test_coop_too(few_pictures, tiny_clip_folder, tmp_path, monkeypatch):
    """Through the text tower, with gradients, and the images of the store encoded anew."""
    for out in ("a", "b"):
        monkeypatch.setenv("CCLI_STORE", str(tmp_path / f"store_{out}"))
        run_here(
            *("--deterministic",) * (out == "b"), "--root", few_pictures / "data", "--seed", 1, "--trainer", "CoOp",
            "--backbone", tiny_clip_folder, "--output-dir", tmp_path / out,
            "--dataset-config-file", ROOT / "configs/datasets/concept_shapes.yaml",
            "--config-file", ROOT / "configs/trainers/CoOp/demo_clip.yaml", "DATASET.NUM_SHOTS", 1, *QUICK,
        )  # fmt: skip
    assert differ(tmp_path / "a", tmp_path / "b") == set() and bits(tmp_path / "a") == bits(tmp_path / "b")


@pytest.mark.parametrize("name", TRAINERS)
def test_threads_change_rounding_at_most(larger, tmp_path, name):
    """Weights to 1e-3 of the largest (a fit ends within its tolerance), and no prediction here."""
    for threads in (1, 2):
        torch.set_num_threads(threads)
        run_here(*argv(larger, tmp_path / str(threads), name))
        assert read_record(tmp_path / str(threads))["versions"]["threads"] == threads
    a, b = (load_file(tmp_path / threads / "classifier.safetensors") for threads in "12")
    assert a.keys() == b.keys()
    for key in a:
        if a[key].is_floating_point() and a[key].numel():
            assert (a[key] - b[key]).abs().max() <= 1e-3 * a[key].abs().max(), key
    assert read_record(tmp_path / "1")["predictions"] == read_record(tmp_path / "2")["predictions"]


def test_the_record_says_where_and_whether(bundle, tmp_path):
    run_here(*argv(bundle, tmp_path / "a", "GDA"))
    versions = read_record(tmp_path / "a")["versions"]
    assert (versions["device"], versions["deterministic"]) == ("cpu", True)


def test_a_record_without_it_is_read(bundle, tmp_path):
    run_here(*argv(bundle, tmp_path / "a", "GDA"))
    record = read_record(tmp_path / "a")
    older = record | {"versions": {k: v for k, v in record["versions"].items() if k not in ("device", "deterministic")}}
    assert same_record(record, older) == []


def test_a_gpu_is_deterministic_where_that_was_asked_for(monkeypatch):
    from ccli.trainers.common.finalize import _ran_on

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A GPU")
    for wanted in (False, True):
        torch.use_deterministic_algorithms(wanted)
        assert _ran_on(torch.device("cuda")) == {"device": "cuda (A GPU)", "deterministic": wanted}


def test_a_sweep_hands_it_on(bundle, tmp_path):
    from ccli.sweeps.plan import Grid, runs_of

    plain, strict = (runs_of(Grid([str(bundle)], ["GDA"], [4], [1], deterministic=on))[0] for on in (False, True))
    assert "--deterministic" in strict.argv and "--deterministic" not in plain.argv and strict.folder == plain.folder
