"""Seconds to list ImageNet's 1.28 million file names, and to remember them: python -m benchmarks.imagenet_listing

Makes 1000 class folders with 1281 empty training and 50 test files each, and loads 16 shots: from the disk, and from
the listing that was kept. Beside it, the cost of a Datum for each training file (measured on a sixteenth, scaled).
"""

from dassl.data.datasets import Datum

from benchmarks.console import fastest, flag, script, timed
from benchmarks.generated import few_shot, imagenet_tree
from ccli.datasets.imagenet import ImageNet


@script
@flag("--train", type=int, default=1281, help="training files per class")
def main(args) -> None:
    imagenet_tree(args.scratch, args.train, 50)
    first, _ = timed(lambda: few_shot(ImageNet, args.scratch, 16))
    (warm,), (dataset,) = fastest(3, [lambda: few_shot(ImageNet, args.scratch, 16)])
    assert (len(dataset.train_x), len(dataset.test)) == (16000, 50000)
    folder = args.scratch / "imagenet"
    pool = ImageNet.read(folder).train
    part, _ = timed(lambda: [Datum(f"{folder}/images/{x}", label, classname=c) for x, label, c in pool[::16]])
    every = part * len(pool) / len(pool[::16])
    print(f"{len(pool)} training files: listed in {first:.2f} s, remembered {warm:.2f} s (with 66000 Datums)")
    print(f"a Datum for each: {every:.2f} s more; remembered is {(warm + every) / warm:.1f} times as fast")
