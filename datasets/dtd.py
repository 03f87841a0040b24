"""DescribableTextures (DTD): 47 words for textures (Cimpoi et al., 2014)."""

from ccli.datasets.common.few_shot import FewShotDataset, Sizes, register


@register
class DescribableTextures(FewShotDataset):
    dataset_dir = short_name = "dtd"
    image_dir = "images"
    published = Sizes(47, 2820, 1128, 1692, dict(train=(60, 60), val=(24, 24), test=(36, 36)))
