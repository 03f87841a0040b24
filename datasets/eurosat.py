"""EuroSAT: 10 kinds of land, seen by Sentinel-2 (Helber et al., 2019)."""

from ccli.datasets.common.few_shot import FewShotDataset, Sizes, register


@register
class EuroSAT(FewShotDataset):
    dataset_dir = short_name = "eurosat"
    image_dir = "2750"
    published = Sizes(10, 13500, 5400, 8100, dict(train=(1000, 1500), val=(400, 600), test=(600, 900)))
