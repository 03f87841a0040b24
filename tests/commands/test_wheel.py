"""The wheels are complete: installed where there is no checkout, the commands and the library work."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from fork_server import python
from helpers import ROOT

SESSION = """
import io, json, runpy, sys
from contextlib import redirect_stdout
from pathlib import Path

import ccli, ccli.trainers
from ccli.datasets.concept_shapes import ConceptShapes


def run(*words):
    sys.argv, out = ["ccli", *map(str, words)], io.TextIOWrapper(io.BytesIO())
    with redirect_stdout(out):
        try:
            runpy.run_module("ccli", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            assert not end.code, (words, end.code)
    out.flush()
    said.append(out.buffer.getvalue().decode())


if __name__ == "__main__":  # not in the worker of a sweep
    said = []
    ConceptShapes.counts = {"train": 1, "val": 1, "test": 2}
    ConceptShapes.folder("data")
    data_set = ("--datasets", "concept_shapes", "--trainers", "CCLI", "ZeroshotCLIP", "--shots", 1, "--seeds", 1)
    run("sweep", *data_set, "FEATURES.CROPS", 0)
    run("table", "output")
    run("report", "output")
    of, picture = next(Path().rglob("CCLI/**/classifier.json")).parent, next(Path().rglob("test/**/*.png"))
    run("predict", "--model-dir", of, picture)
    run("explain", "--model-dir", of, picture)

    from ccli import CCLIClassifier, fit, load_run

    files = [module.__file__ for module in (ccli, ccli.trainers, sys.modules[fit.__module__])]
    print(json.dumps([said, str(picture), load_run(of).method, files]))
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
    """All in one process, beside the worker of the sweep: most of the time goes into imports."""
    (tmp_path / "session.py").write_text(SESSION)
    env = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    command = [python(), str(tmp_path / "session.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    (swept, table, report, predicted, explained), picture, method, files = json.loads(done.stdout.splitlines()[-1])
    assert "| CCLI " in swept and "| ZeroshotCLIP " in swept and "| CCLI " in table
    assert "a page on 2 runs" in report and predicted.startswith(f"{picture}\t") and "zero-shot" in explained
    assert method == "CCLI" and all(file.startswith(str(installed)) for file in files), files
