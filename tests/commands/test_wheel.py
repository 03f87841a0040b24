"""The wheels are complete: installed where there is no checkout, the commands and the library work."""

import os
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT

FEW = """
import sys
import ccli, ccli.trainers
from ccli.datasets.concept_shapes import ConceptShapes

assert all(module.__file__.startswith(sys.argv[1]) for module in (ccli, ccli.trainers)), (ccli, ccli.trainers)
ConceptShapes.counts = {"train": 1, "val": 1, "test": 2}
ConceptShapes.folder(sys.argv[2])
"""
SAYS = """
import sys
from ccli import CCLIClassifier, fit, load_run

assert sys.modules[fit.__module__].__file__.startswith(sys.argv[1])
print(load_run(sys.argv[2]).method)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An empty folder with both wheels installed in it, built from a copy and without a network."""
    source, wheels, target = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "installed"))
    for name in ("ccli", "commands", "configs", "datasets", "sweeps", "trainers", "toolbox"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for folder in (source, source / "toolbox"):
        build = [*pip, "wheel", str(folder), "--no-deps", "--no-build-isolation", "-w", str(wheels)]
        done = subprocess.run(build, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    found = sorted(map(str, wheels.glob("*.whl")))
    assert len(found) == 2
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), *found], check=True)
    return target


def test_commands_without_a_checkout(installed, tmp_path):
    env = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}

    def python(*argv) -> str:
        command = [sys.executable, *map(str, argv)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    python("-c", FEW, installed, "data")
    data_set = ("--datasets", "concept_shapes", "--trainers", "CCLI", "ZeroshotCLIP", "--shots", 1, "--seeds", 1)
    swept = python("-m", "ccli", "sweep", *data_set, "FEATURES.CROPS", 0)
    assert "| CCLI " in swept and "| ZeroshotCLIP " in swept
    assert "| CCLI " in python("-m", "ccli", "table", "output")
    assert "a page on 2 runs" in python("-m", "ccli", "report", "output")
    run, picture = next(tmp_path.rglob("CCLI/**/classifier.json")).parent, next(tmp_path.rglob("test/**/*.png"))
    assert python("-m", "ccli", "predict", "--model-dir", run, picture).startswith(f"{picture}\t")
    assert "zero-shot" in python("-m", "ccli", "explain", "--model-dir", run, picture)
    assert python("-c", SAYS, installed, run) == "CCLI\n"
