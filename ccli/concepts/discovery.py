"""Visual concepts: counterparts of text concepts in the training images."""

from typing import NamedTuple

import torch
from torch.nn import functional as F

SOURCES = ("visual", "text", "random", "images", "features", "none")


def discover(concepts: torch.Tensor, features: torch.Tensor, top_k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For each text concept, the normalised mean of the images most similar to it.

    c_i = norm(mean of f_j, j in T_i), T_i the top K of t_i . f_j (CCLI, "visual concepts").

    Args:
        concepts: text concepts t [I, D], unit rows.
        features: training images f [J, D], unit rows.
        top_k: K, clipped to J.

    Returns:
        Visual concepts [I, D], unit rows, and the rows of the images averaged for each [I, K], best first.
    """
    k = min(top_k, len(features))
    picks = torch.cat([(chunk @ features.T).topk(k, dim=1).indices for chunk in concepts.split(512)])
    return F.normalize(features[picks].mean(1), dim=-1), picks


def random_rows(count: int, wanted: int) -> torch.Tensor:
    """`wanted` of `count` rows at random (0: all), in order; a larger sample contains every smaller one."""
    if not 0 < wanted < count:
        return torch.arange(count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[:wanted].sort().values


def random_means(
    count: int, features: torch.Tensor, top_k: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `discover`, with images picked at random: means [count, D], unit rows, and picks [count, K]."""
    order = torch.rand(count, len(features), generator=generator).argsort(dim=1)[:, : min(top_k, len(features))]
    return F.normalize(features[order.to(features.device)].mean(1), dim=-1), order


def mix(vectors: torch.Tensor, concepts: torch.Tensor, text_share: float) -> torch.Tensor:
    """Cross-modal concepts [I, D]: (1 - share) of a vector and share of its text concept.

    Both are first centred and normalised, which removes the gap between image and text features.
    """
    if text_share == 0:
        return vectors
    sides = [F.normalize(x - x.mean(0), dim=-1) for x in (vectors, concepts)]
    return F.normalize((1 - text_share) * sides[0] + text_share * sides[1], dim=-1)


class ConceptVectors(NamedTuple):
    """The vectors that images are compared with, and the features that their distinctiveness is computed from."""

    vectors: torch.Tensor  # [I, D], unit rows
    judges: tuple[torch.Tensor, ...]  # each [I, D]: the two sides of a concept, or the vectors themselves


def concept_vectors(
    source: str, concepts: torch.Tensor, features: torch.Tensor, top_k: int, seed: int, text_share: float = 0.0
) -> ConceptVectors:
    """The vectors that images are compared with: the method's, or one of its controls.

    Args:
        source: "visual" (the method): visual concepts; "text": the text concepts themselves; "random": random unit
            vectors; "images": means of `top_k` random training images in place of visual concepts; "features": the axes
            of feature space, so that the representation is the feature itself; "none": no vectors at all.
        text_share: of the text concept in the vectors of "visual" and "images" (see `mix`); at 1 these are the text
            concepts, and visual concepts count in the distinctiveness alone.

    Raises:
        ValueError: an unknown source.
    """
    generator = torch.Generator().manual_seed(seed)
    if source == "visual":
        vectors, _ = discover(concepts, features, top_k)
    elif source == "images":
        vectors, _ = random_means(len(concepts), features, top_k, generator)
    elif source == "text":
        vectors = concepts
    elif source == "random":
        vectors = F.normalize(torch.randn(concepts.shape, generator=generator).to(concepts), dim=-1)
    elif source == "features":
        vectors = torch.eye(features.shape[1]).to(features)
    elif source == "none":
        vectors = concepts[:0]
    else:
        raise ValueError(f"unknown source {source!r}; use one of {', '.join(SOURCES)}")
    if source in ("visual", "images"):
        return ConceptVectors(mix(vectors, concepts, text_share), (vectors, concepts))
    return ConceptVectors(vectors, (vectors,))
