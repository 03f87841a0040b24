"""Seconds to list ImageNet's 1.28 million file names, and to remember them: python -m benchmarks.imagenet_listing

Makes 1000 class folders with 1281 empty training and 50 test files each, and loads 16 shots: from the disk, and from
the listing that was kept. Beside it, the cost of a Datum for each training file (measured on a sixteenth, scaled).
"""

import tempfile
from pathlib import Path

from dassl.data.datasets import Datum

from benchmarks.console import parser
from benchmarks.generated import few_shot, imagenet_tree
from benchmarks.timing import fastest
from ccli.datasets.imagenet import ImageNet


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("--train", type=int, default=1281, help="training files per class")
    train = flags.parse_args().train
    with tempfile.TemporaryDirectory() as folder:
        imagenet_tree(Path(folder), train, 50)
        (first,), _ = fastest(1, [lambda: few_shot(ImageNet, folder, 16)])
        (warm,), (dataset,) = fastest(3, [lambda: few_shot(ImageNet, folder, 16)])
        assert (len(dataset.train_x), len(dataset.test)) == (16000, 50000)
        pool = ImageNet.read(Path(folder) / "imagenet").train
        images = f"{folder}/imagenet/images"
        (part,), _ = fastest(1, [lambda: [Datum(f"{images}/{x}", label, classname=c) for x, label, c in pool[::16]]])
        every = part * len(pool) / len(pool[::16])
        print(f"{len(pool)} training files: listed in {first:.2f} s, remembered {warm:.2f} s (with 66000 Datums)")
        print(f"a Datum for each: {every:.2f} s more; remembered is {(warm + every) / warm:.1f} times as fast")


if __name__ == "__main__":
    main()
