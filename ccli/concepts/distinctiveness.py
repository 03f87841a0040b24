"""Distinctiveness: how well a concept separates the classes."""

from collections.abc import Sequence

import torch

from ccli.features.task import FewShotTask


def distinctiveness(judges: Sequence[torch.Tensor], task: FewShotTask) -> torch.Tensor:
    """A number from 0 to 1 for each concept [I]: the geometric mean over its sides.

    Args:
        judges: sides of the concepts, each [I, D], such as visual and text concepts; each is centred, which removes
            the part that all concepts share.
        task: its training images, or its class texts, are compared with the concepts.
    """
    found = torch.stack([_of_one_side(vectors - vectors.mean(0), task) for vectors in judges]).log().mean(0).exp()
    return found if found.any() else torch.ones_like(found)  # no concept separates the classes


def _of_one_side(vectors: torch.Tensor, task: FewShotTask) -> torch.Tensor:
    """The share of the variance of images' similarities that lies between classes [I].

    With a single image per class the variance within classes is unknown; then it is the variance of the class texts'
    similarities, as a share of the largest.
    """
    if len(task.train) > len(task.train.labels.unique()):
        return intraclass_correlation(task.train.features @ vectors.T, task.train.labels)
    spread = (task.text_features @ vectors.T).var(0, correction=0)
    return _share(spread, spread.max())


def intraclass_correlation(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """ICC(1), one-way random effects: sigma_between^2 / (sigma_between^2 + sigma_within^2), 0 where that is negative.

    sigma_within^2 = MSW, sigma_between^2 = max(0, MSB - MSW) / n0, with n0 = (J - sum_c n_c^2 / J) / (N - 1), the size
    of a class where all have the same. Source: P. Shrout and J. Fleiss, Intraclass correlations, Psychological
    Bulletin 86 (1979); n0 for unequal classes: R. A. Fisher's analysis of variance.

    Args:
        values: [J, I], of images; labels: [J]. At least two classes, and one class with two images.

    Returns:
        [I], each in [0, 1]; 0 where a column is constant.
    """
    present, index, counts = labels.unique(return_inverse=True, return_counts=True)
    counts = counts.to(values.dtype)
    total, classes = len(labels), len(present)
    means = values.new_zeros(classes, values.shape[1]).index_add_(0, index, values) / counts[:, None]
    within = (values - means[index]).square().sum(0) / (total - classes)
    if classes == 1:
        return torch.zeros_like(within)
    between = (counts[:, None] * (means - values.mean(0)).square()).sum(0) / (classes - 1)
    size = (total - float(counts.square().sum()) / total) / (classes - 1)
    between = (between - within).clamp_min(0) / size
    return _share(between, between + within)


def _share(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """0 where the whole variance is that of rounding."""
    return torch.where(whole > 1e-12, part / whole.clamp_min(1e-12), 0)
