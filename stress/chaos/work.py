"""The commands that are disturbed. Each runs in a forked process, which reports its phase to this one."""

import importlib
import mmap
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from benchmarks.processes import ROOT
from ccli.cli import run as run_command
from ccli.datasets import concept_shapes
from ccli.sweeps import workers
from ccli.sweeps.config import setup_cfg
from ccli.sweeps.run import arguments
from ccli.trainers.common import base

PHASES = ("start", "encode", "fit", "checkpoint", "select", "test", "classifier", "record")
WORKS = ("TaskRes", "CCLI", "sweep", "CoOp")
OUTPUT = "output.txt"  # of a command, in its folder
FORK = multiprocessing.get_context("fork")
PRESENT = mmap.mmap(-1, 1)  # index of the current phase, shared with forked processes


class Work(NamedTuple):
    """A script of the root, and its arguments for an output folder."""

    name: str
    script: str
    argv: Callable[[Path], list[str]]


def works(place: Path) -> list[Work]:
    """TaskRes and CoOp with a checkpoint per epoch, CCLI, and a sweep with evaluations, on few drawn images."""
    tqdm.monitor_interval = 0  # no thread may run when a process is forked
    concept_shapes.ConceptShapes.counts = {"train": 2, "val": 2, "test": 3}
    concept_shapes.ConceptShapesV2.counts = {"test": 2}
    for kind in (concept_shapes.ConceptShapes, concept_shapes.ConceptShapesR):
        kind.folder(place / "data")
    vocabulary = place / "words.txt"
    vocabulary.write_text("\n".join(["red", "blue", "striped", "dotted", "round", "on grass", "dark", "tiny", "huge"]))
    options = f"FEATURES.VIEWS 2 OPTIM.MAX_EPOCH 6 TRAIN.CHECKPOINT_FREQ 1 FEATURES.VOCABULARY {vocabulary}".split()
    common = ["--root", str(place / "data"), "--dataset-config-file", f"{ROOT}/configs/datasets/concept_shapes.yaml"]

    def train(trainer: str, out: Path) -> list[str]:
        config, crops = f"{ROOT}/configs/trainers/{trainer}/demo_clip.yaml", "2" if trainer == "CCLI" else "0"
        own = f"--seed 1 --trainer {trainer} --config-file {config} --output-dir {out}/runs".split()
        return [*common, *own, "DATASET.NUM_SHOTS", "2", "FEATURES.CROPS", crops, *options]

    def sweep(out: Path) -> list[str]:
        grid = "--datasets concept_shapes --trainers TipAdapterF GDA --targets concept_shapes_r --shots 1 --seeds 1 2"
        return [*grid.split(), "--threads", "1", "--root", str(place / "data"), "--output", f"{out}/runs", *options]

    return [Work(x, "sweep", sweep) if x == "sweep" else Work(x, "train", partial(train, x)) for x in WORKS]


def prepare() -> None:
    """Import all modules that the commands need before anything is forked, and make trainers report their phases."""
    for name in ("open_clip", "torch.utils.tensorboard", "torchvision", "ccli.sweeps.encoding"):
        importlib.import_module(name)
    setup_cfg(arguments([]))  # imports every trainer and data set
    torch.set_num_threads(1)
    _reporting(base.FeatureTrainer, "_clock")
    _reporting(base.FeatureTrainer, "before_epoch", "fit")
    _reporting(base.FeatureTrainer, "save_model", "checkpoint")
    _reporting(base, "write_classifier", "classifier")
    _reporting(base, "write_record", "record")


def _reporting(owner: object, name: str, phase: str = "") -> None:
    """Report a phase, or else the one that a method is given as its argument, at each call of a function."""
    function = getattr(owner, name)

    def reporting(*args, **kwargs):
        PRESENT[0] = PHASES.index(phase or args[1])
        return function(*args, **kwargs)

    setattr(owner, name, reporting)


def start(work: Work, out: Path, before: Callable[[], None] = lambda: None) -> BaseProcess:
    """Start the command in a process group of its own, which calls `before` first."""
    PRESENT[0] = 0
    out.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    child = FORK.Process(target=_carry_out, args=(work, out, before))
    child.start()
    with suppress(OSError):  # parent and child both do it, so that it is done whoever comes first
        os.setpgid(child.pid, child.pid)
    return child


def _carry_out(work: Work, out: Path, before: Callable[[], None]) -> None:
    os.setpgid(0, 0)
    output = os.open(out / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    os.environ |= {"CCLI_STORE": str(out / "store"), "OMP_NUM_THREADS": "1"}
    # A sweep's workers are forked as well. They hold their parent's end of the pipe, so they never see it closed.
    multiprocessing.get_context = lambda _: FORK
    workers.Worker.end = lambda self: (self.process.kill(), self.pipe.close(), self.process.join())
    tqdm.set_lock(threading.RLock())  # a kill would leave tqdm's own lock, which forked processes share, locked
    sys.argv = [work.script, *work.argv(out)]
    before()
    sys.exit(run_command(work.script, f"{work.script}.py"))


def as_a_user(work: Work, out: Path) -> None:
    """Replace the forked process by a new interpreter, as a user starts the command."""
    os.execv(sys.executable, [sys.executable, str(ROOT / f"{work.script}.py"), *work.argv(out)])


def finish(child: BaseProcess, seconds: float = 300) -> int:
    """Wait for a process; its exit status, negative for a signal."""
    child.join(seconds)
    if child.exitcode is None:
        kill(child)
        raise TimeoutError(f"process {child.pid} did not end in {seconds} s")
    return child.exitcode


def kill(child: BaseProcess) -> bool:
    """Kill a process and its children, as the out-of-memory killer or a batch system does. False where it has ended."""
    if not child.is_alive():
        return False
    os.killpg(child.pid, signal.SIGKILL)
    child.join()
    return True


def timed(work: Work, out: Path) -> dict[str, float]:
    """Seconds of each phase of an undisturbed run."""
    child, spent, last = start(work, out), dict.fromkeys(PHASES, 0.0), time.perf_counter()
    while child.is_alive():
        time.sleep(0.0005)
        now = time.perf_counter()
        spent[PHASES[PRESENT[0]]] += now - last
        last = now
    if child.exitcode:
        raise RuntimeError(f"{work.name} failed undisturbed: {(out / OUTPUT).read_text()}")
    return spent
