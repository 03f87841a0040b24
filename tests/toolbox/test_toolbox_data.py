"""Data sets, few-shot draws, samplers, loaders and transforms."""

import random
from collections import Counter, namedtuple

import numpy as np
import pytest
import torch
from dassl.data import DataManager
from dassl.data.data_manager import DatasetWrapper, build_data_loader
from dassl.data.datasets import DatasetBase, Datum, build_dataset
from dassl.data.samplers import build_sampler
from dassl.data.transforms import AVAI_CHOICES, INTERPOLATION_MODES, build_transform
from dassl.utils import set_random_seed
from PIL import Image

Item = namedtuple("Item", "label domain")


@pytest.fixture
def images(tmp_path):
    """Datums with labels 2, 0, 2, 1, ...: 5 of label 2, 3 of label 0, 2 of label 1."""
    names = {0: "ant", 1: "bee", 2: "cow"}
    data = []
    for i, label in enumerate([2, 0, 2, 1, 0, 2, 2, 1, 0, 2]):
        (tmp_path / f"{i}.png").touch()
        data.append(Datum(str(tmp_path / f"{i}.png"), label, i % 3, names[label]))
    return data


def test_datum(tmp_path):
    (tmp_path / "a.png").touch()
    datum = Datum(impath=str(tmp_path / "a.png"), label=1, domain=2, classname="x")
    assert (datum.impath, datum.label, datum.domain, datum.classname) == (str(tmp_path / "a.png"), 1, 2, "x")
    for name in ("impath", "label", "domain", "classname"):
        with pytest.raises(AttributeError):
            setattr(datum, name, 0)
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        Datum(str(tmp_path / "none.png"))


def test_classes_are_read_off_the_training_data(images):
    dataset = DatasetBase(train_x=images, test=images[:1])
    assert dataset.num_classes == 3
    assert dataset.lab2cname == {0: "ant", 1: "bee", 2: "cow"}
    assert dataset.classnames == ["ant", "bee", "cow"]
    assert (dataset.val, dataset.train_u, dataset.test) == (None, None, images[:1])
    only_two = DatasetBase(train_x=[d for d in images if d.label == 2])
    assert (only_two.num_classes, only_two.classnames) == (3, ["cow"])


def test_bad_data_sets_are_refused(images):
    with pytest.raises(ValueError, match="train_x is empty"):
        DatasetBase(train_x=[])
    with pytest.raises(ValueError, match="Label 2 has two class names"):
        DatasetBase(train_x=[*images, Datum(images[0].impath, 2, 0, "calf")])
    dataset = DatasetBase(train_x=images)
    dataset.domains = ["real", "sketch"]
    dataset.check_input_domains(["real"], ["sketch"])
    with pytest.raises(ValueError, match="'clipart'"):
        dataset.check_input_domains(["real"], ["clipart"])


def by_label(images, label):
    return [d for d in images if d.label == label]


def test_fewshot_draw(images):
    dataset = DatasetBase(train_x=images)
    random.seed(7)
    train, val = dataset.generate_fewshot_dataset(images, images[::-1], num_shots=2)

    random.seed(7)
    # label 2 appears first, then 0, then 1; in the reversed list 2, 0, 1 as well, each class reversed
    wanted_train = [d for label in (2, 0, 1) for d in random.sample(by_label(images, label), 2)]
    wanted_val = [d for label in (2, 0, 1) for d in random.sample(by_label(images[::-1], label), 2)]
    assert train == wanted_train and val == wanted_val


def test_fewshot_with_too_few_images(images):
    dataset = DatasetBase(train_x=images)
    random.seed(1)
    drawn = dataset.generate_fewshot_dataset(images, num_shots=3)
    assert Counter(d.label for d in drawn) == {2: 3, 0: 3, 1: 2}
    assert drawn[-2:] == by_label(images, 1)  # all there are, in order

    random.seed(1)
    repeated = dataset.generate_fewshot_dataset(images, num_shots=3, repeat=True)
    assert Counter(d.label for d in repeated) == {2: 3, 0: 3, 1: 3}


def test_fewshot_below_one_is_everything(images):
    dataset = DatasetBase(train_x=images)
    assert dataset.generate_fewshot_dataset(images, num_shots=-1) is images
    first, second = dataset.generate_fewshot_dataset(images, images[:2], num_shots=0)
    assert first is images and second == images[:2]


def test_split_by_label_and_domain(images):
    assert list(DatasetBase.split_dataset_by_label(images)) == [2, 0, 1]
    domains = DatasetBase.split_dataset_by_domain(images)
    assert {k: len(v) for k, v in domains.items()} == {0: 4, 1: 3, 2: 3}


def test_build_dataset_names_the_nearest(cfg):
    cfg.DATASET.NAME = "ToolboxColors"
    with pytest.raises(ValueError, match="Did you mean 'ToolboxColours'"):
        build_dataset(cfg)


# samplers


def batches(sampler, size):
    order = list(sampler)
    assert len(order) == len(sampler)
    return [order[i : i + size] for i in range(0, len(order), size)]


def test_plain_samplers():
    items = [Item(0, 0)] * 10
    assert list(build_sampler("SequentialSampler", data_source=items)) == list(range(10))
    torch.manual_seed(0)
    shuffled = list(build_sampler("RandomSampler", data_source=items))
    assert sorted(shuffled) == list(range(10)) != shuffled
    with pytest.raises(ValueError, match="Did you mean 'RandomSampler'"):
        build_sampler("RandomSamplr", data_source=items)


def test_random_domain_sampler():
    items = [Item(0, d) for d in (0, 1, 2) for _ in range(7)]
    random.seed(0)
    sampler = build_sampler("RandomDomainSampler", data_source=items, batch_size=4, n_domain=2)
    pairs = set()
    for _ in range(5):
        epoch = batches(sampler, 4)
        assert len(epoch) >= 3
        for batch in epoch:
            counts = Counter(items[i].domain for i in batch)
            assert sorted(counts.values()) == [2, 2]
            pairs.add(tuple(sorted(counts)))
    assert pairs == {(0, 1), (0, 2), (1, 2)}
    all_domains = build_sampler("RandomDomainSampler", data_source=items, batch_size=6, n_domain=0)
    epoch = batches(all_domains, 6)
    assert len(epoch) == 3 and len({i for batch in epoch for i in batch}) == 18
    with pytest.raises(ValueError, match="multiple"):
        build_sampler("RandomDomainSampler", data_source=items, batch_size=5, n_domain=2)
    with pytest.raises(ValueError, match="fewer"):
        build_sampler("RandomDomainSampler", data_source=items, batch_size=24, n_domain=0)


def test_seq_domain_sampler():
    items = [Item(0, d) for d in (1, 0, 1, 0, 1, 0, 1, 1)]
    epoch = batches(build_sampler("SeqDomainSampler", data_source=items, batch_size=2), 2)
    assert [[items[i].domain for i in batch] for batch in epoch] == [[0, 1]] * 3
    assert len({i for batch in epoch for i in batch}) == 6


def test_random_class_sampler():
    items = [Item(label, 0) for label, n in enumerate((6, 5, 1, 4)) for _ in range(n)]
    random.seed(0)
    sampler = build_sampler("RandomClassSampler", data_source=items, batch_size=4, n_ins=2)
    for _ in range(5):
        for batch in batches(sampler, 4):
            assert sorted(Counter(items[i].label for i in batch).values()) == [2, 2]
            assert len({items[i].label for i in batch[:2]}) == 1
    with pytest.raises(ValueError, match="N_INS"):
        build_sampler("RandomClassSampler", data_source=items, batch_size=1, n_ins=2)
    with pytest.raises(ValueError, match="needs 5 groups"):
        build_sampler("RandomClassSampler", data_source=items, batch_size=10, n_ins=2)


# loaders


@pytest.mark.parametrize(
    "n,batch_size,train_sizes,test_sizes",
    [(18, 4, [4] * 4, [4] * 4 + [2]), (18, 6, [6] * 3, [6] * 3), (18, 18, [18], [18]), (18, 20, [18], [18])],
)
def test_drop_last(cfg, n, batch_size, train_sizes, test_sizes):
    source = build_dataset(cfg).train_x
    assert len(source) == n
    tfm = build_transform(cfg, is_train=False)
    for is_train, sizes in ((True, train_sizes), (False, test_sizes)):
        loader = build_data_loader(cfg, data_source=source, batch_size=batch_size, tfm=tfm, is_train=is_train)
        assert [len(batch["label"]) for batch in loader] == sizes


def test_data_manager(cfg, capsys):
    cfg.DATASET.SOURCE_DOMAINS = ["a", "b"]
    set_random_seed(0)
    dm = DataManager(cfg)
    assert (dm.num_classes, dm.lab2cname) == (3, {0: "red", 1: "green", 2: "blue"})
    assert dm.num_source_domains == 2
    assert "# train_x  18" in capsys.readouterr().out

    first, second = ([i for batch in dm.train_loader_x for i in batch["index"].tolist()] for _ in range(2))
    assert len(set(first)) == 16 and first != second and first != sorted(first)
    test = list(dm.test_loader)
    assert [i for batch in test for i in batch["index"].tolist()] == list(range(18))
    assert sorted(test[0]) == ["domain", "img", "impath", "index", "label"]
    assert test[0]["img"].shape == (5, 3, 8, 8) and test[0]["img"].dtype == torch.float32
    assert test[0]["impath"][1].endswith("test/0_1.png") and test[0]["domain"].tolist() == [0, 1, 0, 1, 0]
    assert test[-1]["label"].tolist() == [2, 2, 2]
    assert len(dm.val_loader) == 4 and len(dm.train_loader_u) == 4


def test_data_manager_takes_transforms_and_a_wrapper(cfg):
    class Labels(DatasetWrapper):
        def __getitem__(self, idx):
            return {"label": self.data_source[idx].label, "img": self.transform(2)}

    cfg.DATALOADER.TRAIN_U.SAME_AS_X = False
    cfg.DATALOADER.TRAIN_U.BATCH_SIZE = 9
    cfg.DATALOADER.TRAIN_U.SAMPLER = "SequentialSampler"
    dm = DataManager(cfg, custom_tfm_train=lambda x: x + 1, custom_tfm_test=lambda x: x * 5, dataset_wrapper=Labels)
    assert next(iter(dm.train_loader_x))["img"].tolist() == [3] * 4
    assert next(iter(dm.test_loader))["img"].tolist() == [10] * 5
    assert next(iter(dm.train_loader_u))["label"].tolist() == [0] * 6 + [1] * 3


def test_wrapper_views(cfg):
    source = build_dataset(cfg).train_x
    cfg.DATALOADER.K_TRANSFORMS = 2
    cfg.DATALOADER.RETURN_IMG0 = True
    item = DatasetWrapper(cfg, source, transform=(build_transform(cfg), lambda x: x.size), is_train=True)[3]
    assert len(item["img"]) == 2 and item["img"][0].shape == (3, 8, 8)
    assert not torch.equal(*item["img"])
    assert item["img2"] == [(10, 10), (10, 10)]
    assert item["img0"].shape == (3, 8, 8)
    single = DatasetWrapper(cfg, source, transform=build_transform(cfg, is_train=False))[3]
    assert torch.equal(single["img"], single["img0"])  # a square image: both are resized and normalized
    with pytest.raises(ValueError, match="K_TRANSFORMS"):
        DatasetWrapper(cfg, source, transform=None, is_train=True)
    assert DatasetWrapper(cfg, source)[0]["img"].size == (10, 10)


def test_no_images_no_loader(cfg):
    with pytest.raises(ValueError, match="no images"):
        build_data_loader(cfg, data_source=[])


# transforms


@pytest.fixture
def photo():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 3)).astype(np.uint8))


def test_test_transform(cfg, photo):
    cfg.INPUT.SIZE = (6, 8)
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "cutout", "normalize")
    transform = build_transform(cfg, is_train=False)
    # the shorter side to 8: 12x20 becomes 8x13; of that the middle 6 rows and 8 columns, from row 1 and column 2
    resized = photo.resize((13, 8), Image.BILINEAR).crop((2, 1, 10, 7))
    wanted = torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD))
    for _ in range(10):  # nothing random in it
        torch.testing.assert_close(transform(photo), (wanted - mean) / std)


def test_train_transform_resizes_unless_it_crops(cfg, photo):
    cfg.INPUT.TRANSFORMS = ()
    got = build_transform(cfg)(photo)
    wanted = torch.from_numpy(np.array(photo.resize((8, 8), Image.BILINEAR))).permute(2, 0, 1) / 255
    torch.testing.assert_close(got, wanted)
    cfg.INPUT.CROP_PADDING = 0
    cropped = build_transform(cfg, choices=["random_crop"])(photo)
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
    windows = pixels.unfold(1, 8, 1).unfold(2, 8, 1)  # [3, 5, 13, 8, 8]
    assert (windows == (cropped * 255).round()[:, None, None]).all(dim=4).all(dim=3).all(dim=0).sum() == 1


def test_random_flip_and_interpolation(cfg, photo):
    cfg.INPUT.TRANSFORMS = ("random_flip",)
    cfg.INPUT.INTERPOLATION = "bicubic"
    transform = build_transform(cfg)
    plain = torch.from_numpy(np.array(photo.resize((8, 8), Image.BICUBIC))).permute(2, 0, 1) / 255
    torch.manual_seed(0)
    seen = [transform(photo) for _ in range(20)]
    flipped = [torch.allclose(x, plain.flip(2)) for x in seen]
    assert 0 < sum(flipped) < 20
    assert all(torch.allclose(x, plain) for x, f in zip(seen, flipped) if not f)


@pytest.mark.parametrize("name", [name for name in AVAI_CHOICES if name != "center_crop"])
def test_every_transform_changes_the_image(cfg, photo, name):
    cfg.INPUT.CUTOUT_LEN = 4
    cfg.INPUT.GB_K = 3
    cfg.INPUT.CROP_PADDING = 0
    plain = build_transform(cfg, choices=())(photo)
    set_random_seed(0)
    transform = build_transform(cfg, choices=[name])
    seen = [transform(photo) for _ in range(30)]
    assert all(x.shape == (3, 8, 8) and torch.isfinite(x).all() for x in seen)
    assert any(not torch.allclose(x, plain) for x in seen)


def test_cutout_and_instance_norm(cfg):
    white = Image.new("RGB", (8, 8), (255, 255, 255))
    cfg.INPUT.CUTOUT_LEN = 4
    random.seed(0)
    holes = [int((build_transform(cfg, choices=["cutout"])(white) == 0).sum()) // 3 for _ in range(30)]
    assert max(holes) == 16 and 4 <= min(holes) < 16  # a whole square, or what of it is inside

    ramp = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    normed = build_transform(cfg, is_train=False, choices=["instance_norm"])(ramp)
    torch.testing.assert_close(normed.mean(dim=(1, 2)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normed.std(dim=(1, 2)), torch.ones(3))


def test_transform_names(cfg, photo):
    cfg.INPUT.NO_TRANSFORM = True
    assert build_transform(cfg) is None
    cfg.INPUT.NO_TRANSFORM = False
    with pytest.raises(ValueError, match="Did you mean 'random_flip'"):
        build_transform(cfg, choices=["random_flipp"])
    cfg.INPUT.INTERPOLATION = "cubic"
    with pytest.raises(ValueError, match="Did you mean 'bicubic'"):
        build_transform(cfg)
    assert {"random_resized_crop", "random_flip", "normalize", "center_crop", "cutout"} <= set(AVAI_CHOICES)
    assert set(INTERPOLATION_MODES) == {"bilinear", "bicubic", "nearest"}
