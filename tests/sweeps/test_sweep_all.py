"""scripts/sweep_all.sh: the whole grid, domain generalisation and the page."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

from ccli.results.records import find_records
from ccli.sweeps.plan import TRAINERS


def sweep_all(*argv, cwd, **env):
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "OUT": "runs"} | env
    command = ["bash", str(ROOT / "scripts/sweep_all.sh"), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.mark.parametrize("shots", ["1 16", pytest.param("1 2 4 8 16", marks=pytest.mark.slow)])
def test_the_papers_grid(tmp_path, shots):
    done = sweep_all("--dry-run", cwd=tmp_path, **({"SHOTS": shots} if shots == "1 16" else {}))  # all by default
    assert done.returncode == 0, done.stderr
    folders = [line.removeprefix(f"{tmp_path}/runs/") for line in done.stdout.splitlines() if line.startswith("/")]
    grid = [line for line in folders if "from_imagenet" not in line]
    assert len(set(grid)) == 11 * len(shots.split()) * 3 * len(TRAINERS)  # the source's runs at 16 shots are among them
    targets = {line for line in folders if "from_imagenet" in line}
    assert len(targets) == 4 * 3 * len(TRAINERS) and all("rn50_16shots/from_imagenet/seed" in line for line in targets)
    assert not (tmp_path / "runs").exists()


def test_a_small_one_and_its_page(few_pictures):
    env = {"DATASETS": "concept_shapes dtd", "SHOTS": "1", "TRAINERS": "ZeroshotCLIP CCLI", "SEEDS": "1"}
    env |= {"SOURCE": "concept_shapes", "TARGETS": "concept_shapes_a concept_shapes_r"}
    done = sweep_all("demo_clip", cwd=few_pictures, **env)
    assert (
        done.returncode == 1 and "cannot be made: no folder" in done.stderr and "dtd" in done.stderr
    )  # named, and the rest goes on
    records = [record for _, record in find_records(few_pictures / "runs")[0]]
    assert {(r["dataset"], r["shots"]) for r in records} == {
        ("concept_shapes", 1), ("concept_shapes", 16), ("concept_shapes_a", 16), ("concept_shapes_r", 16),
    }  # fmt: skip
    assert len(records) == 2 * 4 and "mean of targets" in done.stdout
    assert "concept_shapes_r" in (few_pictures / "runs/report.html").read_text()


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(tmp_path, flag):
    done = sweep_all(flag, cwd=tmp_path)
    assert done.returncode == 0 and "--dry-run" in done.stdout
