"""ImageNet-A (Hendrycks et al., 2021): photos that ResNet-50 gets wrong, of 200 of the classes."""

from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from ccli.datasets.common.few_shot import Sizes
from ccli.datasets.common.splits import Pools
from ccli.datasets.imagenet import SynsetDataset


@DATASET_REGISTRY.register()
class ImageNetA(SynsetDataset):
    dataset_dir, short_name = "imagenet-adversarial", "imagenet_a"
    image_dir = "imagenet-a"
    published = Sizes(200, 0, 0, 7500)
    test_only = True

    @classmethod
    def read(cls, folder: Path) -> Pools:
        names = cls.synsets(folder)
        there = cls.there(folder)
        classes = {synset: name for synset, name in names.items() if synset in there}
        return Pools([], [], cls.listed(folder, "", classes), list(classes))
