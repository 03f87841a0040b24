"""Pictures as people have them: turned, transparent, grey of 16 bits, CMYK, animated, odd in shape, or no pictures."""

import io
import os
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from ccli.errors import CcliError
from ccli.features.crops import centre_crop, random_crop
from ccli.features.decoding import BENCHMARK, MOST_PIXELS, PHOTO, open_image, shown
from ccli.features.encoder import FeatureEncoder

SIZE = 32


@pytest.fixture
def picture() -> Image.Image:
    """48 x 36 smooth noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((48, 36), Image.Resampling.BICUBIC)


def pixels(source, decoding="photo"):
    return np.asarray(open_image(source, decoding)).astype(int)


def centre(source, decoding="pillow"):
    return centre_crop(open_image(source, decoding), SIZE, "bicubic")


def png(width: int, height: int) -> bytes:
    """A picture of 1 bit a pixel, all black, in a file of a few kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_photo_is_the_upright_one(tmp_path, picture, turn):
    inverse = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}[turn]
    exif = Image.Exif()
    exif[0x0112] = inverse
    stored = ImageOps.exif_transpose(_with(picture, exif))  # as a camera that was held so has it
    exif[0x0112] = turn
    stored.save(tmp_path / "turned.png", exif=exif)
    picture.save(tmp_path / "upright.png")
    assert stored.size == ((36, 48) if turn > 4 else (48, 36))
    crops = [centre(tmp_path / f"{name}.png", "photo") for name in ("turned", "upright")]
    assert np.array_equal(*crops)
    as_stored = centre(tmp_path / "turned.png")  # benchmarks are read as CoOp reads them
    assert (turn == 1) == np.array_equal(as_stored, crops[0])
    assert np.array_equal(pixels(tmp_path / "turned.png", "pillow"), np.asarray(stored))


def _with(picture, exif):
    file = io.BytesIO()
    picture.save(file, "png", exif=exif)
    return Image.open(file)


def test_damaged_exif_is_passed_over(tmp_path, picture):
    picture.save(tmp_path / "a.jpg", quality=100, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    picture.save(tmp_path / "b.jpg", quality=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(pixels(tmp_path / "a.jpg"), pixels(tmp_path / "b.jpg"))


def test_transparent_parts_are_white(tmp_path):
    colours = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    Image.fromarray(colours, "RGBA").save(tmp_path / "rgba.png")
    assert pixels(tmp_path / "rgba.png").tolist() == [[[200, 0, 0], [255, 255, 255], [204, 204, 204]]]
    assert pixels(tmp_path / "rgba.png", "pillow").tolist() == [[[200, 0, 0], [200, 0, 0], [0, 0, 0]]]

    Image.fromarray(colours[..., [0, 3]], "LA").save(tmp_path / "la.png")
    assert pixels(tmp_path / "la.png")[..., 1].tolist() == [[200, 255, 204]]

    palette = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8))
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    palette.save(tmp_path / "p.png", transparency=1)
    palette.save(tmp_path / "p.gif", transparency=1)
    for name in ("p.png", "p.gif"):
        assert pixels(tmp_path / name).tolist() == [[[10, 20, 30], [255, 255, 255], [70, 80, 90]]]
    Image.fromarray(colours[..., :3]).save(tmp_path / "rgb.png", transparency=(200, 0, 0))
    assert pixels(tmp_path / "rgb.png").tolist() == [[[255] * 3, [255] * 3, [0] * 3]]


def test_grey_of_16_bits_is_scaled_and_not_clipped(tmp_path):
    values = np.array([[0, 128, 129, 257 * 100, 65535]], dtype=np.uint16)
    expected = [[[v] * 3 for v in (0, 0, 1, 100, 255)]]
    Image.fromarray(values).save(tmp_path / "16.png")
    assert Image.open(tmp_path / "16.png").mode == "I;16"
    assert pixels(tmp_path / "16.png").tolist() == expected
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "32.tif")
    assert Image.open(tmp_path / "32.tif").mode == "I" and pixels(tmp_path / "32.tif").tolist() == expected


@pytest.mark.parametrize("mode", ["L", "1", "CMYK"])
def test_other_modes_are_pillows_rgb(tmp_path, picture, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture.convert(mode).save(path)
    expected = np.asarray(Image.open(path).convert("RGB"))
    for decoding in ("pillow", "photo"):
        assert np.array_equal(pixels(path, decoding), expected)


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_the_first_frame_of_an_animation(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    path = tmp_path / f"moving.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert Image.open(path).n_frames == 3
    assert np.array_equal(pixels(path), np.asarray(frames[0]))


def test_bytes_and_open_files_are_read_like_paths(tmp_path, picture):
    path = tmp_path / "a.png"
    picture.save(path)
    content = path.read_bytes()
    for source in (path, str(path), content, io.BytesIO(content)):
        assert np.array_equal(pixels(source), np.asarray(picture))
        assert np.array_equal(centre(source, "photo"), centre(path))
    with pytest.raises(CcliError, match=r"image upload 3 is unreadable \(in no known format\)"):
        open_image(b"no picture", "photo", "upload 3")
    with pytest.raises(CcliError, match=r"image \(given as bytes\) is unreadable \(in no known format\)"):
        open_image(io.BytesIO(b"no picture"))


@pytest.mark.parametrize("decoding", ["pillow", "photo"])
@pytest.mark.parametrize("limit", ["Pillow's", "none", "lower"])
def test_bombs_are_refused_by_their_size(tmp_path, monkeypatch, decoding, limit):
    if limit != "Pillow's":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None if limit == "none" else 1000)
    (tmp_path / "bomb.png").write_bytes(png(20000, 20000))
    most = "2,000" if limit == "lower" else f"{MOST_PIXELS:,}"
    with pytest.raises(CcliError, match=rf"bomb\.png has 400,000,000 pixels, more than {most}"):
        centre(tmp_path / "bomb.png", decoding)


def test_what_pillow_only_warns_of_is_read_without_a_word(tmp_path, monkeypatch, picture):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 36 - 1)
    picture.save(tmp_path / "a.png")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        open_image(tmp_path / "a.png")
    assert not told


@pytest.mark.parametrize("decoding", ["pillow", "photo"])
def test_a_single_pixel(tmp_path, decoding):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    for crop in (
        centre(tmp_path / "a.png", decoding),
        random_crop(open_image(tmp_path / "a.png", decoding), SIZE, "bicubic", (0.5, 1), random.Random(0)),
    ):
        assert crop.shape == (SIZE, SIZE, 3) and (crop == [1, 2, 3]).all()


@pytest.mark.parametrize("size", [(1, 20000), (20000, 1), (3, 1000)])
def test_a_line_is_no_enormous_picture(tmp_path, monkeypatch, size):
    sizes, resize = [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, to, *a, **k: (sizes.append(to), resize(self, to, *a, **k))[1]
    )
    shade = np.linspace(0, 255, max(size)).astype(np.uint8)
    column = np.broadcast_to(shade[:, None, None], (max(size), min(size), 3))
    Image.fromarray(np.ascontiguousarray(column if size[0] < size[1] else column.swapaxes(0, 1))).save(
        tmp_path / "line.png"
    )
    crop = centre_crop(open_image(tmp_path / "line.png"), 224, "bicubic")
    assert crop.shape == (224, 224, 3) and abs(crop.astype(int) - 127).max() <= 1
    random_crop(open_image(tmp_path / "line.png"), 224, "bicubic", (0.5, 1), random.Random(0))
    assert max(map(max, sizes)) == 224


def test_of_a_long_picture_only_what_is_kept_is_resized(tmp_path, monkeypatch, picture):
    picture.resize((909, 9)).save(tmp_path / "a.png")
    monkeypatch.setattr("ccli.features.crops.LONGEST", 1000)
    as_a_whole = centre(tmp_path / "a.png").astype(int)
    monkeypatch.undo()
    assert abs(centre(tmp_path / "a.png").astype(int) - as_a_whole).max() <= 2


@pytest.mark.parametrize("decoding", ["pillow", "photo"])
def test_what_is_no_picture_is_named(tmp_path, picture, decoding):
    picture.save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    for name, content in (("cut.jpg", whole[: len(whole) // 2]), ("text.jpg", b"hello"), ("empty.jpg", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CcliError, match=f"{name} is unreadable .*; replace or remove it"):
            open_image(tmp_path / name, decoding)
    (tmp_path / "two\nlines.jpg").write_bytes(b"hello")
    with pytest.raises(CcliError, match=r"two\\nlines.jpg' is unreadable") as error:
        open_image(tmp_path / "two\nlines.jpg", decoding)
    assert "\n" not in str(error.value)
    assert shown("a\udcff.jpg").isprintable() and shown("Käse 猫.jpg") == "Käse 猫.jpg"


def test_each_decoding_has_features_of_its_own(tiny_clip, tmp_path, picture, encoded):
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = tmp_path / "images"
    for place in ("a", "b"):
        (folder / place).mkdir(parents=True)
    picture.save(folder / "a/1.png", exif=exif)
    stores = [FeatureEncoder(tiny_clip, tmp_path / "store", folder / "a", decoding=d) for d in ("pillow", "photo")]
    rows = [store.images([folder / "a/1.png"]) for store in stores]
    views = [store.views([folder / "a/1.png"], 2, (0.5, 1)) for store in stores]
    assert encoded == [1, 1, 2, 2] and not (rows[0] == rows[1]).all() and not (views[0] == views[1]).all()
    facts = tiny_clip.facts
    crop = centre_crop(open_image(folder / "a/1.png", "photo"), facts.image_size, facts.interpolation)
    Image.fromarray(crop).save(folder / "b/1.png")
    assert (FeatureEncoder(tiny_clip, tmp_path / "store", folder / "b").images([folder / "b/1.png"]) == rows[1]).all()


def test_photos_of_one_name_in_two_folders_are_two(tiny_clip, tmp_path, encoded):
    rows = []
    for place, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / place).mkdir()
        path = tmp_path / place / "1.bmp"
        Image.new("RGB", (20, 20), colour).save(path)  # of one size, too
        os.utime(path, ns=(1, 1))
        rows.append(FeatureEncoder(tiny_clip, tmp_path / "store", decoding="photo").images([path]))
    assert encoded == [1, 1] and not (rows[0] == rows[1]).all()


@pytest.mark.parametrize("kind", ["text", "unicode", "profile"])
def test_a_png_with_much_beside_its_pixels_is_read(kind, tmp_path):
    """3 MB of compressed text, as image generators write, or of a colour profile."""
    plain, path, much = tmp_path / "plain.png", tmp_path / "much.png", "a striped star, " * 200_000
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    info = PngInfo()
    if kind == "text":
        info.add_text("prompt", much, zip=True)
    elif kind == "unicode":
        info.add_itxt("prompt", much, zip=True)
    image.save(plain)
    image.save(path, pnginfo=info, **({"icc_profile": much.encode()} if kind == "profile" else {}))
    for decoding in (BENCHMARK, PHOTO):
        assert (np.asarray(open_image(path, decoding)) == np.asarray(open_image(plain, decoding))).all()


def test_a_text_that_unpacks_without_end_is_refused_in_one_line(tmp_path):
    info = PngInfo()
    info.add_text("prompt", "x" * (80 * 2**20), zip=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "bomb.png", pnginfo=info)
    assert (tmp_path / "bomb.png").stat().st_size < 2**20
    with pytest.raises(CcliError, match=r"^image .*bomb\.png is unreadable \(ValueError: Decompressed data too large"):
        open_image(tmp_path / "bomb.png", PHOTO)
