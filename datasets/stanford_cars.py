"""StanfordCars: 196 makes, models and years (Krause et al., 2013). Paths start from the data set's folder."""

from ccli.datasets.common.few_shot import FewShotDataset, Sizes, register


@register
class StanfordCars(FewShotDataset):
    dataset_dir = short_name = "stanford_cars"
    published = Sizes(196, 6509, 1635, 8041)
