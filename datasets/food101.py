"""Food101: 101 dishes (Bossard et al., 2014)."""

from ccli.datasets.common.few_shot import FewShotDataset, Sizes, register


@register
class Food101(FewShotDataset):
    dataset_dir, short_name = "food-101", "food101"
    image_dir = "images"
    published = Sizes(101, 50500, 20200, 30300, dict(train=(500, 500), val=(200, 200), test=(300, 300)))
