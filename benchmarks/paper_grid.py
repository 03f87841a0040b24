"""The paper's grid of CCLI on stored features: python -m benchmarks.paper_grid [--seeds 1 2 3]

The eleven data sets at their real sizes (classes, test images, validation images up to 4 a class; ImageNet has none, so
its alpha is chosen by cross-validation), 1 2 4 8 16 shots, as bundles of generated features of RN50's width, by one
sweep.py. Prints its seconds by data set and in all, and how many runs it had.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tabulate
from dassl.data.datasets import DATASET_REGISTRY

from benchmarks.generated import ROOT, bundle
from ccli.datasets.imagenet import ImageNet
from ccli.features.bundles import write_bundle
from ccli.sweeps.config import import_all

NAMES = (
    "Caltech101", "OxfordPets", "StanfordCars", "OxfordFlowers", "Food101", "FGVCAircraft", "SUN397",
    "DescribableTextures", "EuroSAT", "UCF101", "ImageNet",
)  # fmt: skip
SHOTS = (1, 2, 4, 8, 16)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=NAMES, choices=NAMES, metavar="NAME", help=f"of {NAMES}")
    parser.add_argument("--seeds", nargs="+", default=["1", "2", "3"])
    args = parser.parse_args()
    import_all("ccli.datasets")
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for name in args.datasets:
            sizes = DATASET_REGISTRY.get(name).published
            val = 0 if name == ImageNet.__name__ else 4
            path = write_bundle(Path(place) / f"{name}.npz", bundle(sizes.classes, max(SHOTS), val, sizes.test))
            command = [
                sys.executable, str(ROOT / "sweep.py"), "--datasets", str(path), "--trainers", "CCLI", "--seeds",
                *args.seeds, "--output", f"{place}/runs",
            ]  # fmt: skip
            start = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            took = time.perf_counter() - start
            runs = len(re.findall(r"^.+: [\d.]+ % \([\d.]+ s\)$", done.stderr, re.MULTILINE))
            rows.append([name, sizes.classes, sizes.test, runs, round(took, 1)])
            print(f"{name}: {runs} runs in {took:.1f} s", file=sys.stderr)
            path.unlink()
    rows.append(["all", "", sum(row[2] for row in rows), sum(row[3] for row in rows), sum(row[4] for row in rows)])
    print(tabulate.tabulate(rows, ["data set", "classes", "test images", "runs", "seconds"], tablefmt="github"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
