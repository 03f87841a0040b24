"""The paper's grid of CCLI on stored features: python -m benchmarks.paper_grid [--seeds 1 2 3]

The eleven data sets at their real sizes (classes, test images, up to 4 validation images per class; ImageNet has none,
so its alpha is chosen by cross-validation), 1 2 4 8 16 shots, as bundles of generated features of RN50's width, by one
sweep.py each. Prints runs and seconds by data set and in all.
"""

import sys

import tabulate
from dassl.data.datasets import DATASET_REGISTRY

from benchmarks.console import flag, script
from benchmarks.generated import bundle
from benchmarks.processes import swept
from ccli.datasets.imagenet import ImageNet
from ccli.features.bundles import write_bundle
from ccli.sweeps.config import import_all
from ccli.sweeps.plan import PAPER_SHOTS, Grid

NAMES = (
    *("Caltech101", "OxfordPets", "StanfordCars", "OxfordFlowers", "Food101", "FGVCAircraft", "SUN397"),
    *("DescribableTextures", "EuroSAT", "UCF101", "ImageNet"),
)


def sizes(name: str) -> tuple[int, int, int, int]:
    """A data set's classes, its training and validation images per class that a run may take, and its test images."""
    published = DATASET_REGISTRY.get(name).published
    return published.classes, max(PAPER_SHOTS), 0 if name == ImageNet.__name__ else 4, published.test


@script
@flag("--datasets", nargs="+", default=NAMES, choices=NAMES, metavar="NAME")
@flag("--seeds", nargs="+", type=int, default=[1, 2, 3])
def main(args) -> None:
    import_all("ccli.datasets")
    rows = []
    for name in args.datasets:
        classes, train, val, test = sizes(name)
        path = write_bundle(args.scratch / f"{name}.npz", bundle(classes, train, val, test))
        seconds, runs = swept(Grid([str(path)], ["CCLI"], PAPER_SHOTS, args.seeds, output=args.scratch / "runs"))
        rows.append([name, classes, test, len(runs), round(seconds, 1)])
        print(f"{name}: {len(runs)} runs in {seconds:.1f} s", file=sys.stderr)
        path.unlink()
    rows.append(["all", "", *(sum(row[column] for row in rows) for column in (2, 3, 4))])
    print(tabulate.tabulate(rows, ["data set", "classes", "test images", "runs", "seconds"], tablefmt="github"))
