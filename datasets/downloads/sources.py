"""Where the 15 data sets come from; the folder tree is CoOp's.

Addresses are in the order in which they are tried: the official one first where it is known to answer. Checksums are
torchvision's and TensorFlow Datasets' own for these files (DATASETS.md says which); one that no source confirms is left
out. Sizes are for the question whether the disk has room.
"""

from __future__ import annotations

from ccli.datasets.downloads.fetch import File
from ccli.datasets.downloads.steps import Archive, Either, ImageNet, Names, Plain, Source, Split

SPLITS_COPY = "https://raw.githubusercontent.com/linzhiqiu/cross_modal_adaptation/main/splits"
VGG = "https://www.robots.ox.ac.uk/~vgg/data"
CARS = "https://ai.stanford.edu/~jkrause"
BERKELEY = "https://people.eecs.berkeley.edu/~hendrycks"
HF = "https://huggingface.co"
# A copy of CoOp's tree by the authors of PromptKD, at one revision, so that its content cannot change.
COOP_COPY = f"{HF}/zhengli97/prompt_learning_dataset/resolve/ceb3112337fb6e1bf71534e355ca5569b63f19a6"
EUROSAT_COPY = f"{HF}/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd"
CARS_LABELS = "https://raw.githubusercontent.com/nguyentruonglau/stanford-cars/main/labeldata"


def _drive(key: str) -> str:
    return f"https://drive.google.com/uc?id={key}"


def _file(checksum: str, size: int, url: str, *copies: str) -> File:
    return File(url.rpartition("/")[2], (url, *copies), tuple(checksum.split()), size)


def _split(name: str, key: str) -> Split:
    file = f"split_zhou_{name}.json"
    return Split(File(file, (_drive(key), f"{SPLITS_COPY}/{file}")))


NAMES = Names(File("classnames.txt", (_drive("1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF"),)))

IMAGENET = ImageNet(
    train=File("ILSVRC2012_img_train.tar", sums=("md5:1d675b47d978889d74fa0da5fadfb00e",)),
    val=File("ILSVRC2012_img_val.tar", sums=("md5:29b22e2961454d5413ddabcf34fc5622",)),
    devkit=File("ILSVRC2012_devkit_t12.tar.gz", sums=("md5:fa75699e90414af021442c21a62c3abf",)),
)

CALTECH101 = _file(
    "md5:3138e1922a9193bfa496528edbbc45d0",
    0,
    "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
)

PETS_IMAGES = _file("md5:5c4f3ee8e5d25df40f4fd59a7f44e54c", 791918971, f"{VGG}/pets/data/images.tar.gz")
PETS_ANNOTATIONS = _file("md5:95a8c909bbe2e81eed6a22bccdf3f68f", 19173078, f"{VGG}/pets/data/annotations.tar.gz")

# Stanford's own pages are gone since 2023.
CARS_COPY = _file("", 0, f"{COOP_COPY}/stanford_cars.zip")
CARS_TRAIN = _file("md5:065e5b463ae28d29e77c1b4b166cfe61", 979269282, f"{CARS}/car196/cars_train.tgz")
CARS_TEST = _file("md5:4ce7ebf6a94d07f1952d94dd34c4d501", 977350468, f"{CARS}/car196/cars_test.tgz")
CARS_DEVKIT = _file(
    "md5:c3b158d763b6e2245038c8ad08e45376",
    330960,
    "https://github.com/pytorch/vision/files/11644847/car_devkit.tgz",
    f"{CARS}/cars/car_devkit.tgz",
)
CARS_TEST_LABELS = _file(
    "md5:b0a2b23655a3edd16d84508592a98d10",
    185758,
    f"{CARS_LABELS}/cars_test_annos_withlabels.mat",
    f"{CARS}/car196/cars_test_annos_withlabels.mat",
)

FLOWERS = _file("md5:52808999861908f626f3c1f4e79d11fa", 344862509, f"{VGG}/flowers/102/102flowers.tgz")
FLOWERS_LABELS = _file("md5:e0620be6f572b9609742df49c70aed4d", 502, f"{VGG}/flowers/102/imagelabels.mat")
FLOWERS_NAMES = File(
    "cat_to_name.json", (_drive("1AkcxCXeK_RCGCEC_GvmWxjcjaNhu-at0"), f"{SPLITS_COPY}/cat_to_name.json")
)

FOOD101 = _file(
    "md5:85eeb15f3717b99a5da872d97d918f87",
    4996278331,
    "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
    f"{HF}/datasets/ethz/food101/resolve/main/food-101.tar.gz",
)

AIRCRAFT = _file("md5:d4acdd33327262359767eeaa97a4f732", 0, f"{VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz")
AIRCRAFT_LISTS = ("variants.txt", *(f"images_variant_{part}.txt" for part in ("train", "val", "test")))

# Princeton answers 404 since 2025; this copy's checksum is the one that Princeton published.
SUN397 = _file(
    "md5:8ca2778205c41d23104230ba66911c7a",
    39077296924,
    f"{HF}/zhengli97/SUN397_Dataset/resolve/main/SUN397.tar.gz",
    "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
)

DTD = _file("md5:fff73e5086ae6bdbea199a49dfb8a4c1", 625239812, f"{VGG}/dtd/download/dtd-r1.0.1.tar.gz")

EUROSAT = _file(
    "md5:c8fa014336c82ac7804f0398fcb19387",
    94280567,
    f"{EUROSAT_COPY}/EuroSAT.zip",
    "https://madm.dfki.de/files/sentinel/EuroSAT.zip",
)

UCF101 = File("UCF-101-midframes.zip", (_drive("10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O"),))

# The authors' present upload, and their first, which has other bytes.
IMAGENETV2 = _file(
    "sha256:f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c "
    "sha256:a32004f9e773279307499059d320336a23ccdc62cb32063da29bae9bd04c122c",
    1264079360,
    f"{HF}/datasets/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz",
    "https://s3-us-west-2.amazonaws.com/imagenetv2public/imagenetv2-matched-frequency.tar.gz",
)

SKETCH = File(
    "ImageNet-Sketch.zip",
    (
        _drive("1Mj0i5HBthqH1p_yeXzsg22gZduvgoNeA"),
        f"{HF}/datasets/songweig/imagenet_sketch/resolve/main/data/ImageNet-Sketch.zip",
    ),
    ("sha256:4d3ce6b82a7c48aabf14aeac105eb533e75707f152cc858f55bfc022031a72ed",),
    7593573012,
)

IMAGENET_A = _file("md5:c3e55429088dc681f30d81f4726b6595", 687552512, f"{BERKELEY}/imagenet-a.tar")
IMAGENET_R = _file("md5:a61312130a589d0ca1a8fca1f2bd3337", 2191079936, f"{BERKELEY}/imagenet-r.tar")

SOURCES = {
    "imagenet": Source("imagenet", (IMAGENET, NAMES)),
    "caltech101": Source(
        "caltech-101",
        (
            Archive(CALTECH101, ("101_ObjectCategories",), inner="101_ObjectCategories.tar.gz"),
            _split("Caltech101", "1hyarUivQE36mY6jSomru6Fjd-JzwcCzN"),
        ),
    ),
    "oxford_pets": Source(
        "oxford_pets",
        (
            Archive(PETS_IMAGES, ("images",)),
            Archive(PETS_ANNOTATIONS, ("annotations",)),
            _split("OxfordPets", "1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs"),
        ),
    ),
    "stanford_cars": Source(
        "stanford_cars",
        (
            Either(
                (
                    (Archive(CARS_COPY, ("cars_train", "cars_test")),),
                    (Archive(CARS_TRAIN, ("cars_train",)), Archive(CARS_TEST, ("cars_test",))),
                )
            ),
            Archive(CARS_DEVKIT, ("devkit",)),
            Plain(CARS_TEST_LABELS),
            _split("StanfordCars", "1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT"),
        ),
    ),
    "oxford_flowers": Source(
        "oxford_flowers",
        (
            Archive(FLOWERS, ("jpg",)),
            Plain(FLOWERS_LABELS),
            Plain(FLOWERS_NAMES),
            _split("OxfordFlowers", "1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT"),
        ),
    ),
    "food101": Source(
        "food-101",
        (Archive(FOOD101, ("images", "meta", "*.txt")), _split("Food101", "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl")),
    ),
    "fgvc_aircraft": Source("fgvc_aircraft", (Archive(AIRCRAFT, ("images", *AIRCRAFT_LISTS, "*.txt")),)),
    "sun397": Source("sun397", (Archive(SUN397, ("SUN397",)), _split("SUN397", "1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq"))),
    "dtd": Source(
        "dtd",
        (
            Archive(DTD, ("images", "imdb", "labels")),
            _split("DescribableTextures", "1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x"),
        ),
    ),
    "eurosat": Source("eurosat", (Archive(EUROSAT, ("2750",)), _split("EuroSAT", "1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o"))),
    "ucf101": Source(
        "ucf101", (Archive(UCF101, ("UCF-101-midframes",)), _split("UCF101", "1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y"))
    ),
    "imagenetv2": Source("imagenetv2", (Archive(IMAGENETV2, ("imagenetv2-matched-frequency-format-val",)), NAMES)),
    "imagenet_sketch": Source("imagenet-sketch", (Archive(SKETCH, ("sketch",), (("sketch", "images"),)), NAMES)),
    "imagenet_a": Source("imagenet-adversarial", (Archive(IMAGENET_A, ("imagenet-a",)), NAMES)),
    "imagenet_r": Source("imagenet-rendition", (Archive(IMAGENET_R, ("imagenet-r",)), NAMES)),
}
