"""Caltech101: 100 kinds of object (Fei-Fei et al., 2004), without BACKGROUND_Google and Faces_easy."""

from ccli.datasets.common.few_shot import FewShotDataset, Sizes, register


@register
class Caltech101(FewShotDataset):
    dataset_dir, short_name = "caltech-101", "caltech101"
    image_dir = "101_ObjectCategories"
    published = Sizes(100, 4128, 1649, 2465, dict(train=(16, 400), val=(6, 160), test=(9, 240)))
