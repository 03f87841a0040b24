"""FGVCAircraft (Maji et al., 2013): 100 variants of aircraft, split by the authors' own lists."""

from pathlib import Path

from ccli.datasets.common.few_shot import FewShotDataset, Sizes, register
from ccli.datasets.common.splits import PARTS, Item, Pools, read_lines
from ccli.errors import CcliError


@register
class FGVCAircraft(FewShotDataset):
    dataset_dir = short_name = "fgvc_aircraft"
    image_dir = "images"
    published = Sizes(100, 3334, 3333, 3333, dict(train=(33, 34), val=(33, 34), test=(33, 34)))

    @classmethod
    def read(cls, folder: Path) -> Pools:
        names = cls.lines(folder / "variants.txt")
        labels = {name: label for label, name in enumerate(names)}
        if len(labels) < len(names):
            raise CcliError(f"{folder / 'variants.txt'} names a variant twice; {cls.repair(folder.parent)}")

        def item(line: str, path: Path) -> Item:
            number, _, name = line.partition(" ")
            if name not in labels or not number.isdecimal():
                raise CcliError(f"{path}: {line!r} is not an image and its variant; {cls.repair(folder.parent)}")
            return f"{number}.jpg", labels[name], name

        paths = [folder / f"images_variant_{part}.txt" for part in PARTS]
        return Pools(*([item(line, path) for line in cls.lines(path)] for path in paths))

    @classmethod
    def lines(cls, path: Path) -> list[str]:
        if not path.is_file():
            raise CcliError(f"no {path}: {cls.repair(path.parent.parent)}")
        return read_lines(path)
