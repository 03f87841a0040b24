"""StanfordCars: 196 makes, models and years (Krause et al., 2013). Paths start from the data set's folder."""

from dassl.data.datasets import DATASET_REGISTRY

from ccli.datasets.common.few_shot import FewShotDataset, Sizes


@DATASET_REGISTRY.register()
class StanfordCars(FewShotDataset):
    dataset_dir = short_name = "stanford_cars"
    published = Sizes(196, 6509, 1635, 8041)
