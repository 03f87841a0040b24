"""ImageNet (Deng et al., 2009): folders named by synset, and classnames.txt; its validation images are the test set.

There is no validation set: CoOp used the test set for it, which we do not. CoOp listed the files in the order of the
disk, so its draw cannot be repeated; here they are sorted. DATASET.PICKS takes a published list.
"""

from pathlib import Path

from ccli.datasets.common.few_shot import Sizes, register
from ccli.datasets.common.splits import Pools
from ccli.datasets.common.synsets import SynsetDataset


@register
class ImageNet(SynsetDataset):
    dataset_dir = short_name = "imagenet"
    image_dir = "images"
    published = Sizes(1000, 1281167, 0, 50000, {"train": (732, 1300), "test": (50, 50)})

    @classmethod
    def read(cls, folder: Path) -> Pools:
        names = cls.synsets(folder)
        train, test = (cls.listed(folder, part, names) for part in ("train", "val"))
        return Pools(train, [], test, list(names))
