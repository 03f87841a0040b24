"""Generated features of any size, and train.py on them in a process of its own. Accuracy on them says nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional as F

from ccli.features.bundles import Bundle
from ccli.features.task import Split
from ccli.results.records import read_record

ROOT = Path(__file__).parent.parent
WIDTH, CONCEPTS = 1024, 2000


def centres(count: int, width: int = WIDTH) -> torch.Tensor:
    """Of classes, [count, width], unit rows."""
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(0)), dim=-1)


def around(rows: torch.Tensor, noise: float, generator: torch.Generator) -> torch.Tensor:
    """Unit rows near given ones [n, D]: each plus a random direction, `noise` long."""
    direction = F.normalize(torch.randn(rows.shape, generator=generator), dim=-1)
    return F.normalize(rows + noise * direction, dim=-1)


def bundle(classes: int, train: int, val: int, test: int, concepts: int = CONCEPTS, width: int = WIDTH) -> Bundle:
    """Clusters of `train` and `val` images a class, `test` images in all, class texts a little off, random concepts."""
    generator, middle = torch.Generator().manual_seed(1), centres(classes, width)

    def split(count: int) -> Split:
        labels = torch.arange(count) % classes
        labels = labels.sort().values
        return Split(around(middle[labels], 1.5, generator), labels)

    return Bundle(
        tuple(f"class {k}" for k in range(classes)), around(middle, 2, generator), torch.ones(classes), 100.0,
        split(classes * train), split(classes * val) if val else None, split(test),
        tuple(f"concept {k}" for k in range(concepts)), around(torch.zeros(concepts, width), 1, generator),
    )  # fmt: skip


class Run(NamedTuple):
    """One call of train.py: its record, its seconds in all and its peak resident memory in GB."""

    record: dict
    seconds: float
    memory: float


def run_train(output: Path, *argv: str, trainer: str = "CCLI", cfg: str = "rn50", seed: int = 1) -> Run:
    command = [
        sys.executable, str(ROOT / "train.py"), "--seed", str(seed), "--trainer", trainer, "--output-dir", str(output),
        "--config-file", str(ROOT / f"configs/trainers/{trainer}/{cfg}.yaml"), *map(str, argv),
    ]  # fmt: skip
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"train.py ended with {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
    return Run(read_record(output), time.perf_counter() - start, usage.ru_maxrss / 1024**2)


def on_bundle(path: Path, shots: int, *options: str) -> Sequence[str]:
    """train.py's arguments for a bundle."""
    yaml = str(ROOT / "configs/datasets/feature_bundle.yaml")
    return ("--dataset-config-file", yaml, "DATASET.BUNDLE", str(path), "DATASET.NUM_SHOTS", str(shots), *options)
