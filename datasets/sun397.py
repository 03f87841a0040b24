"""SUN397: 397 scenes (Xiao et al., 2010)."""

from ccli.datasets.common.few_shot import FewShotDataset, Sizes, register


@register
class SUN397(FewShotDataset):
    dataset_dir = short_name = "sun397"
    image_dir = "SUN397"
    published = Sizes(397, 15880, 3970, 19850, dict(train=(40, 40), val=(10, 10), test=(50, 50)))
