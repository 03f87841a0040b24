"""The concepts that a sparse network chooses from: vectors that images are compared with, and where they come from.

A candidate is a text concept together with the images that answer to it best: its best image alone, the mean of its
best two, and so on (SIZES). Class names are text concepts, too, unless they are to say nothing. Both sides are centred,
which removes the gap between image and text features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

from ccli.concepts.discovery import random_means
from ccli.concepts.duplicates import leaders
from ccli.concepts.gallery import CLASS_NAME
from ccli.concepts.representation import centred_rows
from ccli.concepts.vocabulary import DEFAULT_KIND
from ccli.features.task import FewShotTask

SIZES = (1, 2, 3, 5)  # images behind a visual concept
Visual = tuple[torch.Tensor, torch.Tensor]  # concepts [I, D], the rows of their images [I, K]
SOURCES = ("visual", "text", "images", "random")  # the method's candidates, and its controls


class TextConcepts(NamedTuple):
    """The I text concepts to choose from.

    names, kinds: [I]; features: [I, D], centred unit rows; synonyms: [I], the names that were merged into each.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    features: torch.Tensor
    synonyms: tuple[tuple[str, ...], ...]


class Candidates(NamedTuple):
    """vectors: [C, D], unit rows; concepts: [C], the text concept of each; picks: [C], training images, best first."""

    vectors: torch.Tensor
    concepts: torch.Tensor
    picks: list[list[int]]


def centred_images(task: FewShotTask) -> torch.Tensor:
    """The training images minus their mean, as unit rows [J, D]."""
    return centred_rows(task.train.features)


def text_concepts(task: FewShotTask, class_names: bool) -> TextConcepts:
    """The task's text concepts without near-duplicates, and its class names where these are to count."""
    text, x = centred_rows(task.concept_features), centred_images(task)
    images = cross_modal(text, x, (3,))[0][0]
    found = leaders(text, images, name_ranks(text, images, text).argsort(stable=True))
    synonyms: dict[int, list[str]] = {k: [] for k in found.unique().tolist()}
    for k, leader in enumerate(found.tolist()):
        if k != leader:
            synonyms[leader].append(task.concepts[k])
    kept, kinds = list(synonyms), task.concept_kinds or (DEFAULT_KIND,) * len(task.concepts)
    names, kinds = tuple(task.concepts[k] for k in kept), tuple(kinds[k] for k in kept)
    features, synonyms = text[kept], tuple(map(tuple, synonyms.values()))
    if class_names:
        names, kinds = names + task.classnames, kinds + (CLASS_NAME,) * task.num_classes
        features = torch.cat([features, centred_rows(task.text_features)])
        synonyms += ((),) * task.num_classes
    return TextConcepts(names, kinds, features, synonyms)


def cross_modal(text: torch.Tensor, images: torch.Tensor, sizes: Sequence[int]) -> list[Visual]:
    """The visual sides of text concepts: means of the images that answer best to a concept's two sides together.

    The images most similar to the text give a first visual concept (CCLI's discovery); those most similar to the sum of
    both sides, which are also like each other, give the one that stays.

    Args:
        text: [I, D], images: [J, D], both centred unit rows; sizes: numbers of images K, each clipped to J.

    Returns:
        Per size, visual concepts [I, D], unit rows, and the rows of their images [I, K], best first.
    """
    sizes = [min(size, len(images)) for size in sizes]
    found: list[list[Visual]] = [[] for _ in sizes]
    for t in text.split(512):
        best = (t @ images.T).topk(max(sizes), dim=1).indices
        for size, parts in zip(sizes, found):
            first = F.normalize(images[best[:, :size]].mean(1), dim=-1)
            picks = (F.normalize(first + t, dim=-1) @ images.T).topk(size, dim=1).indices
            parts.append((F.normalize(images[picks].mean(1), dim=-1), picks))
    return [tuple(map(torch.cat, zip(*parts))) for parts in found]


def name_ranks(text: torch.Tensor, images: torch.Tensor, every: torch.Tensor) -> torch.Tensor:
    """How many text concepts answer better than its own name to the images of each concept [I]; 0: none.

    Args:
        text, images: the two sides of the concepts [I, D], centred unit rows.
        every: all text concepts [T, D], likewise.
    """
    pairs = zip(text.split(512), images.split(512))
    return torch.cat([(v @ every.T > (t * v).sum(1, keepdim=True) + 1e-5).sum(1) for t, v in pairs])


def candidates(
    source: str, concepts: TextConcepts, task: FewShotTask, text_share: float, sizes: Sequence[int], seed: int
) -> Candidates:
    """The candidates of the method, or of one of its controls.

    Args:
        source: "visual": norm((1 - share) visual side + share text side), in every size; "text": the text side alone;
            "images": means of random training images, likewise; "random": random unit vectors, one per text concept.
    """
    text, x = concepts.features, centred_images(task)
    rows, generator = torch.arange(len(text), device=text.device), torch.Generator().manual_seed(seed)
    if source == "visual" and text_share < 1:
        found = cross_modal(text, x, [size for size in sizes if size <= len(x) or size == min(sizes)])
        vectors = [F.normalize((1 - text_share) * v + text_share * text, dim=-1) for v, _ in found]
        return Candidates(torch.cat(vectors), rows.repeat(len(found)), [p for _, k in found for p in k.tolist()])
    if source == "images":
        found = [random_means(len(text), x, size, generator) for size in sizes]
        vectors = torch.cat([v for v, _ in found])
        return Candidates(vectors, rows.repeat(len(found)), [p for _, k in found for p in k.tolist()])
    picks = (text @ x.T).topk(min(3, len(x)), dim=1).indices.tolist()
    if source == "random":
        drawn = torch.randn(text.shape, generator=generator).to(text)
        return Candidates(F.normalize(drawn, dim=-1), rows, picks)
    return Candidates(text, rows, picks)
