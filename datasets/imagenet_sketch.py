"""ImageNet-Sketch (Wang et al., 2019): drawings of the 1000 classes."""

from ccli.datasets.common.few_shot import Sizes, register
from ccli.datasets.common.synsets import SynsetDataset


@register
class ImageNetSketch(SynsetDataset):
    dataset_dir, short_name = "imagenet-sketch", "imagenet_sketch"
    image_dir = "images"
    published = Sizes(1000, 0, 0, 50889)
    test_only = True
