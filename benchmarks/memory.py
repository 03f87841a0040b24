"""Peak memory of train.py on large data: python -m benchmarks.memory [--images 100000] [--rows 1000000] [--width 512]

Zero-shot CLIP (demo-clip) on generated images of 16x16 pixels, which the run encodes into a new store and tests on; and
GDA, then CCLI, on a bundle of generated features in float32, nearly all of them test images. Each in a process of its
own. The temporary folder holds the bundle (2 GB).
"""

import json
from pathlib import Path

from benchmarks.console import flag, script, table
from benchmarks.generated import images, large_bundle
from benchmarks.processes import Measured, measured, one_run

CLASSES, SHOTS = 100, 16


def eurosat(root: Path, count: int) -> None:
    """EuroSAT's folder and split file, with `count` test images."""
    paths = images(root / "eurosat" / "2750", count, (16, 16), "bmp")
    test = [[path.name, k % 10, f"class {k % 10}"] for k, path in enumerate(paths)]
    split = {"train": test[:10], "val": test[:10], "test": test}
    (root / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(split))


def row(what: str, run: Measured) -> list:
    return [what, run.record["total"], f"{run.seconds:.0f}", f"{run.memory:.2f}"]


@script
@flag("--images", type=int, default=100_000, help="to encode")
@flag("--rows", type=int, default=1_000_000, help="test images of the bundle")
@flag("--width", type=int, default=512, help="of the bundle's features")
def main(args) -> None:
    place = args.scratch
    eurosat(place, args.images)
    run = one_run("eurosat", "ZeroshotCLIP", 1, place, cfg="demo_clip", root=str(place))
    rows = [row("images encoded, ZeroshotCLIP", measured(run, CCLI_STORE=str(place / "store")))]
    path = large_bundle(place / "large.npz", args.rows, args.width, SHOTS, CLASSES)
    for trainer in ("GDA", "CCLI"):
        run = one_run(path, trainer, SHOTS, place)
        rows.append(row(f"bundle of {path.stat().st_size / 1e9:.2f} GB, {trainer}", measured(run)))
    print(table(rows, ["run", "test images", "train.py (s)", "peak memory (GB)"]))
