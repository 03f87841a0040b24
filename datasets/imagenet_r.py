"""ImageNet-R (Hendrycks et al., 2021): renditions (paintings, toys, tattoos ...) of 200 of the classes."""

from ccli.datasets.common.few_shot import Sizes, register
from ccli.datasets.imagenet_a import ImageNetA


@register
class ImageNetR(ImageNetA):
    dataset_dir, short_name = "imagenet-rendition", "imagenet_r"
    image_dir = "imagenet-r"
    published = Sizes(200, 0, 0, 30000, dict(test=(51, 430)))
