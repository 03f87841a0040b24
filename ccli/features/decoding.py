"""Picture files, decoded to RGB in one of two ways: as benchmarks are read, or as a person sees a photo."""

import hashlib
import io
import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ccli.errors import CcliError, os_errors
from ccli.files.regular import refuse_special

BENCHMARK, PHOTO = "pillow", "photo"  # as the feature store's key has them
MOST_PIXELS = 2 * 89_478_485  # larger pictures are refused: Pillow's limit for decompression bombs
MOST_TEXT = 2**26  # bytes of a text or colour profile beside the pixels, unpacked: Pillow's limit for all together
SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # Pillow's modes of grey with up to 16 bits

Source = str | Path | bytes | BinaryIO


def open_image(source: Source, decoding: str = BENCHMARK, name: str = ""):
    """A picture as Pillow's Image in mode RGB, read to its end.

    Args:
        source: a path, a file's content, or an open binary file.
        decoding: "pillow" is Pillow's own conversion, as CoOp's and Dassl's loaders have it. "photo" also turns the
            picture as its EXIF orientation says, puts transparent parts on white, and scales 16-bit grey to 8 bits
            instead of clipping it. Of several frames both take the first.
        name: what errors call it; the path, or "(given as bytes)", where empty.

    Raises:
        CcliError: it cannot be decoded, or has more than MOST_PIXELS pixels (named).
        ValueError: there is no such decoding.
    """
    if decoding not in (BENCHMARK, PHOTO):
        raise ValueError(f"no decoding {decoding!r}")
    from PIL import Image, PngImagePlugin, UnidentifiedImageError

    PngImagePlugin.MAX_TEXT_CHUNK = MOST_TEXT
    name = name or shown(source)
    if isinstance(source, str | Path):
        refuse_special(source)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is an error
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            width, height = file.size
            if width * height > MOST_PIXELS:
                raise _too_large(name, width * height, MOST_PIXELS)
            if not width * height:
                raise CcliError(f"image {name} is unreadable (it has no pixels); replace or remove it")
            return file.convert("RGB") if decoding == BENCHMARK else _as_seen(file)
    except CcliError:
        raise
    except Image.DecompressionBombError as error:  # says both numbers, in this order
        raise _too_large(name, *map(int, re.findall(r"\d+", str(error))[:2])) from error
    except FileNotFoundError as error:
        raise CcliError(f"image {name} is not there; check its name") from error
    except UnidentifiedImageError as error:
        raise CcliError(f"image {name} is unreadable (in no known format); replace or remove it") from error
    except Exception as error:  # Pillow's decoders raise many types
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise CcliError(f"image {name} is unreadable ({why}); replace or remove it") from error


def digest(path: str | Path) -> str:
    """SHA-256 (hex) of a picture's file. Raises CcliError where it cannot be read (named)."""
    refuse_special(path)
    with os_errors(f"image {shown(path)} cannot be read", "check the folder"), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shown(source: Source) -> str:
    """A path on one line: unchanged where it is printable, else escaped and in quotes."""
    if isinstance(source, bytes) or not isinstance(source, str | Path):
        return shown(getattr(source, "name", None) or "(given as bytes)")
    text = str(source)
    return text if text.isprintable() else repr(text)


def _too_large(name: str, pixels: int, limit: int) -> CcliError:
    return CcliError(f"image {name} has {pixels:,} pixels, more than {limit:,}; make it smaller or remove it")


def _as_seen(image):
    """RGB, upright, on white."""
    from PIL import Image, ImageOps

    image.load()
    with suppress(Exception):  # damaged EXIF is ignored, as viewers do; its readers raise many types
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in SIXTEEN_BITS:
        return _eight_bits(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return canvas


def _eight_bits(image):
    """Grey of 16 bits as mode L: 0 .. 65535 is 0 .. 255; a transparent value is white."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.int64)
    scaled = (values.clip(0, 65535) + 128) // 257
    if isinstance(image.info.get("transparency"), int):
        scaled[values == image.info["transparency"]] = 255
    return Image.fromarray(scaled.astype(np.uint8))
