"""Representations of an image by concepts: similarities to them, or coordinates in the space that they span."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ccli.concepts.discovery import ConceptVectors
from ccli.concepts.distinctiveness import distinctiveness
from ccli.features.task import FewShotTask

KINDS = ("plain", "standardised", "affinity", "space", "cosine")


class Similarity(nn.Module):
    """r(x) = similarities of an image to all concepts: f [B, D] -> [B, I].

    Args:
        concepts: [I, D], unit rows.
        features: training features [J, D] that give mean and deviation; needed by "standardised" alone.
        kind: "plain": s = f . c; "standardised": (s - mean) / deviation; "affinity": exp(-beta (1 - s)).
    """

    def __init__(self, concepts: torch.Tensor, features: torch.Tensor, kind: str = "plain", beta: float = 5.0):
        super().__init__()
        self.affinity = kind == "affinity"
        s = features @ concepts.T
        deviation = s.std(0, correction=0).clamp_min(1e-6)
        self.register_buffer("concepts", concepts.clone())
        beta = float(beta if self.affinity else 0)  # 0: not an affinity
        self.register_buffer("beta", torch.tensor(beta, device=concepts.device))
        self.register_buffer("mean", s.mean(0) if kind == "standardised" else torch.zeros_like(deviation))
        self.register_buffer("deviation", deviation if kind == "standardised" else torch.ones_like(deviation))

    @property
    def width(self) -> int:
        return len(self.concepts)

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        s = f @ self.concepts.T  # [B, I]
        if self.affinity:
            return torch.exp(-self.beta * (1 - s))
        return (s - self.mean) / self.deviation


class ConceptSpace(nn.Module):
    """Images compared in the spaces that groups of concepts span: f [B, D] -> [B, R].

        z(f) = [norm((f - mean) P_1), ..., norm((f - mean) P_G)] / sqrt(G),    P_g from `axes`

    The inner product of two images in it is the mean of their cosines in the G spaces.

    Args:
        mean: of the training features [D]; subtracted from images.
        projections: P_g [D, R_g].
    """

    def __init__(self, mean: torch.Tensor, projections: Sequence[torch.Tensor]):
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("projection", torch.cat(list(projections), dim=1))
        self._widths = [p.shape[1] for p in projections]  # the buffer's: to read it would wait for a GPU
        self.register_buffer("widths", torch.tensor(self._widths, device=mean.device))

    @classmethod
    def from_buffers(cls, mean: torch.Tensor, projection: torch.Tensor, widths: torch.Tensor) -> ConceptSpace:
        return cls(mean, projection.split(widths.tolist(), dim=1))

    @property
    def width(self) -> int:
        return self.projection.shape[1]

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        parts = ((f - self.mean) @ self.projection).split(self._widths, dim=-1)
        return torch.cat([F.normalize(part, dim=-1) for part in parts], dim=-1).div_(len(parts) ** 0.5)


def centred_rows(vectors: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Concepts [I, D] minus their mean, as unit rows times the weights [I]; a concept that is the mean: zeros."""
    rows = vectors - vectors.mean(0)
    lengths = rows.norm(dim=-1, keepdim=True)
    rows = torch.where(lengths > 1e-6, rows / lengths.clamp_min(1e-6), 0)
    return rows if weights is None else rows * weights[:, None]


def axes(vectors: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """The principal directions of centred concepts, each times the square root of its singular value (largest: 1).

    Directions that many concepts share weigh more, and directions without concepts weigh nothing. Without the square
    root, inner products of images would be those of their similarities to the concepts.

    Args:
        vectors: concepts [I, D]; weights: [I].

    Returns:
        [D, R], R the rank.
    """
    rows = centred_rows(vectors, weights)
    _, values, directions = torch.linalg.svd(rows, full_matrices=False)
    kept = values > 1e-5 * values[0]
    return directions[kept].T * (values[kept] / values[0]).sqrt()


def build(
    kind: str, concepts: ConceptVectors, task: FewShotTask, beta: float = 5.0, class_axes: bool = True,
    distinctive: float = 0.0,
) -> nn.Module:  # fmt: skip
    """A representation of images on concepts.

    Args:
        kind: one of KINDS; "cosine" is the centred feature, as a unit row.
        concepts: from `concept_vectors`; without any, a "space" is that of the class texts, or without `class_axes` the
            centred feature itself.
        beta: sharpness of "affinity".
        class_axes: "space": whether the class texts are a group of concepts, too.
        distinctive: "space": the power of a concept's distinctiveness that its row is weighted by; 0 for none.
    """
    features = task.train.features
    if kind == "cosine":
        return ConceptSpace(features.mean(0), [torch.eye(features.shape[1]).to(features)])
    if kind != "space":
        return Similarity(concepts.vectors, features, kind, beta)
    groups = [axes(task.text_features)] if class_axes else []
    if len(concepts.vectors):
        weights = distinctiveness(concepts.judges, task) ** distinctive if distinctive else None
        groups.append(axes(concepts.vectors, weights))
    return ConceptSpace(features.mean(0), groups or [torch.eye(features.shape[1]).to(features)])
