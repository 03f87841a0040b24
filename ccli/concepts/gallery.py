"""What a run's concepts are, for people to look at: names, how distinctive they are, the images behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ccli.concepts.discovery import concept_vectors, discover
from ccli.concepts.distinctiveness import distinctiveness
from ccli.concepts.representation import centred_rows
from ccli.concepts.vocabulary import DEFAULT_KIND
from ccli.features.task import FewShotTask

EXPLAINED = ("visual", "text")  # sources whose vectors are those of named concepts


@dataclass(frozen=True)
class Concepts:
    """The I concepts of a classifier.

    names, kinds: [I]; rows: [I, D], what images are compared with, in a concept space centred and weighted;
    distinctiveness: [I], 0 to 1; picks: for each concept the training images that made it (or answer to it most, where
    it is its text), best first; images, labels: of all training images, "" where there is no file.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: torch.Tensor
    distinctiveness: torch.Tensor
    picks: list[list[int]]
    images: list[str]
    labels: list[int]


def gallery(
    task: FewShotTask, images: Sequence[str], *, source: str, top_k: int, text_share: float, space: bool,
    distinctive: float,
) -> Concepts:  # fmt: skip
    """The concepts that a head was made with; arguments as `concept_vectors` and `representation.build` take them.

    Args:
        images: files of the training images, or "" for each.
        space: whether images are compared in a concept space.
    """
    features, labels = task.train.features, task.train.labels
    _, picks = discover(task.concept_features, features, top_k)
    vectors, judges = concept_vectors(source, task.concept_features, features, top_k, 0, text_share)
    how = distinctiveness(judges, task)
    rows = centred_rows(vectors, how**distinctive if distinctive else None) if space else vectors
    kinds = task.concept_kinds or (DEFAULT_KIND,) * len(task.concepts)
    found = (x.cpu() for x in (rows, how))
    return Concepts(task.concepts, kinds, *found, picks.tolist(), list(images), labels.tolist())
