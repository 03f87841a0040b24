"""CCLI at ImageNet's number of classes: python -m benchmarks.thousand_classes [--shots 4] [--test 50000]

A bundle of 1000 classes, 2000 concepts and generated features of width 1024 (clusters around random centres, class
texts a little off) without a validation set, so that alpha is chosen by cross-validation. Prints train.py's seconds
by phase, the whole command's, and its peak memory. Accuracy on generated features says nothing.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from ccli.bundles import Bundle, write_bundle
from ccli.runs import read_record
from ccli.task import Split

ROOT = Path(__file__).parent.parent
CLASSES, CONCEPTS, WIDTH = 1000, 2000, 1024


def bundle(shots: int, test: int) -> Bundle:
    generator = torch.Generator().manual_seed(0)

    def rows(count: int) -> torch.Tensor:
        return F.normalize(torch.randn(count, WIDTH, generator=generator), dim=-1)

    centres = rows(CLASSES)

    def split(per_class: int) -> Split:
        labels = torch.arange(CLASSES).repeat_interleave(per_class)
        return Split(F.normalize(centres[labels] + 1.5 * rows(len(labels)), dim=-1), labels)

    return Bundle(
        tuple(f"class {k}" for k in range(CLASSES)), F.normalize(centres + 2 * rows(CLASSES), dim=-1),
        torch.ones(CLASSES), 100.0, split(shots), None, split(test // CLASSES),
        tuple(f"concept {k}" for k in range(CONCEPTS)), rows(CONCEPTS),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--test", type=int, default=50_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        path = write_bundle(Path(place) / "thousand.npz", bundle(args.shots, args.test))
        command = [
            sys.executable, str(ROOT / "train.py"), "--seed", "1", "--trainer", "CCLI", "--output-dir", f"{place}/run",
            "--dataset-config-file", str(ROOT / "configs/datasets/feature_bundle.yaml"),
            "--config-file", str(ROOT / "configs/trainers/CCLI/rn50.yaml"),
            "DATASET.BUNDLE", str(path), "DATASET.NUM_SHOTS", str(args.shots),
        ]  # fmt: skip
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        took, record = time.perf_counter() - start, read_record(Path(place) / "run")
    seconds = ", ".join(f"{phase} {value:.1f} s" for phase, value in record["seconds"].items())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    print(f"{CLASSES} classes, {args.shots} shots, {record['total']} test images, {os.cpu_count()} cores: {seconds}")
    print(f"train.py in all {took:.1f} s, peak memory {peak:.1f} GB; alpha {record['hyper_parameters']['alpha']:g}")


if __name__ == "__main__":
    main()
