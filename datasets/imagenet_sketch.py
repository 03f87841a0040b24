"""ImageNet-Sketch (Wang et al., 2019): drawings of the 1000 classes."""

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from ccli.datasets.common.few_shot import Sizes
from ccli.datasets.common.splits import Pools
from ccli.datasets.imagenet import SynsetDataset


@DATASET_REGISTRY.register()
class ImageNetSketch(SynsetDataset):
    dataset_dir, short_name = "imagenet-sketch", "imagenet_sketch"
    image_dir = "images"
    published = Sizes(1000, 0, 0, 50889)
    test_only = True

    @classmethod
    def read(cls, folder: Path) -> Pools:
        names = cls.synsets(folder)
        return Pools([], [], cls.listed(folder, "", names), list(names))
