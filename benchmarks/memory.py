"""Peak memory of train.py on large data: python -m benchmarks.memory [--images 100000] [--rows 1000000] [--width 512]

Two runs in processes of their own. Zero-shot CLIP (demo-clip) on generated pictures of 16x16 pixels, which the run
encodes into a new store and tests on; and GDA, then CCLI, on a bundle of generated features in float32, nearly all of
them test images. Accuracy says nothing. Needs as much room in the temporary folder as the bundle takes (2 GB).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tabulate
from PIL import Image

from benchmarks.generated import ROOT, around, bundle, centres, on_bundle
from ccli.features.bundles import write_bundle
from ccli.results.records import read_record

CLASSES, SHOTS, CHUNK = 100, 16, 10_000
# a process begins with the peak of the one that starts it, so a small one is put between
PEAK = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


def peak(command: Sequence[str], **env: str) -> float:
    """A command's peak resident memory in GB.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is on stderr.
    """
    between = [sys.executable, "-c", PEAK, *map(str, command)]
    done = subprocess.run(between, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | env)
    return int(done.stdout) / 1024**2


def train(output: Path, trainer: str, cfg: str, *argv) -> list[str]:
    """train.py's command line."""
    return [
        sys.executable, str(ROOT / "train.py"), "--seed", "1", "--trainer", trainer, "--output-dir", str(output),
        "--config-file", str(ROOT / f"configs/trainers/{trainer}/{cfg}.yaml"), *map(str, argv),
    ]  # fmt: skip


def large_bundle(path: Path, rows: int, width: int, classes: int = CLASSES, dtype: str = "<f4") -> Path:
    """A bundle with so many test images; they repeat after a few thousand, which saves time and changes no memory."""
    import torch

    write_bundle(path, bundle(classes, SHOTS, 4, classes, 50, width))
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files if name != "test_features"}
    np.savez(path, **kept | {"test_labels": np.arange(rows) % classes})
    generator = torch.Generator().manual_seed(2)
    some = around(centres(classes, width)[torch.arange(CHUNK) % classes], 1.5, generator).numpy().astype(dtype)
    with zipfile.ZipFile(path, "a") as archive, archive.open("test_features.npy", "w", force_zip64=True) as file:
        header = {"descr": dtype, "fortran_order": False, "shape": (rows, width)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, CHUNK):
            file.write(some[: rows - start].tobytes())
    return path


def pictures(root: Path, count: int) -> None:
    """EuroSAT's folder, split file and all, with `count` different test pictures of 16x16 pixels."""
    folder = root / "eurosat" / "2750"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    split: dict[str, list] = {"train": [], "val": [], "test": []}
    for k in range(count):
        name = f"{k:07d}.bmp"
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / name)
        split["test"].append([name, k % 10, f"class {k % 10}"])
    split["train"] = split["val"] = split["test"][:10]
    (root / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))


def encoding(place: Path, count: int) -> tuple[list[str], dict[str, str]]:
    pictures(place, count)
    data = ("--root", place, "--dataset-config-file", ROOT / "configs/datasets/eurosat.yaml")
    return train(place / "run", "ZeroshotCLIP", "demo_clip", *data), {"CCLI_STORE": str(place / "store")}


def measured(what: str, command: list[str], output: Path, **env: str) -> list:
    start = time.perf_counter()
    memory = peak(command, **env)
    return [what, read_record(output)["total"], f"{time.perf_counter() - start:.0f}", f"{memory:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="pictures to encode (default: 100000)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="test images of the bundle (default: 1000000)")
    parser.add_argument("--width", type=int, default=512, help="of the bundle's features (default: 512)")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        path = large_bundle(place / "large.npz", args.rows, args.width)
        size = f"bundle of {path.stat().st_size / 1e9:.2f} GB, "
        for trainer in ("GDA", "CCLI"):
            command = train(place / trainer, trainer, "rn50", *on_bundle(path, SHOTS))
            rows.append(measured(size + trainer, command, place / trainer))
        path.unlink()
        command, env = encoding(place, args.images)
        rows.insert(0, measured("pictures encoded, ZeroshotCLIP", command, place / "run", **env))
    heads = ["run", "test images", "train.py (s)", "peak memory (GB)"]
    print(tabulate.tabulate(rows, heads, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
