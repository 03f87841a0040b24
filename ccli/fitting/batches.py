"""Batches of stored features for training: order and views are functions of (seed, epoch), so runs can be resumed."""

import math
from collections.abc import Iterator

import torch

from ccli.features.task import Split


class FeatureBatches:
    """Iterates over a split as Dassl's loaders do: dicts with img (features [B, D]), label, domain, impath, index.

    Args:
        split: what to iterate over.
        batch_size: the last batch may be smaller; nothing is dropped.
        shuffle: reorder at each epoch, and use one random view per image where the split has views.
        seed, epoch: set `epoch` before each pass.
    """

    def __init__(self, split: Split, batch_size: int, shuffle: bool = False, seed: int = 0):
        self.split, self.batch_size, self.shuffle, self.seed, self.epoch = split, batch_size, shuffle, seed, 0

    def __len__(self) -> int:
        return math.ceil(len(self.split) / self.batch_size)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        n = len(self.split)
        order, features = torch.arange(n), self.split.features
        if self.shuffle:
            generator = torch.Generator().manual_seed(1_000_003 * max(self.seed, 0) + self.epoch)
            order = torch.randperm(n, generator=generator)
            if self.split.views is not None:
                view = torch.randint(len(self.split.views), (n,), generator=generator).to(features.device)
                features = self.split.views[view, torch.arange(n, device=features.device)]
        order = order.to(features.device)
        for start in range(0, n, self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = {"img": features[rows], "label": self.split.labels[rows], "index": rows}
            yield batch | {"domain": torch.zeros_like(rows), "impath": [""] * len(rows)}
