"""The work that is disturbed: commands on a few drawn pictures, in forked processes that tell their phase."""

from __future__ import annotations

import importlib.util
import mmap
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from ccli.datasets import concept_shapes
from ccli.sweeps import workers
from ccli.sweeps.config import setup_cfg
from ccli.sweeps.run import arguments
from ccli.trainers.common import base

ROOT = Path(__file__).parents[2]
PHASES = ("start", "encode", "fit", "checkpoint", "select", "test", "classifier", "record")
WORKS = ("TaskRes", "CCLI", "sweep", "CoOp")
COUNTS = {"train": 2, "val": 2, "test": 3}
PRESENT = mmap.mmap(-1, 1)  # the phase that the work is in; shared with what is forked


class Work(NamedTuple):
    """A command: its name, its script, and its arguments for an output folder."""

    name: str
    script: str
    argv: Callable[[Path], list[str]]


def works(place: Path) -> list[Work]:
    """Methods with a checkpoint an epoch, CCLI, and two sweeps; their pictures are drawn."""
    tqdm.monitor_interval = 0  # no thread of it before anything is forked
    concept_shapes.ConceptShapes.counts = COUNTS
    concept_shapes.ConceptShapesV2.counts = {"test": 2}
    for kind in (concept_shapes.ConceptShapes, concept_shapes.ConceptShapesR):
        kind.folder(place / "data")
    words = place / "words.txt"
    words.write_text("\n".join(["red", "blue", "striped", "dotted", "round", "on grass", "dark", "tiny", "huge"]))
    opts = [
        "FEATURES.VIEWS",
        "2",
        "OPTIM.MAX_EPOCH",
        "6",
        "TRAIN.CHECKPOINT_FREQ",
        "1",
        "FEATURES.VOCABULARY",
        str(words),
    ]

    def train(trainer: str, out: Path) -> list[str]:
        return [
            *("--root", str(place / "data"), "--seed", "1", "--trainer", trainer, "--output-dir", str(out / "runs")),
            *("--dataset-config-file", str(ROOT / "configs/datasets/concept_shapes.yaml")),
            *("--config-file", str(ROOT / f"configs/trainers/{trainer}/demo_clip.yaml")),
            *("DATASET.NUM_SHOTS", "2", "FEATURES.CROPS", "2" if trainer == "CCLI" else "0", *opts),
        ]

    def sweep(words: list[str], out: Path) -> list[str]:
        return [
            *("--datasets", "concept_shapes", "--root", str(place / "data"), "--output", str(out / "runs")),
            *("--shots", "1", "--seeds", "1", "2", "--threads", "1", *words, *opts),
        ]

    tested = ["--trainers", "TipAdapterF", "GDA", "--targets", "concept_shapes_r"]
    return [
        Work("TaskRes", "train", partial(train, "TaskRes")), Work("CCLI", "train", partial(train, "CCLI")),
        Work("sweep", "sweep", partial(sweep, tested)), Work("CoOp", "train", partial(train, "CoOp")),
    ]  # fmt: skip


def prepare() -> None:
    """Import what the work needs, once and before anything is forked, and mark its phases."""
    import open_clip
    import torch.utils.tensorboard
    import torchvision

    from ccli.sweeps import encoding

    _ = (open_clip, torchvision, encoding, torch.utils.tensorboard)
    setup_cfg(arguments([]))  # imports every trainer and data set
    torch.set_num_threads(1)
    clock = base.FeatureTrainer._clock

    @contextmanager
    def marked_clock(self, phase: str):
        with clock(self, phase):
            _mark(phase)
            yield

    base.FeatureTrainer._clock = marked_clock
    _marked(base.FeatureTrainer, "before_epoch", "fit")
    _marked(base.FeatureTrainer, "save_model", "checkpoint")
    _marked(base, "write_classifier", "classifier")
    _marked(base, "write_record", "record")


def _mark(phase: str) -> None:
    PRESENT[0] = PHASES.index(phase)


def _marked(owner: object, name: str, phase: str) -> None:
    function = getattr(owner, name)

    def marked(*args, **kwargs):
        _mark(phase)
        return function(*args, **kwargs)

    setattr(owner, name, marked)


def start(work: Work, out: Path, before: Callable[[], None] = lambda: None) -> int:
    """Carry out the command in a process group of its own; its id. `before` is called in there first."""
    PRESENT[0] = 0
    out.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if child:
        with suppress(OSError):  # both do it, so that it is done whoever comes first
            os.setpgid(child, child)
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        said = os.open(out / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        os.environ["CCLI_STORE"] = str(out / "store")
        _fork_workers()
        tqdm.set_lock(threading.RLock())  # its own is shared with all that is forked: a kill would leave it locked
        sys.argv = [work.script, *work.argv(out)]
        before()
        code = _script(work.script).main() or 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _fork_workers() -> None:
    """A sweep's worker is forked, too. It has its parent's end of the pipe, and so never sees that closed."""
    fork = multiprocessing.get_context("fork")
    parent = staticmethod(multiprocessing.parent_process)
    workers.multiprocessing = type(
        "Forking", (), {"get_context": staticmethod(lambda _: fork), "parent_process": parent}
    )
    workers.Worker.end = lambda self: (self.process.kill(), self.pipe.close(), self.process.join())


def _script(name: str):
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def finish(child: int, seconds: float = 300) -> int:
    """Wait for a process; its exit status, negative for a signal."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    kill(child)
    raise TimeoutError(f"process {child} did not end in {seconds} s")


def kill(child: int) -> None:
    """The whole group, as the machine's out-of-memory killer or a batch system does."""
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


def timed(work: Work, out: Path) -> dict[str, float]:
    """The undisturbed run: seconds of each phase."""
    child, spent, last = start(work, out), dict.fromkeys(PHASES, 0.0), time.perf_counter()
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        time.sleep(0.0005)
        now = time.perf_counter()
        spent[PHASES[PRESENT[0]]] += now - last
        last = now
    if ended[1]:
        raise RuntimeError(f"{work.name} failed undisturbed: {(out / 'said.txt').read_text()}")
    return spent
