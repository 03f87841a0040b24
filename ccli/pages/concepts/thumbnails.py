"""Small pictures as data URIs: JPEG, upright, on white, within a budget of characters."""

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ccli.errors import CcliError
from ccli.features.decoding import PHOTO, open_image

SIDE = 96  # pixels of the longer side
SMALL_SIDE = 64  # where there are more than MANY pictures
MANY = 600
BUDGET = 3_200_000  # characters of all data URIs
QUALITY = 75
THREADS, CHUNK = 4, 64  # a chunk is read before the budget is looked at


def thumbnails(paths: Sequence[str | Path], budget: int = BUDGET) -> tuple[list[str], list[str]]:
    """(data URIs, notes): one URI per path, and a note for each kind of missing picture.

    Args:
        paths: of images, the most wanted first; "" where there is no image, which needs no note.
        budget: characters that all URIs may take.

    Returns:
        URIs are "" where there is no picture: no path, one that cannot be read, or one beyond the budget.
    """
    side = SMALL_SIDE if sum(map(bool, paths)) > MANY else SIDE
    uris, unreadable, left_out = [], [], 0
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(paths), CHUNK):
            chunk = paths[start : start + CHUNK]
            if budget <= 0:
                left_out += sum(map(bool, chunk))
                uris += [""] * len(chunk)
                continue
            for path, uri in zip(chunk, pool.map(lambda path: _thumbnail(path, side), chunk)):
                if uri is None:
                    unreadable.append(path)
                elif len(uri) > budget:
                    left_out, budget, uri = left_out + 1, 0, ""
                uris.append(uri or "")
                budget -= len(uri or "")
    return uris, _notes(unreadable, left_out)


def _thumbnail(path: str | Path, side: int) -> str | None:
    """A data URI; "" for no path, None for what cannot be read."""
    if not path:
        return ""
    try:
        image = open_image(path, PHOTO)
    except (CcliError, ValueError):  # a path with a zero byte is a ValueError
        return None
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _notes(unreadable: Sequence[str | Path], left_out: int) -> list[str]:
    notes, count = [], len(unreadable)
    if unreadable:
        which = f"{unreadable[0]} is" if count == 1 else f"{count} images, {unreadable[0]} the first of them, are"
        notes.append(f"{which} gone or cannot be read, and shown as an empty field.")
    if left_out:
        which = f"{left_out} image{' is' if left_out == 1 else 's are'}"
        notes.append(f"{which} shown as an empty field to keep the page small.")
    return notes
