"""UCF101: the middle frames of videos of 101 actions (Soomro et al., 2012)."""

from ccli.datasets.common.few_shot import FewShotDataset, Sizes, register


@register
class UCF101(FewShotDataset):
    dataset_dir = short_name = "ucf101"
    image_dir = "UCF-101-midframes"
    published = Sizes(101, 7639, 1898, 3783)
