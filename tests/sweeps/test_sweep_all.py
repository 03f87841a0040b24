"""scripts/sweep_all.sh: the whole grid, domain generalisation and the page."""

import json
import os
import subprocess

import pytest
from fork_server import python
from helpers import ROOT

from ccli.commands.sweep import arguments
from ccli.results.records import find_records
from ccli.sweeps.plan import TRAINERS, Grid, runs_of


def sweep_all(*argv, cwd, **env):
    environment = os.environ | {"PYTHON": python(), "OMP_NUM_THREADS": "1", "OUT": "runs"} | env
    command = ["bash", str(ROOT / "scripts/sweep_all.sh"), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def test_the_papers_grid(tmp_path):
    """What sweep.py is asked for, by a Python that only keeps its arguments."""
    recorder = tmp_path / "python"
    lines = [f"#!{python()}", "import json, sys", f"with open('{tmp_path}/calls', 'a') as file:"]
    recorder.write_text("\n".join([*lines, "    print(json.dumps(sys.argv[1:]), file=file)", ""]))
    recorder.chmod(0o755)
    done = sweep_all("--dry-run", cwd=tmp_path, PYTHON=str(recorder))
    assert done.returncode == 0, done.stderr
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert [words[0] for words in calls] == ["sweep.py"] * 2  # and no page
    assert all("--dry-run" in words for words in calls)
    asked = [arguments(words[1:]) for words in calls]
    runs = [
        run
        for a in asked
        for run in runs_of(Grid(a.datasets, a.trainers, a.shots, a.seeds, a.cfg, a.root, a.output, a.targets, a.opts))
    ]
    grid = {run.folder for run in runs}
    assert len(grid) == 11 * 5 * 3 * len(TRAINERS)  # the source's runs at 16 shots are among them
    targets = {test.folder for run in runs for test in run.tests}
    assert len(targets) == 4 * 3 * len(TRAINERS)
    assert all("rn50_16shots/from_imagenet/seed" in str(folder) for folder in targets)
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
