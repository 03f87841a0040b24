"""How long ImageNet's 1.28 million file names take, listed and remembered: python -m benchmarks.imagenet_listing

Makes a tree of 1000 class folders with 1281 empty training and 50 test files each (1.33 million in all) in a temporary
folder and loads 16 shots from it: from the disk, and from the listing that was kept. Beside it, what a Datum for each
training file costs (measured on a sixteenth of them, scaled).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from dassl.config import get_cfg_default
from dassl.data.datasets import Datum
from tqdm import tqdm

from ccli.datasets.common.few_shot import extend_cfg
from ccli.datasets.imagenet import ImageNet


def make_tree(root: Path, train: int, test: int) -> None:
    """Folders as ImageNet has them, files without content."""
    synsets = [f"n{k:08d}" for k in range(1000)]
    for synset in tqdm(synsets, desc="Making empty files", disable=None):
        for part, count, name in (("train", train, "{}_{}.JPEG"), ("val", test, "ILSVRC2012_val_{}{}.JPEG")):
            folder = root / "imagenet/images" / part / synset
            folder.mkdir(parents=True)
            for k in range(count):
                os.close(os.open(folder / name.format(synset, k), os.O_CREAT))
    (root / "imagenet/classnames.txt").write_text("".join(f"{synset} thing\n" for synset in synsets))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=1281, help="training files a class")
    train = parser.parse_args().train
    with tempfile.TemporaryDirectory() as folder:
        make_tree(Path(folder), train, 50)
        cfg = get_cfg_default()
        extend_cfg(cfg)
        cfg.DATASET.ROOT, cfg.DATASET.NUM_SHOTS, cfg.SEED = folder, 16, 1

        def seconds() -> float:
            start = time.perf_counter()
            dataset = ImageNet(cfg)
            assert (len(dataset.train_x), len(dataset.test)) == (16000, 50000)
            return time.perf_counter() - start

        first = seconds()
        warm = min(seconds() for _ in range(3))
        pool = ImageNet.read(Path(folder) / "imagenet").train
        part = pool[::16]
        start = time.perf_counter()
        _ = [Datum(f"{folder}/imagenet/images/{path}", label, classname=name) for path, label, name in part]
        every = (time.perf_counter() - start) * len(pool) / len(part)
        print(f"{len(pool)} training files: listed in {first:.2f} s, remembered {warm:.2f} s (with 66000 Datums)")
        print(f"a Datum for each: {every:.2f} s more; remembered is {(warm + every) / warm:.1f} times as fast")


if __name__ == "__main__":
    main()
