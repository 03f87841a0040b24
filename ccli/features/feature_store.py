"""Image and text features out of the store; whatever is missing is encoded once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ccli.clip.model import FrozenClip
from ccli.clip.text_batches import encode_texts
from ccli.errors import CcliError
from ccli.features import crops
from ccli.features.decoding import BENCHMARK, PHOTO, digest, shown
from ccli.features.parallel import in_threads
from ccli.features.row_store import RowStore

BATCH = 64  # rows of a block of the store


class FeatureStore:
    """Features of one frozen model.

    Args:
        clip: the model.
        folder: where features are kept, shared by all models.
        root: images are known by their path below this folder (and by size and time of change).
        lock: who has another one encodes at the same time; give it to those that encode different images.
        decoding: how images are read ("pillow" or "photo", see `ccli.features.decoding.open_image`). For photos
            `root` is a part of what they are known by, because the names in people's own folders are often the same.
    """

    def __init__(
        self, clip: FrozenClip, folder: str | Path, root: str | Path, lock: str = "lock", decoding: str = BENCHMARK
    ):
        self.clip, self.folder, self.root = clip, Path(folder), Path(os.path.abspath(root))
        self.decoding = decoding
        self._below = os.path.join(self.root, "")  # a string, not a Path: every run asks for all its images
        self.lock = lock
        self._stores: dict[str, RowStore] = {}  # what was read stays at hand

    def images(self, paths: Sequence[str | Path], what: str = "images") -> torch.Tensor:
        """Features [n, D] of images as the model's own preprocessing sees them (resized, centre crop); not normalised.

        They are opened as RGB before they are resized, as CoOp's and Dassl's loaders do.

        Raises:
            CcliError: an image is missing, unreadable or too large, or changes meanwhile (named).
        """
        keys = [self._key(path) for path in paths]
        return self._encode(self._spec(), keys, [(path, None) for path in paths], what)

    def views(
        self, paths: Sequence[str | Path], count: int, crop: tuple[float, float], what: str = "views"
    ) -> torch.Tensor:
        """Features [count, n, D] of augmented views: a random resized crop (area shares `crop`) and a flip.

        View v of an image depends on its path and v alone, so it is the same for every run and seed; of a photo on its
        content and v, as in `ccli.features.image_encoder`.
        """
        spec, keys = self._spec(crop), self._view_keys(paths, count)
        work = [(path, (v, crop)) for v in range(count) for path in paths]
        rows = self._encode(spec, keys, work, what)
        return rows.view(count, len(paths), rows.shape[1])

    def texts(self, texts: Sequence[str], what: str = "texts") -> torch.Tensor:
        """Features [n, D] of sentences, not normalised."""

        def encode(missing: list[int]) -> Iterator[tuple[list[int], torch.Tensor]]:
            return encode_texts(self.clip, texts, missing, BATCH, what)

        return self._rows(self._text_spec()).rows(list(texts), encode)

    def _text_spec(self) -> dict:
        return {"text": 2, "weights": self.clip.facts.fingerprint, "precision": self.clip.precision}

    def _rows(self, spec: dict) -> RowStore:
        name = json.dumps(spec)
        if name not in self._stores:
            self._stores[name] = RowStore(self.folder, spec, self.lock)
        return self._stores[name]

    def missing(
        self, paths: Sequence[str | Path], count: int = 0, crop: tuple[float, float] | None = None
    ) -> list[str | Path]:
        """Those of the images that are still to be encoded, or of which one of `count` views is."""
        keys = self._view_keys(paths, count) if crop else [self._key(path) for path in paths]
        rows = self._rows(self._spec(crop)).missing(keys)
        return [paths[k] for k in sorted({row % len(paths) for row in rows})]

    def _view_keys(self, paths: Sequence[str | Path], count: int) -> list[str]:
        images = [self._key(path) for path in paths]
        return [f"{key}|{v}" for v in range(count) for key in images]

    def _spec(self, crop: tuple[float, float] | None = None) -> dict:
        by = ", by content" if self.decoding == PHOTO else ""
        view = f"crop {crop[0]:g}-{crop[1]:g} flip{by}" if crop else "centre"
        facts = {k: v for k, v in asdict(self.clip.facts).items() if k not in ("fingerprint", "logit_scale")}
        return {
            "weights": self.clip.facts.fingerprint, "precision": self.clip.precision,
            "encoding": 2, "decoding": self.decoding, "view": view, **facts,
        }  # fmt: skip

    def _key(self, path: str | Path) -> str:
        return image_key(path, self._below) + (f"|{self.root}" if self.decoding == PHOTO else "")

    def _seed(self, path: str | Path) -> str:
        """What the views of an image depend on."""
        return digest(path) if self.decoding == PHOTO else _below(path, self._below)

    def _encode(self, spec: dict, keys: list[str], work: list, what: str) -> torch.Tensor:
        facts = self.clip.facts

        def decode(k: int) -> np.ndarray:
            path, view = work[k]
            if view is None:
                return crops.centre_crop(path, facts.image_size, facts.interpolation, self.decoding)
            rng = random.Random(f"{self._seed(path)}|{view[0]}")
            return crops.random_crop(path, facts.image_size, facts.interpolation, view[1], rng, self.decoding)

        def encode(rows: list[int]) -> torch.Tensor:
            pictures = [decode(k) for k in rows]
            for path, key in ((work[k][0], keys[k]) for k in rows):
                if not key.startswith(self._key(path)):
                    raise CcliError(f"image {shown(path)} changed while it was encoded; start again")
            pictures += [pictures[0]] * (self.clip.images_at_once - len(rows))
            batch = crops.normalised(pictures, facts.mean, facts.std, self.clip.device)
            return self.clip.encode_image(batch)[: len(rows)].cpu()

        def encode_all(missing: list[int]) -> Iterator[tuple[list[int], torch.Tensor]]:
            self.clip.load()
            return in_threads(encode, _batches(missing, what), self.clip.images_at_once)

        return self._rows(spec).rows(keys, encode_all)


def images_stamp(paths: Iterable[str | Path], root: str | Path) -> str:
    """16 hex digits that change when one of these images is another file: by path, size and time of change."""
    below = os.path.join(os.path.abspath(root), "")
    lines = sorted({image_key(path, below) for path in paths})
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def image_key(path: str | Path, below: str) -> str:
    """What an image is known by: its path below a folder, its size and its time of change."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise CcliError(
            f"image {shown(path)} cannot be read ({error.strerror}); check the data set's folder"
        ) from error
    return f"{_below(path, below)}|{stat.st_size}|{stat.st_mtime_ns}"


def _below(path: str | Path, folder: str) -> str:
    """Links are not followed: a data set may be links into another disk."""
    return os.path.abspath(path).removeprefix(folder)


def _batches(rows: list[int], what: str) -> Iterator[list[int]]:
    """Slices of BATCH rows, under a progress bar where there is enough to wait for."""
    with tqdm(
        total=len(rows), desc=f"Encoding {what}", unit="", disable=len(rows) < 2 * BATCH or None, leave=False
    ) as bar:
        for start in range(0, len(rows), BATCH):
            yield rows[start : start + BATCH]
            bar.update(len(rows[start : start + BATCH]))


def class_text_features(store: FeatureStore, prompts: list[list[str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Class text features of a template ensemble.

    Args:
        prompts: one list per template, each with a sentence per class.

    Returns:
        Unit rows [N, D] (the normalised mean over templates of unit features, as CLIP does) and, [N], the mean length
        that the features had before normalisation.
    """
    flat = store.texts([p for row in prompts for p in row], "class names").view(len(prompts), len(prompts[0]), -1)
    norms = flat.norm(dim=-1, keepdim=True)
    mean = (flat / norms).mean(0)
    return mean / mean.norm(dim=-1, keepdim=True), norms.mean(0).squeeze(-1)
