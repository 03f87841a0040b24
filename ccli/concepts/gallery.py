"""A classifier's concepts for people to look at: names, how distinctive they are, the images behind them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

CLASS_NAME = "class name"  # the kind of a class name among the concepts
NAMED = 3  # a name is claimed where fewer other texts than this answer to the concept's images as well or better


@dataclass(frozen=True)
class Concepts:
    """The I concepts of a classifier.

    names, kinds: [I]; rows: [I, D], the vectors that images are compared with, in a concept space centred and weighted;
    distinctiveness: [I], 0 to 1; picks: for each concept the training images that made it (for a text concept, those
    most similar to it), best first; images, labels: of all training images, "" where there is no file. Of a sparse
    network: ranks: [I], how many text concepts answer better than its name to the images of each; synonyms: [I], the
    names of the concepts that were merged into it.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: torch.Tensor
    distinctiveness: torch.Tensor
    picks: list[list[int]]
    images: list[str]
    labels: list[int]
    ranks: list[int] = field(default_factory=list)
    synonyms: list[list[str]] = field(default_factory=list)

    def doubtful(self, k: int) -> bool:
        """Whether the name of concept k says more than its images show; a class name always does.

        Names that were merged into it fit as well.
        """
        fit = self.ranks[k] + len(self.synonyms[k]) if self.ranks else 0
        return fit >= NAMED or self.kinds[k] == CLASS_NAME

    def title(self, k: int) -> str:
        """What concept k is called: its name, or "looks like NAME" where it is doubtful."""
        return f"looks like {self.names[k]}" if self.doubtful(k) else self.names[k]

    def take(self, rows: list[int]) -> Concepts:
        """The gallery of these concepts alone, with all training images."""
        parts = {name: [getattr(self, name)[k] for k in rows] for name in ("names", "kinds", "picks")}
        parts |= {name: [x[k] for k in rows] for name in ("ranks", "synonyms") if (x := getattr(self, name))}
        parts |= {name: tuple(parts[name]) for name in ("names", "kinds")}
        return replace(self, rows=self.rows[rows], distinctiveness=self.distinctiveness[rows], **parts)
