"""Features of pictures that are seen once: in the order given, nothing kept, a bad one does not stop the others."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ccli.clip.model import FrozenClip
from ccli.errors import CcliError
from ccli.features import crops
from ccli.features.decoding import digest, open_image
from ccli.features.parallel import in_threads
from ccli.features.task import unit

BLOCK = 64  # images


@dataclass(frozen=True)
class ImageSpec:
    """How a classifier's images become features.

    backbone: its name or place; weights: its fingerprint; precision: "fp32" or "bf16"; crops: an image is the mean of
    so many random crops of `crop` of its area, 0 for its centre crop; decoding: as `open_image` takes it.
    """

    backbone: str
    weights: str
    precision: str
    crops: int
    crop: tuple[float, float]
    decoding: str


class ImageEncoder:
    """Encodes pictures as those were that a classifier learned from.

    Random crops depend on a file's bytes alone: the same picture has the same feature under any name. The feature store
    draws them so for people's own photos; for benchmarks by the path, so that features differ a little there.

    Args:
        clip: the model, where it is open already.

    Raises:
        CcliError: the model is not the one that the classifier was trained on, or is not there.
    """

    def __init__(self, spec: ImageSpec, device: str | torch.device = "cpu", clip: FrozenClip | None = None):
        self.spec, self.clip = spec, clip or FrozenClip(spec.backbone, device, spec.precision)
        if self.clip.facts.fingerprint != spec.weights:
            raise CcliError(
                f"backbone {spec.backbone} here has other weights than those that the classifier was trained on; "
                "give the place of those"
            )

    def encode(self, paths: Iterable[str | Path]) -> Iterator[tuple[str | Path, torch.Tensor | CcliError]]:
        """Each path with its feature, a unit row [D], or with what is wrong with it."""
        self.clip.load()
        paths, at_hand, errors = iter(paths), {}, {}

        def blocks() -> Iterator[list[int]]:
            start = 0
            while block := list(islice(paths, BLOCK)):
                rows = list(range(start, start + len(block)))
                at_hand.update(zip(rows, block))
                start += len(block)
                yield rows

        def work(rows: list[int]) -> torch.Tensor:
            pictures: dict[int, list[np.ndarray]] = {}
            for row in rows:
                try:
                    pictures[row] = self.crops(at_hand[row])
                except CcliError as error:
                    errors[row] = error
            return self._features(rows, pictures)

        for rows, features in in_threads(work, blocks(), self.clip.images_at_once):
            for row, feature in zip(rows, features):
                yield at_hand.pop(row), errors.pop(row, None) or feature

    def crops(self, path: str | Path) -> list[np.ndarray]:
        """What the model sees of a picture: its centre, or random crops, each uint8 [S, S, 3].

        Raises:
            CcliError: it is missing, unreadable or too large (named).
        """
        facts, spec = self.clip.facts, self.spec
        if not spec.crops:
            return [crops.centre_crop(path, facts.image_size, facts.interpolation, spec.decoding)]
        image, content = open_image(path, spec.decoding), digest(path)
        shape = facts.image_size, facts.interpolation, spec.crop
        return [crops.random_crop_of(image, *shape, random.Random(f"{content}|{v}")) for v in range(spec.crops)]

    def _features(self, rows: list[int], pictures: dict[int, list[np.ndarray]]) -> torch.Tensor:
        """[len(rows), D], zeros where there is no picture."""
        facts, size = self.clip.facts, self.clip.images_at_once
        flat, found = [crop for row in rows for crop in pictures.get(row, ())], []
        for start in range(0, len(flat), size):
            part = flat[start : start + size]
            batch = crops.normalised(
                part + part[:1] * (size - len(part)), facts.mean, facts.std, self.clip.device
            )  # always as many: the bits of one do not depend on how many there are
            found.append(self.clip.encode_image(batch)[: len(part)].cpu())
        if not found:
            return torch.zeros(len(rows), 1)
        features = unit(torch.cat(found)).view(len(pictures), -1, found[0].shape[1])
        features = unit(features.mean(1)) if self.spec.crops else features[:, 0]
        whole = features.new_zeros(len(rows), features.shape[1])
        whole[[k for k, row in enumerate(rows) if row in pictures]] = features
        return whole
