"""Feature bundles: written, read, refused; caches that Tip-Adapter's code wrote."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from helpers import SHARED
from PIL import Image
from torch.nn import functional as F

from ccli.errors import CcliError
from ccli.features.bundles import Bundle, bundle_from_images, read_bundle, read_tip_adapter_cache, write_bundle
from ccli.features.encoder import FeatureEncoder
from ccli.features.task import Split

REAL = SHARED / "features"


@pytest.fixture
def arrays():
    """A good bundle of 3 classes, 5 training, 2 validation and 4 test images of width 6, and 2 concepts."""
    rng = np.random.default_rng(0)
    rows = {"text": 3, "train": 5, "val": 2, "test": 4, "concept": 2}
    features = {f"{name}_features": rng.normal(size=(n, 6)).astype(np.float16) for name, n in rows.items()}
    return features | {
        "classnames": np.array(["cat", "dog", "crème brûlée"]), "text_norms": np.array([7.0, 8.0, 9.0], np.float32),
        "logit_scale": np.float32(50), "concepts": np.array(["furry", "sweet"]),
        "train_labels": np.array([0, 1, 2, 0, 1]), "val_labels": np.array([2, 1], np.int8),
        "test_labels": np.array([0, 1, 2, 2], np.uint8),
    }  # fmt: skip


def save(path, arrays):
    np.savez(path, **arrays)
    return path


def refused(path, *parts, read=read_bundle):
    with pytest.raises(CcliError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    for part in (path, *parts):
        assert str(part) in message
    return message


def rows(array):
    """Unit rows, in float64."""
    array = np.asarray(array, np.float64)
    return torch.from_numpy(array / np.linalg.norm(array, axis=1, keepdims=True)).float()


def test_reading_by_hand(arrays, tmp_path):
    bundle = read_bundle(save(tmp_path / "b.npz", arrays))
    assert bundle.classnames == ("cat", "dog", "crème brûlée") and bundle.concepts == ("furry", "sweet")
    assert bundle.logit_scale == 50 and bundle.text_norms.tolist() == [7, 8, 9]
    torch.testing.assert_close(bundle.text_features, rows(arrays["text_features"]))
    torch.testing.assert_close(bundle.concept_features, rows(arrays["concept_features"]))
    for name in ("train", "val", "test"):
        split = getattr(bundle, name)
        torch.testing.assert_close(split.features, rows(arrays[f"{name}_features"]))
        assert split.labels.dtype == torch.int64 and split.labels.tolist() == arrays[f"{name}_labels"].tolist()


def test_what_may_be_left_out(arrays, tmp_path):
    for name in ("val_features", "val_labels", "concepts", "concept_features", "logit_scale", "text_norms"):
        del arrays[name]
    bundle = read_bundle(save(tmp_path / "b.npz", arrays))
    assert bundle.val is None and bundle.concepts == () and bundle.concept_features is None
    assert bundle.logit_scale == 100 and bundle.text_norms.tolist() == [1, 1, 1]
    del arrays["text_features"]
    bundle = read_bundle(save(tmp_path / "b.npz", arrays))
    assert bundle.text_features is None and bundle.text_norms is None


@pytest.mark.parametrize("small", [False, True])
def test_write_and_read(arrays, tmp_path, small):
    bundle = read_bundle(save(tmp_path / "b.npz", arrays))
    if small:
        bundle = Bundle(bundle.classnames, None, None, 20.0, bundle.train, None, bundle.test)
    again = read_bundle(write_bundle(tmp_path / "c.npz", bundle))
    for name, value in vars(bundle).items():
        other = getattr(again, name)
        if isinstance(value, Split):
            torch.testing.assert_close(other.features, value.features, rtol=1e-3, atol=1e-5)
            assert torch.equal(other.labels, value.labels)
        elif isinstance(value, torch.Tensor):
            torch.testing.assert_close(other, value, rtol=1e-3, atol=1e-5)
        else:
            assert other == value
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.npz", "c.npz"]
    with pytest.raises(CcliError, match=r"cannot write .*gone.*c\.npz"):
        write_bundle(tmp_path / "gone" / "c.npz", bundle)


COUNTS = [("pets24", 2210, 2383), ("caltech55", 1267, 1333), ("imagenet300", 706, 899)]


@pytest.mark.parametrize(("name", "correct", "total"), COUNTS)
def test_zero_shot_on_real_features(name, correct, total):
    if not (REAL / f"{name}.npz").exists():
        pytest.skip(f"{REAL / name}.npz is not on this machine")
    bundle = read_bundle(REAL / f"{name}.npz")
    predicted = (bundle.test.features @ bundle.text_features.T).argmax(1)
    assert (int((predicted == bundle.test.labels).sum()), len(bundle.test)) == (correct, total)


@pytest.mark.parametrize("name", ["classnames", "train_features", "train_labels", "test_features", "test_labels"])
def test_a_missing_array_is_named_with_the_nearest(arrays, tmp_path, name):
    arrays[name[:-1]] = arrays.pop(name)
    refused(save(tmp_path / "b.npz", arrays), f"lacks the array {name!r}", f"Did you mean {name[:-1]!r}?")


SPOILT = {  # array -> what is put in its place, and what the message must say
    "too wide": ("test_features", np.ones((4, 7), np.float16), "(4, 7)"),
    "flat": ("train_features", np.ones(5, np.float16), "(5,)"),
    "whole numbers for features": ("val_features", np.ones((2, 6), int), "int64"),
    "not a number": ("val_features", np.full((2, 6), np.nan, np.float16), "not finite"),
    "infinite": ("train_features", np.full((5, 6), np.inf, np.float16), "not finite"),
    "zero": ("concept_features", np.eye(2, 6, k=-1).astype(np.float16), "zeros"),
    "class names too few": ("classnames", np.array(["cat", "dog"]), "text_features has 3 rows for 2"),
    "class names of bytes": ("classnames", np.array([b"cat", b"dog", b"cow"]), "|S3"),
    "one class name": ("classnames", np.array("cat"), "()"),
    "text rows": ("text_features", np.ones((2, 6), np.float16), "2 rows for 3 classnames"),
    "negative label": ("train_labels", np.array([0, 1, 2, -1, 0]), "-1, outside 0..2"),
    "label too large": ("test_labels", np.array([0, 1, 3, 1]), "3, outside 0..2"),
    "labels of floats": ("train_labels", np.array([0.0, 1, 2, 0, 1]), "float64"),
    "labels of bools": ("val_labels", np.array([True, False]), "bool"),
    "labels too few": ("test_labels", np.array([0, 1]), "(2,), not 4 whole numbers"),
    "norms too many": ("text_norms", np.ones(4, np.float32), "3 positive numbers"),
    "norms in a column": ("text_norms", np.ones((3, 1), np.float32), "3 positive numbers"),
    "norms of zero": ("text_norms", np.zeros(3, np.float32), "3 positive numbers"),
    "norms in words": ("text_norms", np.array(["1", "2", "3"]), "3 positive numbers"),
    "scale of zero": ("logit_scale", np.float32(0), "is 0;"),
    "scale below zero": ("logit_scale", np.float32(-4.6), "-4.6"),
    "scale not a number": ("logit_scale", np.float32("nan"), "nan"),
    "scales": ("logit_scale", np.ones(3, np.float32), "not one number"),
    "scale in words": ("logit_scale", np.array("high"), "not one number"),
    "concepts too few": ("concepts", np.array(["furry"]), "one row per name"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPOILT)
def test_spoilt_arrays_are_named(arrays, tmp_path, kind):
    name, value, reason = SPOILT[kind]
    refused(save(tmp_path / "b.npz", arrays | {name: value}), name, reason)


@pytest.mark.parametrize(("one", "other"), [("concept_features", "concepts"), ("val_labels", "val_features")])
def test_arrays_that_belong_together(arrays, tmp_path, one, other):
    for gone in (one, other):
        kept = {name: array for name, array in arrays.items() if name != gone}
        refused(save(tmp_path / "b.npz", kept), one, other)


class Hostile:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_files_that_are_no_bundles(arrays, tmp_path):
    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    refused(tmp_path / "missing.npz", "no bundle at")
    refused(tmp_path, "no bundle at")
    refused(write("empty.npz", b""), "not readable")
    refused(write("text.npz", b"classnames: cat, dog\n" * 9), "not readable")
    refused(write("pickle.npz", pickle.dumps(Hostile(tmp_path / "ran"))), "not readable")
    assert not (tmp_path / "ran").exists()
    np.save(tmp_path / "array.npy", np.ones(3))
    refused(tmp_path / "array.npy", "not readable")
    zipfile.ZipFile(tmp_path / "nothing.npz", "w").close()
    refused(tmp_path / "nothing.npz", "it is empty")
    for name, write_npz in {"plain.npz": np.savez, "compressed.npz": np.savez_compressed}.items():
        write_npz(tmp_path / name, **arrays)
        content = bytearray((tmp_path / name).read_bytes())
        refused(write(name, content[:-300]), "not readable")
        start = content.index(b"train_features.npy") + 60
        content[start : start + 40] = bytes(40)
        refused(write(name, content), "array 'train_features'", "not readable")


@pytest.mark.parametrize("name", ["classnames", "train_features"])
def test_pickled_objects_inside_never_run(arrays, tmp_path, name):
    arrays[name] = np.array([Hostile(tmp_path / "ran")] * 3, dtype=object)
    refused(save(tmp_path / "b.npz", arrays), repr(name), "without pickles")
    assert not (tmp_path / "ran").exists()


def test_a_bundle_from_images(tiny_clip, tiny_clip_folder, image_folder, tmp_path):
    import open_clip

    preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip_folder}")[2]
    paths = sorted(image_folder.iterdir())
    store = FeatureEncoder(tiny_clip, tmp_path / "store", image_folder)
    prompts = [["a photo of a cat.", "a photo of a dog."], ["a cat", "a dog"]]
    images = {"train": (paths[:4], [0, 1, 1, 0]), "test": (paths[4:], [1, 0])}
    bundle = bundle_from_images(store, ["cat", "dog"], prompts, images, ["furry", "round"])
    for name, (some, labels) in images.items():
        pixels = torch.stack([preprocess(Image.open(path).convert("RGB")) for path in some])
        expected = F.normalize(tiny_clip.encode_image(pixels), dim=-1)
        torch.testing.assert_close(getattr(bundle, name).features, expected, rtol=1e-3, atol=1e-4)
        assert getattr(bundle, name).labels.tolist() == labels
    cat = F.normalize(tiny_clip.encode_text(["a photo of a cat.", "a cat"]), dim=-1).mean(0)
    torch.testing.assert_close(bundle.text_features[0], cat / cat.norm(), rtol=1e-3, atol=1e-4)
    furry = F.normalize(tiny_clip.encode_text(["The photo is furry."]), dim=-1)[0]
    torch.testing.assert_close(bundle.concept_features[0], furry, rtol=1e-3, atol=1e-4)
    assert bundle.val is None and bundle.concepts == ("furry", "round") and bundle.classnames == ("cat", "dog")
    assert bundle.logit_scale == tiny_clip.facts.logit_scale
    assert read_bundle(write_bundle(tmp_path / "b.npz", bundle)).text_norms.tolist() == bundle.text_norms.tolist()


@pytest.fixture
def cache(tmp_path):
    """What Tip-Adapter's build_cache_model and pre_load_features leave, for 3 classes at 2 shots."""
    torch.manual_seed(0)
    tensors = {
        "keys_2shots": F.normalize(torch.randn(6, 8), dim=-1).T.half(),
        "values_2shots": F.one_hot(torch.tensor([2, 0, 1, 1, 0, 2])).half(),
        "test_f": F.normalize(torch.randn(5, 8), dim=-1).half(), "test_l": torch.tensor([0, 2, 2, 1, 0]),
    }  # fmt: skip
    for name, tensor in tensors.items():
        torch.save(tensor, tmp_path / f"{name}.pt")
    return tmp_path, tensors


def test_tip_adapters_cache(cache):
    folder, tensors = cache
    bundle = read_tip_adapter_cache(folder, 2)
    torch.testing.assert_close(bundle.train.features, rows(tensors["keys_2shots"].T))
    torch.testing.assert_close(bundle.test.features, rows(tensors["test_f"]))
    assert bundle.train.labels.tolist() == [2, 0, 1, 1, 0, 2] and bundle.test.labels.tolist() == [0, 2, 2, 1, 0]
    assert bundle.classnames == ("class 0", "class 1", "class 2")
    assert bundle.val is None and bundle.text_features is None
    torch.save(tensors["test_f"][:3], folder / "val_f.pt")
    torch.save(torch.tensor([1, 1, 0]), folder / "val_l.pt")
    bundle = read_tip_adapter_cache(folder, 2, ["a", "b", "c"])
    assert bundle.classnames == ("a", "b", "c") and bundle.val.labels.tolist() == [1, 1, 0]
    torch.testing.assert_close(bundle.val.features, rows(tensors["test_f"][:3]))


def test_tip_adapters_cache_refused(cache):
    folder, tensors = cache

    def refuse(name, value, *parts):
        torch.save(value, folder / f"{name}.pt")
        refused(folder, *parts, read=lambda path: read_tip_adapter_cache(path, 2))
        torch.save(tensors[name], folder / f"{name}.pt")

    refuse("keys_2shots", tensors["keys_2shots"].T, "(6, 8)", "(6, 3)")
    refuse("test_f", torch.randn(5, 7), "test_features", "(5, 7)")
    refuse("test_l", torch.tensor([0, 1, 2, 3, 0]), "test_labels", "3, outside 0..2")
    refuse("test_f", torch.full((5, 8), torch.nan), "test_features", "not finite")
    refuse("test_l", [0, 2, 2, 1, 0], "test_l.pt", "list")
    refuse("test_l", Hostile(folder / "ran"), "test_l.pt", "not read")
    assert not (folder / "ran").exists()
    with pytest.raises(CcliError, match=r"keys_4shots\.pt is not there"):
        read_tip_adapter_cache(folder, 4)
    with pytest.raises(CcliError, match="2 class names for 3 classes"):
        read_tip_adapter_cache(folder, 2, ["a", "b"])
    (folder / "val_f.pt").write_bytes(b"")
    refused(folder / "val_f.pt", read=lambda _: read_tip_adapter_cache(folder, 2))
