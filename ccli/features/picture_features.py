"""Features of people's own pictures by one frozen model: each encoded once and kept on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import torch
from tqdm import tqdm

from ccli.clip.model import FrozenClip, files_stamp
from ccli.errors import CcliError
from ccli.features.decoding import PHOTO, shown
from ccli.features.feature_store import FeatureStore
from ccli.features.image_encoder import BLOCK, ImageEncoder, ImageSpec
from ccli.features.row_store import RowStore
from ccli.features.task import unit
from ccli.inference.saving import where

CROP = (0.5, 1.0)  # share of a picture's area in a random crop


def default_folder() -> Path:
    """CCLI_STORE of the environment, else a folder of the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("CCLI_STORE") or cache / "ccli").expanduser()


class PictureFeatures:
    """What `ImageEncoder` makes of pictures, kept: a feature depends on a file's content and not on where it lies.

    clip: the model; spec: how pictures are encoded; texts: the store of sentences.
    """

    def __init__(self, backbone: str, folder: Path, crops: int, device: str = "cpu"):
        self.clip = FrozenClip(backbone, device)
        facts = asdict(self.clip.facts)
        weights = facts.pop("fingerprint")
        self.spec = ImageSpec(where(backbone), weights, self.clip.precision, crops, CROP, PHOTO)
        self.texts = FeatureStore(self.clip, folder, folder)
        view = f"mean of {crops} crops {CROP[0]:g}-{CROP[1]:g} flip, drawn by content" if crops else "centre"
        self._rows = RowStore(
            folder,
            {
                "weights": weights, "precision": self.clip.precision, "pictures": 1, "decoding": PHOTO, "view": view,
                **{name: x for name, x in facts.items() if name != "logit_scale"},
            },
        )  # fmt: skip

    def images(self, paths: Sequence[str | Path]) -> torch.Tensor:
        """Unit rows [n, D]; pictures are known by path, size and time of change.

        Raises:
            CcliError: one is missing, unreadable or too large (named); the others are kept.
        """

        def encode(missing: list[int]) -> Iterator[tuple[list[int], torch.Tensor]]:
            encoder = ImageEncoder(self.spec, clip=self.clip)
            for rows, features in _blocks(missing, encoder.encode([paths[k] for k in missing])):
                for k in rows:
                    if _key(paths[k]) != keys[k]:
                        raise CcliError(f"image {shown(paths[k])} changed while it was encoded; start again")
                yield rows, features

        keys = [_key(path) for path in paths]
        return unit(self._rows.rows(keys, encode))


def open_pictures(backbone: str, folder: str | Path | None, crops: int, device: str) -> PictureFeatures:
    """The same one for every fit of a process, so that the model is loaded once.

    Raises:
        CcliError: there is no such backbone.
    """
    folder = Path(os.path.abspath(Path(folder).expanduser() if folder else default_folder()))
    return _open(backbone, files_stamp(backbone), folder, crops, str(device))


@lru_cache(maxsize=2)
def _open(backbone: str, _stamp: tuple, folder: Path, crops: int, device: str) -> PictureFeatures:
    return PictureFeatures(backbone, folder, crops, device)


def _key(path: str | Path) -> str:
    try:
        stat = os.stat(path)
    except (OSError, ValueError) as error:
        raise CcliError(f"image {shown(path)} cannot be read ({getattr(error, 'strerror', error)})") from error
    return f"{os.path.abspath(path)}|{stat.st_size}|{stat.st_mtime_ns}"


def _blocks(rows: list[int], encoded) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Features as blocks of the store, under a progress bar where there is enough to wait for.

    Raises:
        CcliError: after the last one, where a picture was not readable.
    """
    taken: list[tuple[int, torch.Tensor]] = []
    errors: list[CcliError] = []

    def block() -> tuple[list[int], torch.Tensor]:
        found, features = zip(*taken)
        taken.clear()
        return list(found), torch.stack(features)

    bar = tqdm(encoded, "Encoding pictures", len(rows), leave=False, disable=len(rows) < 2 * BLOCK or None)
    for row, (_, feature) in zip(rows, bar):
        if isinstance(feature, CcliError):
            errors.append(feature)
            continue
        taken.append((row, feature))
        if len(taken) == BLOCK:
            yield block()
    if taken:
        yield block()
    if errors:
        more = f" (and {len(errors) - 1} more that cannot be read)" if len(errors) > 1 else ""
        raise CcliError(f"{errors[0]}{more}")
