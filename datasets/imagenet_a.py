"""ImageNet-A (Hendrycks et al., 2021): photos that ResNet-50 gets wrong, of 200 of the classes."""

from pathlib import Path

from ccli.datasets.common.few_shot import Sizes, register
from ccli.datasets.common.synsets import SynsetDataset


@register
class ImageNetA(SynsetDataset):
    dataset_dir, short_name = "imagenet-adversarial", "imagenet_a"
    image_dir = "imagenet-a"
    published = Sizes(200, 0, 0, 7500)
    test_only = True

    @classmethod
    def synsets(cls, folder: Path) -> dict[str, str]:
        names, there = super().synsets(folder), cls.there(folder)
        return {synset: name for synset, name in names.items() if synset in there}
