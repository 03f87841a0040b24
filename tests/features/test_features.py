"""Image and text features: equal to open_clip's own, encoded once, whatever was asked for together."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ccli.clip.model import FrozenClip
from ccli.errors import CcliError
from ccli.features.class_texts import class_text_features
from ccli.features.encoder import FeatureEncoder


@pytest.fixture
def paths(image_folder):
    return sorted(image_folder.iterdir())


@pytest.fixture
def store(tiny_clip, tmp_path, image_folder):
    return FeatureEncoder(tiny_clip, tmp_path / "store", image_folder)


def folders(store):
    return {p.name for p in store.folder.iterdir()}


def test_images_equal_open_clips_preprocessing_and_model(store, paths, tiny_clip_folder):
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip_folder}")
    model.eval()
    features = store.images(paths)
    assert features.shape == (6, 128) and features.dtype == torch.float32
    for path, row in zip(paths, features):
        # RGB first, as CoOp's and Dassl's loaders open images
        with torch.no_grad():
            expected = model.encode_image(preprocess(Image.open(path).convert("RGB"))[None])[0]
        torch.testing.assert_close(row, expected, rtol=1e-3, atol=2e-5, msg=lambda m, p=path: f"{p.name}: {m}")


def test_texts_equal_open_clips(store, tiny_clip_folder):
    import open_clip

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip_folder}")
    texts = ["a photo of a cat.", "Ein Haus", "", "x " * 100]
    with torch.no_grad():
        expected = model.eval().encode_text(open_clip.get_tokenizer(f"local-dir:{tiny_clip_folder}")(texts))
    torch.testing.assert_close(store.texts(texts), expected, rtol=1e-3, atol=2e-5)
    torch.testing.assert_close(store.clip.encode_text(texts), expected, rtol=1e-5, atol=1e-5)


def test_an_image_is_encoded_once(tiny_clip, tmp_path, image_folder, paths, encoded):
    def images(some):
        return FeatureEncoder(tiny_clip, tmp_path / "store", image_folder).images(some)

    first = images(paths[:5])
    assert encoded == [5]
    assert torch.equal(images(paths[:5]), first) and encoded == [5]
    assert torch.equal(images([paths[3], paths[0], paths[3]]), first[[3, 0, 3]]) and encoded == [5]
    more = images(paths)
    assert encoded == [5, 1] and torch.equal(more[:5], first)

    os.utime(paths[2], ns=(1, 1))
    assert torch.equal(images(paths), more) and encoded == [5, 1, 1]
    Image.new("RGB", (80, 80), "red").save(paths[4])
    changed = images(paths)
    assert encoded == [5, 1, 1, 1]
    assert torch.equal(changed[[0, 1, 2, 3, 5]], more[[0, 1, 2, 3, 5]]) and not torch.equal(changed[4], more[4])


def test_an_image_asked_for_twice_is_encoded_once(store, paths, many_images, encoded):
    rows = store.images([paths[0], *many_images[:70], paths[0]])
    assert sum(encoded) == 71 and torch.equal(rows[0], rows[-1])


def test_a_data_set_that_moved_is_not_encoded_again(tiny_clip, tmp_path, image_folder, paths, encoded):
    first = FeatureEncoder(tiny_clip, tmp_path / "store", image_folder).images(paths)
    moved = shutil.copytree(image_folder, tmp_path / "elsewhere" / "data")  # keeps the times of change
    linked = tmp_path / "link"
    linked.symlink_to(moved)
    for root in (moved, linked):
        rows = FeatureEncoder(tiny_clip, tmp_path / "store", root).images([root / p.name for p in paths])
        assert torch.equal(rows, first) and encoded == [6]


def test_a_text_is_encoded_once(tiny_clip, tmp_path, monkeypatch):
    calls, encode = [], FrozenClip.encode_text
    monkeypatch.setattr(FrozenClip, "encode_text", lambda self, t: (calls.append(set(t) - {""}), encode(self, t))[1])

    def texts(some):
        return FeatureEncoder(tiny_clip, tmp_path / "store", tmp_path).texts(some)

    first = texts(["a cat", "a dog"])
    assert torch.equal(texts(["a dog", "a cat"]), first[[1, 0]]) and calls == [{"a cat", "a dog"}]
    assert torch.equal(texts(["a dog", "a cow", "a cow"])[0], first[1]) and calls[1:] == [{"a cow"}]


def test_weights_precision_and_view_have_folders_of_their_own(
    store, paths, tmp_path, image_folder, tiny_clip_folder, save_tiny_clip
):  # fmt: skip
    plain = store.images(paths)
    assert len(folders(store)) == 1
    bf16 = FeatureEncoder(FrozenClip(str(tiny_clip_folder), precision="bf16"), store.folder, image_folder).images(paths)
    assert len(folders(store)) == 2
    assert not torch.equal(bf16, plain)
    assert float(torch.cosine_similarity(bf16, plain).min()) > 0.99
    other = FeatureEncoder(FrozenClip(str(save_tiny_clip(tmp_path / "other", seed=1))), store.folder, image_folder)
    assert float(torch.cosine_similarity(other.images(paths), plain).max()) < 0.9
    assert len(folders(store)) == 3
    for k, crop in enumerate([(0.5, 1), (0.08, 1)]):
        store.views(paths, 1, crop)
        assert len(folders(store)) == 4 + k
    store.texts(["a cat"])
    assert len(folders(store)) == 6


def test_the_bits_do_not_depend_on_the_request(tiny_clip, tmp_path, many_images):
    def rows(name, some):
        return FeatureEncoder(tiny_clip, tmp_path / name, many_images[0].parent).images(some)

    together = rows("all", many_images[:70])
    assert len(torch.unique(together, dim=0)) == 70
    assert torch.equal(together.half().float(), together)
    assert torch.equal(rows("alone", many_images[66:67])[0], together[66])
    assert torch.equal(rows("three", many_images[68:65:-1]), together[[68, 67, 66]])


def test_the_model_is_always_given_batches_of_one_size(store, many_images, monkeypatch):
    """On some machines a row's bits depend on the size of its batch."""
    sizes = []
    for name in ("encode_image", "encode_text"):
        encode = getattr(FrozenClip, name)
        monkeypatch.setattr(FrozenClip, name, lambda self, x, f=encode: (sizes.append(len(x)), f(self, x))[1])
    store.images(many_images[:70])
    store.views(many_images[:1], 2, (0.5, 1))
    store.texts(["a cat"])
    store.texts([f"{k} cats" for k in range(70)])
    assert sizes == [64] * 6


def test_the_bits_do_not_depend_on_the_number_of_threads(tiny_clip, tmp_path, many_images):
    rows, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            store = FeatureEncoder(tiny_clip, tmp_path / str(threads), many_images[0].parent)
            rows.append(store.images(many_images[:70]))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*rows)


def test_views_depend_on_the_image_and_the_view_alone(tiny_clip, tmp_path, image_folder, paths):
    def views(name, some, count):
        return FeatureEncoder(tiny_clip, tmp_path / name, image_folder).views(some, count, (0.5, 1))

    first = views("a", paths, 3)
    assert first.shape == (3, 6, 128)
    assert len(torch.unique(first.flatten(0, 1), dim=0)) == 18
    assert torch.equal(views("b", paths[4:1:-1], 4)[:3], first[:, [4, 3, 2]])
    assert torch.equal(views("a", paths, 2), first[:2])


def seen_crops(tiny_clip, tmp_path, monkeypatch, size, images, count, crop):
    """(left, top, width, height, flipped) of every view of pictures whose red is x and whose green is y."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    for k in range(images):
        Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8)).save(tmp_path / f"{k}.png")
    batches = []
    monkeypatch.setattr(
        "ccli.features.encoder.in_threads", lambda work, blocks, size: ((b, work(b)) for b in blocks)
    )  # in order
    monkeypatch.setattr(FrozenClip, "encode_image", lambda self, b: (batches.append(b), torch.ones(len(b), 4))[1])
    FeatureEncoder(tiny_clip, tmp_path / "s", tmp_path).views(
        [tmp_path / f"{k}.png" for k in range(images)], count, crop
    )
    views = torch.cat(batches)[: images * count].unflatten(0, (images, count)).transpose(0, 1).flatten(0, 1)
    pixels = views * (0.25 * 255) + 0.5 * 255  # tiny_clip's mean and std
    across, down = pixels[:, 0].mean(1), pixels[:, 1].mean(2)  # [views, 64] each, linear
    slope = (across[:, 55] - across[:, 8]) / 47
    width, height = 64 * slope.abs(), 64 * (down[:, 55] - down[:, 8]) / 47
    return across.mean(1) + 0.5 - width / 2, down.mean(1) + 0.5 - height / 2, width, height, slope < 0


def test_crops_have_the_area_and_aspect_asked_for_and_half_are_flipped(tiny_clip, tmp_path, monkeypatch):
    left, top, width, height, flipped = seen_crops(tiny_clip, tmp_path, monkeypatch, (250, 200), 10, 20, (0.5, 0.8))
    share, aspect = width * height / (250 * 200), width / height
    assert 0.49 < share.min() < 0.55 and 0.75 < share.max() < 0.81
    assert 0.74 < aspect.min() < 0.85 and 1.2 < aspect.max() < 1.35
    assert left.min() > -1 and (left + width).max() < 251 and top.min() > -1 and (top + height).max() < 201
    assert left.std() > 10 and top.std() > 8
    assert 72 < int(flipped.sum()) < 128  # 200 views: four standard deviations
    for v in range(0, 200, 10):  # a view is another crop in each image
        assert len(set(left[v : v + 10].round().tolist())) > 5


def test_a_crop_that_cannot_fit_is_the_central_one_of_the_nearest_aspect(tiny_clip, tmp_path, monkeypatch):
    left, _, width, height, _ = seen_crops(tiny_clip, tmp_path, monkeypatch, (250, 24), 2, 2, (0.9, 1))
    assert (width - 32).abs().max() < 1.5 and (height - 24).abs().max() < 1.5  # 24 * 4/3 = 32
    assert (left - 109).abs().max() < 1.5  # (250 - 32) / 2


@pytest.mark.parametrize("content", ["garbage", "truncated", "missing", "folder"])
def test_an_unreadable_image_is_named(store, paths, content, image_folder):
    bad = image_folder / "bad.jpg"
    if content == "garbage":
        bad.write_bytes(b"not an image" * 50)
    elif content == "truncated":
        whole = (image_folder / "tall.jpg").read_bytes()
        bad.write_bytes(whole[: len(whole) // 2])
    elif content == "folder":
        bad.mkdir()
    for read in (store.images, lambda some: store.views(some, 2, (0.5, 1))):
        with pytest.raises(CcliError, match=r"bad\.jpg") as caught:
            read([*paths, bad])
        assert "\n" not in str(caught.value) and str(bad) in str(caught.value)


def test_no_images_no_rows(store):
    assert store.images([]).shape[0] == 0 and store.views([], 2, (0.5, 1)).shape[:2] == (2, 0)


def test_class_text_features_by_hand(store):
    prompts = [["a photo of a cat.", "a photo of a dog."], ["a sketch of a cat.", "a sketch of a dog."]]
    text, norms = class_text_features(store, prompts)
    for c in range(2):
        a, b = store.texts([prompts[0][c], prompts[1][c]])
        mean = a / a.norm() + b / b.norm()
        torch.testing.assert_close(text[c], mean / mean.norm())
        torch.testing.assert_close(norms[c], (a.norm() + b.norm()) / 2)
