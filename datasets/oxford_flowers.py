"""OxfordFlowers: 102 flowers (Nilsback and Zisserman, 2008)."""

from ccli.datasets.common.few_shot import FewShotDataset, Sizes, register


@register
class OxfordFlowers(FewShotDataset):
    dataset_dir = short_name = "oxford_flowers"
    image_dir = "jpg"
    published = Sizes(102, 4093, 1633, 2463)
