"""From images and texts to features: each is encoded once by a frozen model and kept in the store."""

import json
import os
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ccli.clip.model import FrozenClip, encode_texts
from ccli.clip.weights import files_stamp
from ccli.errors import CcliError
from ccli.features import crops, keys
from ccli.features.decoding import BENCHMARK, PHOTO, open_image
from ccli.features.keys import ImageKey, UnreadableImages
from ccli.features.parallel import in_threads
from ccli.features.row_store import NoStore, RowStore, StoreError
from ccli.features.task import unit
from ccli.files.sealed_json import Count, Number

BATCH = 64  # rows of a block of the store
AT_ONCE = 2_000  # images whose crops are held at a time
STREAM = 512  # encodings between two answers of a stream


@dataclass(frozen=True)
class ImageSpec:
    """How a classifier's images become features.

    backbone: its name or place; weights: its fingerprint; precision: "fp32" or "bf16"; crops: an image is the mean of
    so many random crops of `crop` of its area, 0 for its centre crop; decoding: as `open_image` takes it.
    """

    backbone: str
    weights: str
    precision: str
    crops: Count
    crop: tuple[Number, Number]
    decoding: str


class FeatureEncoder:
    """Features of one frozen model.

    Rows are kept as float16, before normalisation, one per image or view. A row depends on the model, the decoding, the
    view and the image alone: not on what is encoded with it, and not on whether it was kept.

    Args:
        clip: the model.
        folder: where features are kept, shared by all models; None: nowhere.
        root: images are known by their path below this folder, their size and their time of change, and random crops
            are drawn by that path: for benchmarks. None: both go by an image's content, wherever it lies. (Stores of
            people's photos that older versions wrote, which went by path, are not read.)
        decoding: how images are read ("pillow" or "photo", see `ccli.features.decoding.open_image`).
        lock: who has another one encodes at the same time; give it to those that encode different images.
    """

    def __init__(
        self, clip: FrozenClip, folder: str | Path | None, root: str | Path | None = None, decoding: str = BENCHMARK,
        lock: str = "lock",
    ):  # fmt: skip
        self.clip, self.decoding, self.lock = clip, decoding, lock
        self.folder = None if folder is None else Path(folder)
        self.root = None if root is None else os.path.abspath(root)
        self._below = "" if root is None else os.path.join(self.root, "")  # the part of a path that does not count
        self._stores: dict[str, RowStore | NoStore] = {}  # blocks that were read stay in memory

    def images(self, paths: Sequence[str | Path], what: str = "images") -> torch.Tensor:
        """Features [n, D] of images as the model's own preprocessing sees them (resized, centre crop); not normalised.

        Raises:
            UnreadableImages: some are missing, unreadable or too large, or change meanwhile; the others are kept.
            StoreError: the store cannot be read or written.
        """
        return self._rows(paths, 1, None, what)

    def views(
        self, paths: Sequence[str | Path], count: int, crop: tuple[float, float], what: str = "views"
    ) -> torch.Tensor:
        """Features [count, n, D] of augmented views: a random resized crop (area shares `crop`) and a flip.

        View v of an image depends on the image (see `root`) and v alone, so it is the same for every run and seed.
        Raises as `images`.
        """
        rows = self._rows(paths, count, crop, what)
        return rows.view(len(paths), count, rows.shape[1]).transpose(0, 1).contiguous()

    def features(
        self, paths: Sequence[str | Path], count: int, crop: tuple[float, float], what: str = "images"
    ) -> torch.Tensor:
        """Unit rows [n, D]: the mean of `count` views of each image, or its centre where 0. Raises as `images`."""
        if not count:
            return unit(self.images(paths, what))
        starts = range(0, max(1, len(paths)), AT_ONCE)
        parts = (self.views(paths[k : k + AT_ONCE], count, crop, f"crops of {what}") for k in starts)
        return torch.cat([unit(unit(views).mean(0)) for views in parts])

    def stream(
        self, paths: Iterable[str | Path], count: int, crop: tuple[float, float]
    ) -> Iterator[tuple[str | Path, torch.Tensor | CcliError]]:
        """Each path with its feature, a unit row [D] as of `features`, or with the reason why it has none; in order.

        Any number of paths is taken, some at a time. A store that cannot be used is left out with a warning.
        """
        encoder, paths = self, iter(paths)
        while block := list(islice(paths, max(BATCH, STREAM // max(1, count)))):
            errors, features = {}, None
            while features is None:
                try:
                    features = encoder.features([p for p in block if p not in errors], count, crop, "pictures")
                except UnreadableImages as error:
                    errors |= error.errors
                except StoreError as error:
                    print(f"warning: {error}; features are not kept", file=sys.stderr)
                    encoder = FeatureEncoder(self.clip, None, self.root, self.decoding)
            rows = iter(features)
            yield from ((path, errors[path] if path in errors else next(rows)) for path in block)

    def texts(self, texts: Sequence[str], what: str = "texts") -> torch.Tensor:
        """Features [n, D] of sentences, not normalised."""
        store = self._store(self._text_spec())
        return store.rows(list(texts), lambda missing: encode_texts(self.clip, texts, missing, BATCH, what))

    def missing(
        self, paths: Sequence[str | Path], count: int = 0, crop: tuple[float, float] | None = None
    ) -> list[str | Path]:
        """Those of the images that are still to be encoded, or of which one of `count` views is."""
        names = _row_names(self._keys(paths), count or 1, crop)
        rows = self._store(self._spec(crop)).missing(names)
        return [paths[k] for k in sorted({row // (count or 1) for row in rows})]

    def pixels(self, path: str | Path, count: int, crop: tuple[float, float]) -> list[np.ndarray]:
        """The model's input for an image: its centre crop, or `count` random ones, each uint8 [S, S, 3].

        Raises CcliError where it is missing, unreadable or too large, or changes meanwhile (named).
        """
        (key,) = self._keys([path])
        return self._pixels(key, range(count or 1), crop if count else None)

    def _store(self, spec: dict) -> RowStore | NoStore:
        name = json.dumps(spec)
        if name not in self._stores:
            self._stores[name] = NoStore() if self.folder is None else RowStore(self.folder, spec, self.lock)
        return self._stores[name]

    def _text_spec(self) -> dict:
        return {"text": 2, "weights": self.clip.facts.fingerprint, "precision": self.clip.precision}

    def _spec(self, crop: tuple[float, float] | None) -> dict:
        view = f"crop {crop[0]:g}-{crop[1]:g} flip" if crop else "centre"
        facts = {k: v for k, v in asdict(self.clip.facts).items() if k not in ("fingerprint", "logit_scale")}
        return {
            "weights": self.clip.facts.fingerprint, "precision": self.clip.precision,
            "encoding": 2, "decoding": self.decoding, "view": view, **facts,
        } | ({"images": "by content"} if self.root is None else {})  # fmt: skip

    def _keys(self, paths: Sequence[str | Path]) -> list[ImageKey]:
        if self.root is None:
            return keys.keys_by_content(paths, self._store(keys.DIGESTS).rows)
        return keys.keys_by_path(paths, self._below)

    def _rows(self, paths: Sequence[str | Path], count: int, crop: tuple[float, float] | None, what: str):
        """[n * count, D], the views of an image one after another."""
        images, facts, size = self._keys(paths), self.clip.facts, self.clip.images_at_once
        errors: dict[int, CcliError] = {}

        def encode(rows: list[int]) -> torch.Tensor:
            """Of the rows without errors."""
            pictures: list[np.ndarray] = []
            for k, group in groupby(rows, lambda row: row // count):
                some = list(group)
                try:
                    pictures += self._pixels(images[k], [row % count for row in some], crop)
                except CcliError as error:
                    errors.update(dict.fromkeys(some, error))
            if not pictures:
                return torch.empty(0)
            filled = pictures + pictures[:1] * (size - len(pictures))  # bits may depend on the size of a batch
            batch = crops.normalised(filled, facts.mean, facts.std, self.clip.device)
            return self.clip.encode_image(batch)[: len(pictures)].cpu()

        def encode_all(missing: list[int]) -> Iterator[tuple[list[int], torch.Tensor]]:
            _ = self.clip.model  # loaded before the threads ask for it
            for rows, features in in_threads(encode, _batches(missing, what), size):
                rows = [row for row in rows if row not in errors]
                if rows:
                    yield rows, features
            if errors:
                raise UnreadableImages({images[row // count].path: error for row, error in sorted(errors.items())})

        return self._store(self._spec(crop)).rows(_row_names(images, count, crop), encode_all)

    def _pixels(self, image: ImageKey, views: Iterable[int], crop: tuple[float, float] | None) -> list[np.ndarray]:
        shape = self.clip.facts.image_size, self.clip.facts.interpolation
        opened = open_image(image.path, self.decoding)
        if crop:
            found = [crops.random_crop(opened, *shape, crop, random.Random(f"{image.seed}|{v}")) for v in views]
        else:
            found = [crops.centre_crop(opened, *shape)]
        if keys.image_stamp(image.path, self._below) != image.stamp:
            raise keys.changed(image.path)
        return found


def _row_names(images: list[ImageKey], count: int, crop: tuple[float, float] | None) -> list[str]:
    return [f"{image.name}|{v}" for image in images for v in range(count)] if crop else [key.name for key in images]


def _batches(rows: list[int], what: str) -> Iterator[list[int]]:
    bar = tqdm(total=len(rows), desc=f"Encoding {what}", unit="", disable=len(rows) < 2 * BATCH or None, leave=False)
    with bar:
        for start in range(0, len(rows), BATCH):
            yield rows[start : start + BATCH]
            bar.update(BATCH)


def open_encoder(
    backbone: str, precision: str = "fp32", device: str | torch.device = "cpu", folder: str | Path | None = None,
    root: str | None = None, decoding: str = PHOTO, lock: str = "lock",
) -> FeatureEncoder:  # fmt: skip
    """The same encoder for all runs and fits of a process, so that a model is loaded and a block read once.

    Args:
        folder: where features are kept; None: `ccli.features.keys.default_store`. The others as `FeatureEncoder`.

    Raises:
        CcliError: there is no such backbone.
    """
    folder = Path(os.path.abspath(Path(folder or keys.default_store()).expanduser()))
    return _open_encoder(backbone, files_stamp(backbone), precision, str(device), folder, root, decoding, lock)


def encoder_of(spec: ImageSpec, device: str | torch.device = "cpu") -> FeatureEncoder:
    """The encoder of new pictures for a classifier; it does not wait for those that encode training images.

    Raises:
        CcliError: the model is not the one that the classifier was trained on, or is not there.
    """
    encoder = open_encoder(spec.backbone, spec.precision, device, decoding=spec.decoding, lock="lock of new pictures")
    if encoder.clip.facts.fingerprint != spec.weights:
        raise CcliError(
            f"backbone {spec.backbone} here has other weights than those that the classifier was trained on; "
            "give the place of those"
        )
    return encoder


@lru_cache(maxsize=4)
def _open_encoder(backbone: str, stamp: tuple, precision: str, device: str, *place) -> FeatureEncoder:
    return FeatureEncoder(_open_clip(backbone, stamp, precision, device), *place)


@lru_cache(maxsize=4)  # one model for all folders
def _open_clip(backbone: str, _stamp: tuple, precision: str, device: str) -> FrozenClip:
    return FrozenClip(backbone, device, precision)
