"""A classifier's concepts for people to look at: names, how distinctive they are, the images behind them."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Concepts:
    """The I concepts of a classifier.

    names, kinds: [I]; rows: [I, D], the vectors that images are compared with, in a concept space centred and weighted;
    distinctiveness: [I], 0 to 1; picks: for each concept the training images that made it (for a text concept, those
    most similar to it), best first; images, labels: of all training images, "" where there is no file.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: torch.Tensor
    distinctiveness: torch.Tensor
    picks: list[list[int]]
    images: list[str]
    labels: list[int]
