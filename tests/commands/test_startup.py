"""What a command does not import: each in a process of its own, which lists its modules as it ends."""

import os
import re
import subprocess
import sys

import pytest
from helpers import ROOT, bundle_args, bundle_file, run_here

from benchmarks import startup
from ccli.datasets.concept_shapes import ConceptShapes

UNUSED = {
    "PIL", "gdown", "jinja2", "matplotlib", "open_clip", "pandas", "ray", "requests", "scipy", "sklearn", "sympy",
    "tensorboard", "torch._dynamo", "torch.utils.tensorboard", "torchvision",
}  # fmt: skip
AS_MAIN = """
import atexit, runpy, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def imports_of(script: str, *words) -> tuple[int, set[str]]:
    """A script's exit status and the modules that it has imported by its end."""
    command = [sys.executable, "-c", AS_MAIN, str(ROOT / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("name", [*startup.SCRIPTS, "explain", "edit", "export", "ablation"])
def test_help_comes_without_torch(name):
    words = [f"{name}.py"] if name in startup.SCRIPTS else ["ccli/__main__.py", name]
    code, modules = imports_of(*words, "--help")
    assert code == 0 and "argparse" in modules
    assert not modules & {"torch", "numpy", "dassl", "ccli.trainers", *UNUSED}


@pytest.mark.parametrize("words", [["--seed", "one"], ["--no-such-flag"], ["--config-file"]])
def test_a_wrong_argument_is_refused_without_torch(words):
    code, modules = imports_of("train.py", *words)
    assert code == 2 and "argparse" in modules
    assert not modules & {"torch", "dassl", "ccli.trainers"}


def run_imports(argv) -> set[str]:
    code, modules = imports_of("train.py", *argv)
    assert code == 0
    return modules


TRAINERS = [pytest.param("ZeroshotCLIP", marks=pytest.mark.slow), "CCLI"]  # it imports all that the other does


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_run_on_a_bundle_imports_what_it_uses(trainer, tmp_path):
    modules = run_imports(bundle_args(bundle_file(tmp_path), tmp_path / "run", trainer=trainer, shots=1))
    assert {"torch", "dassl.engine", "ccli.trainers.ccli"} <= modules
    assert not modules & UNUSED
    assert not (tmp_path / "run/tensorboard").exists()


def test_what_a_run_uses_is_seen(tmp_path):
    """The other tests' way of looking finds what is imported: TensorBoard, where something is trained by epochs."""
    argv = bundle_args(bundle_file(tmp_path), tmp_path / "run", "OPTIM.MAX_EPOCH", 1, trainer="TaskRes", shots=1)
    assert {"tensorboard", "torch.utils.tensorboard"} <= run_imports(argv)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_run_on_stored_features_imports_neither_the_model_nor_pillow(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(ConceptShapes, "counts", {"train": 1, "val": 1, "test": 1})
    argv = [
        *("--root", tmp_path / "data", "--seed", 1, "--trainer", trainer),
        *("--dataset-config-file", ROOT / "configs/datasets/concept_shapes.yaml"),
        *("--config-file", ROOT / f"configs/trainers/{trainer}/demo_clip.yaml"),
        *("DATASET.NUM_SHOTS", 1, "FEATURES.CROPS", 0, "OUTPUT_DIR"),
    ]
    run_here(*argv, tmp_path / "first")  # draws, and fills the store
    assert not run_imports([*argv, tmp_path / "second"]) & UNUSED


def test_the_benchmark(monkeypatch, capsys, tmp_path):
    argv = ["startup", "--root", str(tmp_path), "--repeats", "1", "--only", "train.py --help"]
    monkeypatch.setattr(sys, "argv", argv)
    startup.main()
    names = re.findall(r"^\| (\w.*?) +\|", capsys.readouterr().out, re.MULTILINE)
    assert names == ["import torch", "train.py --help"]
