"""What an image looks like in terms of concepts."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

KINDS = ("plain", "standardised", "affinity", "space")


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
        self.register_buffer("beta", torch.tensor(float(beta if self.affinity else 0)))  # 0: not an affinity
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
    """Images compared in the space that concepts span: z(f) = norm((f - mean) P), f [B, D] -> [B, R].

    P holds the principal directions of the centred concepts, each weighted by the square root of its singular value
    (relative to the largest), so that directions which concepts share count more and those that no concept speaks of
    count nothing. Without the square root, z would have the inner products of the centred similarities.

    Args:
        groups: sets of vectors [I_g, D]; each is centred by itself and has the same total weight.
        features: training features [J, D]; their mean is taken off images.
    """

    def __init__(self, groups: list[torch.Tensor], features: torch.Tensor):
        super().__init__()
        centred = [g - g.mean(0) for g in groups]
        stacked = torch.cat([g / g.norm().clamp_min(1e-12) for g in centred])
        _, values, directions = torch.linalg.svd(stacked, full_matrices=False)
        kept = values > 1e-5 * values[0]
        weights = (values[kept] / values[0]).sqrt()
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("projection", directions[kept].T * weights)

    @classmethod
    def of(cls, mean: torch.Tensor, projection: torch.Tensor) -> ConceptSpace:
        """A space whose mean [D] and projection [D, R] are known."""
        space = cls.__new__(cls)
        nn.Module.__init__(space)
        space.register_buffer("mean", mean.clone())
        space.register_buffer("projection", projection.clone())
        return space

    @property
    def width(self) -> int:
        return self.projection.shape[1]

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        return F.normalize((f - self.mean) @ self.projection, dim=-1)
