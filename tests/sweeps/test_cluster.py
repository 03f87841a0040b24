"""sweep.py --ray on two Ray nodes of this machine: placed, sharded, tried again; the same records as without Ray."""

import contextlib
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT, bundle_file
from safetensors.torch import load_file

from ccli.errors import CcliError
from ccli.results.records import FAILURE, RECORD, find_records, same_record
from ccli.sweeps import cluster
from ccli.sweeps.encoding import Missing, shares

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='Ray is absent: pip install -e ".[ray]"'),
]
ENV = os.environ | {
    "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
}  # fmt: skip
# sweep.py itself, but tasks note where they run, and a run that is named $CRASH kills its process
NOTING = """
import os, signal, sys
sys.path.insert(0, os.environ["ROOT"])
import sweep
from ccli.sweeps import cluster

notes, crash = os.environ["NOTES"], os.environ.get("CRASH")

def noted(work, what):
    def task(item, *rest):
        name = getattr(item, "name", "")
        def note(event):
            with open(notes, "a") as file:
                file.write(f"{os.getppid()} {os.getpid()} {what} {event} {name}\\n")
        note("began")
        if name and name == crash:
            os.kill(os.getpid(), signal.SIGKILL)
        result = work(item, *rest)
        note("ended")
        return result
    return task

cluster.execute, cluster.encode = noted(cluster.execute, "run"), noted(cluster.encode, "encode")
sys.exit(sweep.main())
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("", 0))
        return s.getsockname()[1]


def family(pid: int) -> set[int]:
    """The process and all that descend from it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, what: str, seconds: float = 30):
    """What the condition gives as soon as it is true."""
    until = time.time() + seconds
    while not (result := condition()):
        assert time.time() < until, f"waited {seconds} s in vain for: {what}"
        time.sleep(0.05)
    return result


class Node:
    """A Ray node: `ray start` and all that it starts."""

    def __init__(self, *args):
        self.folder = Path(tempfile.mkdtemp(prefix="ccli-ray-", dir="/tmp"))  # paths of unix sockets are short
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
        command += ["--disable-usage-stats", "--node-ip-address=127.0.0.1", f"--temp-dir={self.folder}", *args]
        self.log = self.folder / "start.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=ENV)

    def wait(self):
        wait_for(lambda: "Ray runtime started" in self.log.read_text(), f"a Ray node ({self.log})", 60)
        return self

    def kill(self):
        """The whole node at once, as a power cut does."""
        stopped: set[int] = set()
        while more := family(self.process.pid) - stopped if self.process.returncode is None else set():
            for pid in more:
                _signal(pid, signal.SIGSTOP)  # so that none starts another meanwhile
            stopped |= more
        for pid in stopped:
            _signal(pid, signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: not any(map(is_alive, stopped)), f"the end of {stopped}")
        shutil.rmtree(self.folder, ignore_errors=True)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@pytest.fixture(scope="module")
def head():
    port = free_port()
    node = Node("--head", f"--port={port}", f"--ray-client-server-port={free_port()}", "--include-dashboard=false")
    node.address = f"127.0.0.1:{port}"
    try:
        yield node.wait()
    finally:
        node.kill()


@pytest.fixture
def second(head):
    node = Node(f"--address={head.address}")
    try:
        yield node.wait()
    finally:
        node.kill()


class Sweep:
    """sweep.py at work in a process of its own; its tasks' notes."""

    def __init__(self, folder: Path, *args, **env: str):
        self.notes, self.err = folder / "notes", folder / "stderr"
        self.notes.touch()
        command = [sys.executable, "-c", NOTING, *map(str, args)]
        env = ENV | {"ROOT": str(ROOT), "NOTES": str(self.notes)} | env
        with open(self.err, "w") as err:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err, env=env, cwd=folder)

    def noted(self, what: str, event: str) -> list[SimpleNamespace]:
        lines = [line.split(" ", 4) for line in self.notes.read_text().splitlines()]
        return [SimpleNamespace(node=int(x[0]), pid=int(x[1]), name=x[4]) for x in lines if x[2:4] == [what, event]]

    def end(self, seconds: float = 120) -> str:
        """Its standard error, when it has ended."""
        try:
            self.process.wait(seconds)
        finally:
            self.process.kill()
        return self.err.read_text()


@pytest.fixture
def sweeping(tmp_path):
    """Starts sweep.py on a cluster and ends it with the test."""
    started = []

    def start(node, *args, **env):
        started.append(Sweep(tmp_path, "--output", "ray", "--ray", node.address, *args, **env))
        return started[-1]

    yield start
    for sweep in started:
        sweep.process.kill()
        sweep.process.wait()


def locally(folder: Path, *args, **env: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "sweep.py"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=ENV | env, cwd=folder, timeout=120)


def assert_same_records(a: Path, b: Path, count: int) -> None:
    found = [find_records(folder) for folder in (a, b)]
    assert [problems for _, problems in found] == [[], []]
    first, other = ({path.relative_to(root): x for path, x in one} for root, (one, _) in zip((a, b), found))
    assert first.keys() == other.keys() and len(first) == count
    assert {path: same_record(first[path], other[path]) for path in first} == {path: [] for path in first}


def grid(folder: Path, *seeds: int) -> list:
    bundle_file(folder)
    what = ["--datasets", "tiny.npz", "--trainers", "TaskRes", "CLIPAdapter", "--shots", 8, "--seeds", *seeds]
    return [*what, "OPTIM.MAX_EPOCH", 1000]  # a second or two each


def test_a_node_dies_in_the_middle(tmp_path, sweeping, head, second):
    args = grid(tmp_path, 1, 2, 3)
    sweep = sweeping(head, *args)
    raylets = family(second.process.pid)

    def runs_there(event):
        return {note.name for note in sweep.noted("run", event) if note.node in raylets}

    wait_for(lambda: len(runs_there("began")) == 2, "a second run on the second node", 60)
    time.sleep(0.1)  # into the run
    second.kill()
    lost = runs_there("began") - runs_there("ended")
    error = sweep.end()
    assert sweep.process.returncode == 0, error
    assert lost, "the node had just ended its run"
    began = Counter(note.name for note in sweep.noted("run", "began"))
    assert lost <= {name for name, times in began.items() if times > 1}
    assert len(began) == 6
    done = locally(tmp_path, "--output", "local", "--threads", 1, *args)
    assert done.returncode == 0, done.stderr
    assert_same_records(tmp_path / "ray", tmp_path / "local", 6)


def stored(folder: Path) -> list[tuple[str, bytes, bytes]]:
    """(way of encoding, key, features) of every row of a store."""
    blocks = [(path.parent.name, load_file(path)) for path in sorted(folder.glob("*/*.safetensors"))]
    return [
        (name, key.numpy().tobytes(), row.numpy().tobytes())
        for name, block in blocks
        for key, row in zip(block["keys"], block["features"])
    ]


def test_images_are_encoded_once_on_both_nodes(tmp_path, sweeping, head, second, monkeypatch):
    from ccli.datasets import concept_shapes

    monkeypatch.setattr(concept_shapes.ConceptShapes, "counts", {"train": 4, "val": 4, "test": 8})
    concept_shapes.ConceptShapes.folder(tmp_path / "data")
    args = ["--datasets", "concept_shapes", "--trainers", "TipAdapter", "ZeroshotCLIP", "--shots", 4, "--seeds", 1]
    sweep = sweeping(head, *args, CCLI_STORE="store of ray")
    error = sweep.end()
    assert sweep.process.returncode == 0, error
    began = sweep.noted("encode", "began")
    assert len(began) == len(sweep.noted("encode", "ended")) == 4  # two of 384 images, two of 96 images' views
    assert len({note.node for note in began}) == 2
    done = locally(tmp_path, "--output", "local", "--threads", 1, *args, CCLI_STORE="store")
    assert done.returncode == 0, done.stderr
    here, there = stored(tmp_path / "store"), stored(tmp_path / "store of ray")
    assert len(there) == len({row[:2] for row in there}) and sorted(there) == sorted(here)
    assert len(there) > 384 + 10 * 96  # and texts
    assert_same_records(tmp_path / "ray", tmp_path / "local", 2)


def test_failures_stay_in_their_folders(tmp_path, sweeping, head, second):
    bundle_file(tmp_path)
    (tmp_path / "data").mkdir()
    args = ["--datasets", "tiny.npz", "gone.npz", "dtd", "--trainers", "GDA", "--shots", 2, "--seeds", 1, 2]
    sweep = sweeping(head, *args, CRASH="tiny, GDA, rn50, 2 shots, seed 2")
    error = sweep.end()
    assert sweep.process.returncode == 1, error
    assert "1 done now, 5 failed" in error and "Traceback" not in error
    failed = {path.parent.relative_to(tmp_path / "ray"): path for path in (tmp_path / "ray").rglob(FAILURE)}
    place = "{}/GDA/rn50_2shots/seed{}"
    expected = {("tiny", 2): "died 4 times"}
    assert all(re.search(f"^2 runs cannot be made: .*{name}", error, re.M) for name in ("gone", "dtd"))
    assert failed.keys() == {Path(place.format(*key)) for key in expected}
    for key, words in expected.items():
        path = failed[Path(place.format(*key))]
        assert words in path.read_text().splitlines()[-1]
        assert re.search(f"^{re.escape(str(path.parent))}: .*{words}", error, re.M)
    assert sum(note.name.startswith("tiny") and "seed 2" in note.name for note in sweep.noted("run", "began")) == 4
    assert (tmp_path / "ray" / place.format("tiny", 1) / RECORD).exists()


@pytest.mark.slow
def test_an_interrupted_sweep_leaves_nothing_at_work(tmp_path, sweeping, head, second):
    sweep = sweeping(head, *grid(tmp_path, 1, 2, 3))
    wait_for(lambda: sweep.noted("run", "began"), "a run that has begun", 60)
    sweep.process.send_signal(signal.SIGINT)
    error = sweep.end(30)
    assert sweep.process.returncode == 130 and error.endswith("interrupted; the same command resumes\n"), error
    assert "Traceback" not in error
    workers = {note.pid for note in sweep.noted("run", "began")}
    wait_for(lambda: not any(map(is_alive, workers)), f"the end of {workers}", 10)
    assert len(sweep.noted("run", "ended")) < 6


def refused(folder: Path, address: str, *args, **env: str) -> str:
    """The one line that sweep.py says, soon."""
    bundle_file(folder)
    begun = time.time()
    what = ["--datasets", "tiny.npz", "--trainers", "GDA", "--shots", 2, "--seeds", 1]
    done = locally(folder, *what, "--ray", address, *args, **env)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert time.time() - begun < 20 and not (folder / "output").exists()
    (line,) = [line for line in done.stderr.splitlines() if "rror" in line]
    assert done.stderr.splitlines()[-1] == line and line.startswith("sweep.py: error: ")
    return line


def test_malformed_address(tmp_path):
    assert "--ray nonsense: give HOST:PORT" in refused(tmp_path, "nonsense")
    for address in ("127.0.0.1:port", "127.0.0.1:70000", ":6379", "127.0.0.1:", "ray://host"):
        with pytest.raises(CcliError, match=f"^--ray {address}: give HOST:PORT"):
            cluster.connect(address, 1)


def test_nothing_listens(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    line = refused(tmp_path, address)
    assert f"no Ray cluster answers at {address}" in line and "refused" in line


def test_something_else_listens(monkeypatch):
    monkeypatch.setattr(cluster, "ANSWERS_WITHIN", 3)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with socket.socket() as silent:
        silent.bind(("0.0.0.0", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(CcliError, match=f"^no usable Ray cluster at {address}: no answer in 3 s$"):
            cluster.connect(address, 1)


def test_a_cluster_that_cannot_be_used(tmp_path, head):
    assert "it wants a token" in refused(tmp_path, head.address, RAY_AUTH_TOKEN="another")
    assert "no node of the cluster has 2 CPUs and 0 GPUs" in refused(tmp_path, head.address, "--threads", 2)
    assert "no node of the cluster has 1 CPUs and 1 GPUs" in refused(tmp_path, head.address, "--gpus", 1)
    assert "--gpus 1.5: give a share of one GPU" in refused(tmp_path, head.address, "--gpus", 1.5)


def test_a_cluster_of_its_own(tmp_path, monkeypatch):
    """--ray local says nothing of its own, and leaves no token in the user's home."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delitem(ENV, name)
    bundle_file(tmp_path)
    short = Path(tempfile.mkdtemp(prefix="ccli-ray-", dir="/tmp"))
    try:
        args = ["--ray", "local", "--datasets", "tiny.npz", "--trainers", "GDA", "--shots", 2, "--seeds", 1]
        done = locally(tmp_path, *args, HOME=str(tmp_path / "home"), RAY_TMPDIR=str(short))
        assert list(short.iterdir()), "it was somewhere else"
    finally:
        shutil.rmtree(short, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 5 and "1 done now, 0 failed" in lines[-1]  # the plan, the run, the end
    assert not (tmp_path / "home" / ".ray").exists()


def test_shares_are_ranges_of_whole_batches():
    paths = [str(k) for k in range(10_000)]
    small, large = Missing("run", paths[:300], ()), Missing("run", paths, ())
    views = Missing("run", paths[:300], (10, (0.5, 1.0)))
    sizes = {name: [len(x.paths) for x in shares([item], 2)] for name, item in (("small", small), ("large", large))}
    assert sizes == {"small": [256, 44], "large": [1280] * 7 + [1040]}
    assert [len(x.paths) for x in shares([views], 1)] == [128, 128, 44]
    for item in (small, large, views):
        parts = shares([item], 3)
        assert [path for part in parts for path in part.paths] == item.paths
        assert {(part.run, part.views) for part in parts} == {(item.run, item.views)}
    assert shares([], 2) == []
