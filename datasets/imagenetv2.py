"""ImageNetV2, matched frequency (Recht et al., 2019): a new test set; its folders are named by label, "0" to "999"."""

from pathlib import Path

from ccli.datasets.common.few_shot import Sizes, register
from ccli.datasets.common.splits import Pools
from ccli.datasets.common.synsets import SynsetDataset


@register
class ImageNetV2(SynsetDataset):
    dataset_dir = short_name = "imagenetv2"
    image_dir = "imagenetv2-matched-frequency-format-val"
    published = Sizes(1000, 0, 0, 10000, dict(test=(10, 10)))
    test_only = True

    @classmethod
    def read(cls, folder: Path) -> Pools:
        names = cls.synsets(folder)
        classes = {str(label): name for label, name in enumerate(names.values())}
        return Pools([], [], cls.listed(folder, "", classes), list(names))
