"""Where the steps run and how large they are; time and memory on a GPU or a CPU."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO, TypeVar

import torch

from ccli import cli
from ccli.results.records import FAILURE
from ccli.sweeps.execute import execute
from ccli.sweeps.plan import Grid, Run, runs_of
from gpu_check.figures import Deadline

T = TypeVar("T")
RESERVE = 3  # seconds of a step in which it reports, after a command is ended


class Memory:
    """Peak memory since it was made, in MB: of tensors on the GPU, or of the whole process on a CPU."""

    def __init__(self, device: str) -> None:
        self.device = device
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> float:
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() / 1e6
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


@dataclass(frozen=True)
class Setting:
    """What a step is given.

    work: folder for its files, shared by all steps; miniature: everything small, and a second pass on the CPU stands
    for the GPU; apart: commands get processes of their own; deadline: of the step.
    """

    work: Path
    miniature: bool
    apart: bool
    deadline: Deadline

    @property
    def device(self) -> str:
        return "cpu" if self.miniature else "cuda"

    def size(self, full: T, miniature: T) -> T:
        return miniature if self.miniature else full

    def memory(self) -> Memory:
        return Memory(self.device)

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], repeats: int) -> float:
        """The least seconds of `once`, after a call to warm up."""
        work()
        return min(self.once(work) for _ in range(repeats))

    def once(self, work: Callable[[], Any]) -> float:
        """Seconds of a call; the GPU is waited for."""
        self.synchronize()
        start = time.perf_counter()
        work()
        self.synchronize()
        return time.perf_counter() - start

    @cached_property
    def data(self) -> Path:
        """The folder of the data sets; holds concept_shapes."""
        from ccli.datasets.concept_shapes import ConceptShapes

        if self.miniature:
            ConceptShapes.counts = {"train": 2, "val": 1, "test": 2}
        ConceptShapes.folder(self.work / "data")
        return self.work / "data"

    def use_store(self, name: str) -> None:
        """Encode anew, into a feature store of that name, what is not in it yet."""
        os.environ["CCLI_STORE"] = str(self.work / "stores" / name)

    def command(self, *words: str) -> str:
        """What `ccli WORDS` prints to stdout; it runs in this process unless `apart`.

        Raises:
            TimeoutError: the step's time is nearly over; the command is ended.
            RuntimeError: it failed; the message is its last line.
        """
        out, log = self.work / "command.out", self.work / "command.log"
        with open(out, "w+", encoding="utf-8") as stdout, open(log, "w+", encoding="utf-8") as stderr:
            if self.apart:
                status = self._process(words, stdout, stderr)
            else:
                with redirect_stdout(stdout), redirect_stderr(stderr):
                    status = cli.main(list(words))
        if status:
            said = log.read_text(encoding="utf-8")
            print(said, file=sys.stderr)
            raise RuntimeError((said.strip().splitlines() or ["no message"])[-1])
        return out.read_text(encoding="utf-8")

    def _process(self, words: Sequence[str], stdout: TextIO, stderr: TextIO) -> int:
        command = [sys.executable, "-m", "ccli", *words]
        try:
            left = max(1, self.deadline.left() - RESERVE)
            return subprocess.run(command, stdout=stdout, stderr=stderr, timeout=left).returncode
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"`ccli {words[0]}` was ended after {left:.0f} s") from None

    def runs(
        self, dataset: str | Path, trainers: Sequence[str], shots: int, name: str, on: str, *options: str, strict=False
    ) -> list[Run]:
        """A run of seed 1 per trainer, below WORK/runs/NAME.

        Args:
            on: "gpu" or "cpu"; in miniature both are the CPU.
            strict: with --deterministic.
        """
        device = ("USE_CUDA", "False") if on == "cpu" else ()
        place = {"root": str(self.work / "data"), "output": self.work / "runs" / name / on}
        return runs_of(
            Grid([str(dataset)], trainers, [shots], [1], options=[*options, *device], deterministic=strict, **place)
        )


def carry_out(run: Run) -> None:
    """Train and test, in this process. Raises RuntimeError with the reason where that fails."""
    for outcome in execute(run):
        if outcome.error:
            if outcome.traced:
                print((outcome.folder / FAILURE).read_text(encoding="utf-8"), file=sys.stderr)
            raise RuntimeError(outcome.error)
