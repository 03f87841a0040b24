"""scripts/slurm/sweep.sbatch with srun and scontrol played by shims: two "nodes" of this machine."""

import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, bundle_file
from test_cluster import is_alive, wait_for

from ccli.results.records import FAILURE, find_records

SCRIPT = ROOT / "scripts" / "slurm" / "sweep.sbatch"
without_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='Ray is absent: pip install -e ".[ray]"'
)
SHIMS = {
    "scontrol": 'printf "127.0.0.1\\n127.0.0.2\\n"',
    "srun": """
        count=1
        while [[ $1 == --* ]]; do
            case $1 in
                --nodes) count=$2; shift 2;;
                *=* | --no-kill) shift;;
                *) shift 2;;
            esac
        done
        echo "$count $1" >>"$STEPS"
        for ((k = 0; k < count; k++)); do
            if [ "$k${4:-}" = "${LOST:-}node" ]; then sleep 100 & else SLURM_NODEID=$k "$@" & fi
        done
        trap 'kill $(jobs -p)' TERM
        wait
        wait
    """,
}


def job(folder: Path, *args, **env: str) -> subprocess.Popen:
    """The script, started as Slurm would."""
    for name, text in SHIMS.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)
    number = random.randrange(10**9)
    environment = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": str(number),
        "SLURM_JOB_NODELIST": "127.0.0.[1-2]", "SLURM_SUBMIT_DIR": str(ROOT), "SLURM_CPUS_ON_NODE": "1",
        "PYTHON": sys.executable,
        "STEPS": str(folder / "steps"), "OMP_NUM_THREADS": "1", "JOIN_WITHIN": "60", "MARK_OF_TEST": str(folder),
    }  # fmt: skip
    command = ["bash", str(SCRIPT), *map(str, args)]
    with open(folder / "out", "w") as out, open(folder / "err", "w") as err:
        process = subprocess.Popen(command, env=environment | env, cwd=folder, stdout=out, stderr=err)
    process.number = number
    return process


def marked(folder: Path) -> set[int]:
    """Processes of the job: they have inherited its environment."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"MARK_OF_TEST={folder}\0".encode() in path.read_bytes():
                found.add(int(path.parent.name))
        except OSError:  # ended meanwhile
            continue
    return {pid for pid in found if is_alive(pid)}


@pytest.fixture
def jobs(tmp_path):
    """Starts jobs, and ends by force what they leave."""
    started = []

    def start(*args, **env):
        started.append(job(tmp_path, *args, **env))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    for pid in marked(tmp_path):
        os.kill(pid, signal.SIGKILL)


def grid(folder: Path, *datasets: str) -> list:
    return ["--datasets", *datasets, "--trainers", "GDA", "--shots", 2, "--seeds", 1, 2, "--output", folder / "output"]


@pytest.mark.ray
@without_ray
def test_a_grid_is_carried_out(tmp_path, jobs):
    (tmp_path / "gone.npz").write_text("it is not a bundle any more")
    done = jobs(*grid(tmp_path, bundle_file(tmp_path), tmp_path / "gone.npz"))
    before = wait_for(lambda: "Ray is up on 2 nodes" in (tmp_path / "err").read_text() and marked(tmp_path), "Ray", 180)
    assert len(before) > 6  # or `marked` sees nothing
    code, error = done.wait(300), (tmp_path / "err").read_text()
    assert code == 1 and "2 done now, 2 failed" in error, error  # sweep.py's
    records, _ = find_records(tmp_path / "output")
    assert [record["seed"] for _, record in records] == [1, 2]
    assert len(list((tmp_path / "output" / "gone").rglob(FAILURE))) == 2
    assert re.search(r"^\| GDA +\|", (tmp_path / "out").read_text(), re.M)
    assert (tmp_path / "steps").read_text().splitlines() == ["1 getent", "2 bash", "2 bash"]  # Ray, and then tidying
    assert not list(Path("/tmp").glob(f"ray-job-{done.number}-*"))
    assert not marked(tmp_path) and not any(map(is_alive, before))


@pytest.mark.ray
@without_ray
@pytest.mark.slow
def test_a_cancelled_job_leaves_nothing(tmp_path, jobs):
    args = ["--trainers", "TaskRes", "--shots", 2, "--seeds", 1, "--output", tmp_path, "OPTIM.MAX_EPOCH", 10**6]
    process = jobs("--datasets", bundle_file(tmp_path), *args)
    wait_for(lambda: list((tmp_path / "tiny").rglob("log.txt")), "a run that has begun", 180)
    there = marked(tmp_path)
    process.terminate()
    assert process.wait(120) == 143
    assert not marked(tmp_path) and not any(map(is_alive, there))
    assert list((tmp_path / "tiny").rglob("result.json")) == []
    assert not list(Path("/tmp").glob(f"ray-job-{process.number}-*"))


@pytest.mark.ray
@without_ray
@pytest.mark.slow
def test_a_node_that_does_not_join(tmp_path, jobs):
    process = jobs(*grid(tmp_path, bundle_file(tmp_path)), HEAD_IP="127.0.0.1", JOIN_WITHIN="5", LOST="1")
    assert process.wait(180) == 1
    assert "error: 1 of 2 nodes (127.0.0.1 127.0.0.2)" in (tmp_path / "err").read_text()
    assert not (tmp_path / "output").exists()
    wait_for(lambda: not marked(tmp_path), "the end of all processes", 60)


@pytest.mark.ray
@without_ray
def test_ray_does_not_start(tmp_path, jobs):
    process = jobs(*grid(tmp_path, bundle_file(tmp_path)), SLURM_CPUS_ON_NODE="x", JOIN_WITHIN="5")
    assert process.wait(180) == 1
    error = (tmp_path / "err").read_text()
    assert "Invalid value for '--num-cpus'" in error and error.splitlines()[-1].startswith("error: 0 of 2 nodes")
    assert not (tmp_path / "output").exists()
    wait_for(lambda: not marked(tmp_path), "the end of all processes", 60)


def test_outside_of_a_job(tmp_path, jobs):
    assert jobs(SLURM_JOB_ID="").wait(120) == 2
    assert (tmp_path / "err").read_text().startswith("error: this runs inside a job: sbatch")
    assert jobs(SLURM_SUBMIT_DIR="/").wait(120) == 2
    assert "submit from the checkout" in (tmp_path / "err").read_text()
    assert jobs(PYTHON="/bin/false").wait(120) == 2
    assert "/bin/false has no Ray" in (tmp_path / "err").read_text()


def test_the_script_is_well_formed():
    done = subprocess.run(["bash", "-n", str(SCRIPT)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    options = [line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    code = SCRIPT.read_text().index("set -euo")
    assert all(SCRIPT.read_text().index(line) < code for line in options) and "#SBATCH --no-kill" in options
