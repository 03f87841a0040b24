"""Features of new pictures, against those of the feature store and by hand."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from ccli.errors import CcliError
from ccli.features.crops import normalised, random_crop
from ccli.features.decoding import digest, open_image
from ccli.features.encoder import FeatureEncoder, ImageSpec, encoder_of


def spec(clip, **changes):
    given = {"crops": 0, "crop": (0.5, 1.0), "decoding": "photo", "precision": "fp32"} | changes
    return ImageSpec(clip.name, clip.facts.fingerprint, **given)


def stream(clip, paths, **changes):
    asked = spec(clip, **changes)
    return encoder_of(asked).stream(paths, asked.crops, asked.crop)


def features(clip, paths, **changes):
    return [feature for _, feature in stream(clip, paths, **changes)]


@pytest.mark.parametrize("decoding", ["photo", "pillow"])
def test_centre_crops_are_encoded_as_the_store_does(tiny_clip, image_folder, tmp_path, decoding):
    paths = sorted(image_folder.iterdir())
    kept = FeatureEncoder(tiny_clip, tmp_path, image_folder, decoding=decoding).images(paths)
    found = torch.stack(features(tiny_clip, paths, decoding=decoding))
    assert torch.allclose(found, F.normalize(kept, dim=1), atol=1e-3)  # the store keeps half floats
    assert torch.allclose(found.norm(dim=1), torch.ones(len(paths)), atol=1e-6)


def test_crops_of_photos_are_those_of_the_store(tiny_clip, image_folder, tmp_path):
    """Whatever they are called, and wherever they lie; those of benchmarks depend on the path."""
    paths, moved = sorted(image_folder.iterdir()), tmp_path / "elsewhere"
    moved.mkdir()
    for k, path in enumerate(paths):
        (moved / f"{k}{path.suffix}").write_bytes(path.read_bytes())
    found = torch.stack(features(tiny_clip, paths, crops=4))

    def stored(folder, decoding):
        root = folder if decoding == "pillow" else None
        store = FeatureEncoder(tiny_clip, tmp_path / "store", root, decoding=decoding)
        views = F.normalize(store.views(sorted(folder.iterdir()), 4, (0.5, 1.0)), dim=-1)
        return F.normalize(views.mean(0), dim=-1)

    order = [sorted(moved.iterdir()).index(moved / f"{k}{path.suffix}") for k, path in enumerate(paths)]
    assert torch.allclose(stored(image_folder, "photo"), found, atol=1e-4)
    assert torch.equal(stored(image_folder, "photo"), stored(moved, "photo")[order])
    assert not torch.allclose(stored(image_folder, "pillow"), stored(moved, "pillow")[order], atol=1e-4)


def test_crops_by_hand(tiny_clip, image_folder):
    path, facts = image_folder / "wide.png", tiny_clip.facts
    rngs = [random.Random(f"{digest(path)}|{v}") for v in range(3)]
    shape, image = (facts.image_size, facts.interpolation), open_image(path, "photo")
    crops = [random_crop(image, *shape, (0.5, 1.0), rng) for rng in rngs]
    batch = normalised(crops, facts.mean, facts.std, "cpu")
    expected = F.normalize(F.normalize(tiny_clip.encode_image(batch), dim=1).mean(0), dim=0)
    (found,) = features(tiny_clip, [path], crops=3)
    assert torch.allclose(found, expected, atol=1e-3)  # rows of crops are rounded to half floats


def test_a_feature_depends_on_the_picture_alone(tiny_clip, many_images, tmp_path):
    """Not on its name, on what is encoded with it, or on where in the row it is: to the bit."""
    whole = features(tiny_clip, many_images[:70], crops=2)
    copy = tmp_path / "another name.png"
    copy.write_bytes(many_images[69].read_bytes())
    assert torch.equal(features(tiny_clip, [copy], crops=2)[0], whole[69])
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    mixed = features(tiny_clip, [many_images[0], bad, many_images[1]], crops=2)
    assert torch.equal(mixed[0], whole[0]) and torch.equal(mixed[2], whole[1])
    assert isinstance(mixed[1], CcliError) and "bad.png" in str(mixed[1])


def test_answers_come_in_order_with_every_path_once(tiny_clip, many_images, tmp_path):
    paths = [path if k % 7 else tmp_path / f"none{k}.png" for k, path in enumerate(many_images)]
    found = list(stream(tiny_clip, iter(paths)))
    assert [path for path, _ in found] == paths
    assert [isinstance(x, CcliError) for _, x in found] == [k % 7 == 0 for k in range(len(paths))]
    assert list(stream(tiny_clip, [])) == []
    assert [type(x) for _, x in stream(tiny_clip, [tmp_path, "x.png"])] == [CcliError] * 2


def test_pictures_of_every_size_and_kind(tiny_clip, tmp_path, monkeypatch):
    for name, size in (("dot.png", (1, 1)), ("line.png", (20_000, 1)), ("tall.gif", (3, 400))):
        Image.new("RGB", size, (200, 30, 60)).save(tmp_path / name)
    Image.new("CMYK", (50, 40), (9, 200, 30, 0)).save(tmp_path / "print.jpg")
    for crops in (0, 2):
        found = features(tiny_clip, sorted(tmp_path.iterdir()), crops=crops)
        assert all(isinstance(x, torch.Tensor) and torch.isfinite(x).all() for x in found)
    monkeypatch.setattr("ccli.features.decoding.MOST_PIXELS", 20_000)
    Image.new("1", (200, 101)).save(tmp_path / "large.png")
    (error,) = features(tiny_clip, [tmp_path / "large.png"])
    assert isinstance(error, CcliError) and "large.png has 20,200 pixels" in str(error)


def test_a_model_of_other_weights_is_refused(tiny_clip):
    wrong = ImageSpec(tiny_clip.name, "0" * 64, "fp32", 0, (0.5, 1.0), "photo")
    with pytest.raises(CcliError, match="other weights"):
        encoder_of(wrong)


def test_half_precision_is_near(tiny_clip, many_images):
    a, b = (torch.stack(features(tiny_clip, many_images[:8], precision=p)) for p in ("fp32", "bf16"))
    assert not torch.equal(a, b) and float((a * b).sum(1).min()) > 0.99
    assert np.isfinite(b.numpy()).all()
