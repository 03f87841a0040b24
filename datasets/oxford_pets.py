"""OxfordPets: 37 breeds of cats and dogs (Parkhi et al., 2012)."""

from ccli.datasets.common.few_shot import FewShotDataset, Sizes, register


@register
class OxfordPets(FewShotDataset):
    dataset_dir = short_name = "oxford_pets"
    image_dir = "images"
    published = Sizes(37, 2944, 736, 3669, dict(train=(74, 80), val=(19, 20), test=(88, 100)))
