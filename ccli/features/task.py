"""A few-shot task in feature space: the input of every method, from images or from a bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from ccli.errors import CcliError

SMALLEST = 1e-12  # the shortest row that F.normalize scales to length one


@dataclass(frozen=True)
class Split:
    """Labelled image features. Rows are unit length.

    features: [n, D]; labels: [n]; views: [V, n, D], augmented views of the same images, or None where there are none;
    view_norms: [V, n], the lengths of the views' features before normalisation, 1 where None.
    """

    features: torch.Tensor
    labels: torch.Tensor
    views: torch.Tensor | None = None
    view_norms: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: torch.Tensor) -> Split:
        views, norms = (None if x is None else x[:, rows] for x in (self.views, self.view_norms))
        return Split(self.features[rows], self.labels[rows], views, norms)

    def class_means(self, classes: int) -> torch.Tensor:
        """The mean image of each class [N, D], unit rows; for a class without images the mean of all images."""
        sums = self.features.new_zeros(classes, self.features.shape[1]).index_add_(0, self.labels, self.features)
        sums[torch.bincount(self.labels, minlength=classes) == 0] = self.features.mean(0)
        return F.normalize(sums, dim=-1)

    def to(self, device: torch.device | str) -> Split:
        return Split(*(None if x is None else x.to(device) for x in vars(self).values()))


@dataclass(frozen=True)
class FewShotTask:
    """Classes with their text features, the shots, and the validation and test images.

    text_features: [N, D] unit rows, or None (a bundle without); text_norms: [N], their length before normalisation.
    logit_scale: exp(logit_scale) of the model. concept_features: [I, D] unit rows of text concepts, or None;
    concept_kinds: [I], or () where they have none.
    """

    classnames: tuple[str, ...]
    text_features: torch.Tensor | None
    text_norms: torch.Tensor | None
    logit_scale: float
    train: Split
    val: Split | None
    test: Split
    concepts: tuple[str, ...] = ()
    concept_features: torch.Tensor | None = None
    concept_kinds: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.classnames)

    @property
    def shots(self) -> int:
        """The number of training images of the smallest class that is not empty."""
        counts = torch.bincount(self.train.labels, minlength=self.num_classes)
        return int(counts[counts > 0].min()) if len(self.train) else 0

    def of_classes(self, kept: dict[int, int]) -> FewShotTask:
        """The part of the task with the classes `kept` (old label -> new label), rows in their order."""
        old = torch.tensor(list(kept), device=self.train.labels.device)

        def part(split: Split | None) -> Split | None:
            if split is None:
                return None
            split = split.take(torch.isin(split.labels, old))
            return replace(split, labels=old.new_tensor([kept[label] for label in split.labels.tolist()]))

        return replace(
            self, classnames=tuple(self.classnames[label] for label in kept),
            text_features=None if self.text_features is None else self.text_features[old],
            text_norms=None if self.text_norms is None else self.text_norms[old],
            train=part(self.train), val=part(self.val), test=part(self.test),
        )  # fmt: skip

    def of_concepts(self, rows: torch.Tensor) -> FewShotTask:
        """The same task with a part of its text concepts."""
        if self.concept_features is None:
            return self
        names, kinds = (tuple(x[k] for k in rows.tolist()) if x else () for x in (self.concepts, self.concept_kinds))
        return replace(self, concepts=names, concept_kinds=kinds, concept_features=self.concept_features[rows])

    def fold(self, kept: torch.Tensor, held: torch.Tensor) -> tuple[FewShotTask, Split]:
        """A task with the `kept` training rows and no validation set, and the `held` rows to choose on."""
        return replace(self, train=self.train.take(kept), val=None), self.train.take(held)

    def to(self, device: torch.device | str) -> FewShotTask:
        movable = {name: x for name, x in vars(self).items() if isinstance(x, Split | torch.Tensor)}
        return replace(self, **{name: x.to(device) for name, x in movable.items()})


def unit(x: torch.Tensor, what: str = "features") -> torch.Tensor:
    """Rows scaled to length one; x: [..., D].

    Raises:
        CcliError: a row is not finite, or zero.
    """
    if not torch.isfinite(x).all():
        raise CcliError(f"{what} hold values that are not finite; encode them again")
    if not x.numel():
        return x
    lengths = x.norm(dim=-1, keepdim=True)
    unsafe = ~((lengths > SMALLEST) & (lengths < torch.inf))
    if unsafe.any():  # their squares overflow or underflow
        largest = x.abs().amax(dim=-1, keepdim=True)
        if not largest.all():
            raise CcliError(f"{what} hold a row of zeros, which has no direction; encode them again")
        x = torch.where(unsafe, x / largest, x)
    return F.normalize(x, dim=-1)
