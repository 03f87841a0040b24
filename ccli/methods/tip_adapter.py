"""Tip-Adapter: zero-shot logits plus the votes of a cache of the shots (Zhang et al., ECCV 2022; arXiv 2207.09519).

    logits = scale * f W^T + alpha * exp(-beta (1 - f K^T)) V

Keys K are the shots' features, values V their labels as one-hot rows (the paper's cache model). Tip-Adapter has nothing
to train; Tip-Adapter-F trains the keys. exp(logit_scale) of the model stands where the authors' code has 100.

Facts of the authors' code (gaopengcuhk/Tip-Adapter: main.py, utils.py, configs/): keys are normalised means of raw
features over 10 augmented views; Tip-Adapter-F trains on such views with AdamW (lr 1e-3, eps 1e-4, PyTorch's weight
decay of 0.01), batches of 256, cosine per step, at beta 1. It keeps the epoch that is best on the test set and reports
the better of that and of the searched (beta, alpha); nothing here does.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from ccli.features.task import FewShotTask, Split, unit
from ccli.fitting.selection import at_once, count_right

CHUNK = 2**22  # numbers in the largest array of a search: 16 MiB in float32, and two or three such arrays live at once


class Constants(NamedTuple):
    """alpha: in training, at beta 1; beta_scale, alpha_scale: ends of the search grid; epochs: of Tip-Adapter-F."""

    alpha: float
    beta_scale: float
    alpha_scale: float
    epochs: int


DEFAULT = Constants(1.17, 7, 3, 20)  # the authors' for ImageNet
CONSTANTS = {  # init_alpha, search_scale and train_epoch of the authors' configs/<data set>.yaml
    "imagenet": DEFAULT,
    "caltech101": Constants(3, 12, 5, 20),
    "dtd": Constants(2, 13, 13, 20),
    "eurosat": Constants(2, 12, 10, 100),
    "fgvc_aircraft": Constants(5, 30, 30, 20),
    "food101": Constants(1.17, 10, 10, 20),
    "oxford_flowers": Constants(10, 50, 50, 20),
    "oxford_pets": Constants(1.17, 7, 3, 20),
    "stanford_cars": Constants(3, 20, 10, 20),
    "sun397": Constants(1.17, 12, 10, 20),
    "ucf101": Constants(3, 7, 3, 20),
}


def constants(name: str) -> Constants:
    """The authors' constants for a data set (by the stem of its yaml), or else their ImageNet ones."""
    return CONSTANTS.get(name, DEFAULT)


class TipAdapter(nn.Module):
    """The cache classifier; f [B, D] unit rows -> logits [B, N].

    Args:
        keys: K [J, D], unit rows.
        labels: [J], the classes the keys vote for.
        text_features: W [N, D], unit rows.
        logit_scale: exp(logit_scale) of the model.
        alpha: weight of the votes; at 0 predictions are zero-shot's.
        beta: how fast a key's vote fades with its distance.
        trainable: the keys are a parameter (Tip-Adapter-F); as in the authors' code they need not stay unit rows.
    """

    def __init__(
        self, keys: torch.Tensor, labels: torch.Tensor, text_features: torch.Tensor, logit_scale: float, alpha: float,
        beta: float, trainable: bool = False,
    ):  # fmt: skip
        super().__init__()
        if trainable:
            self.keys = nn.Parameter(keys.clone())
        else:
            self.register_buffer("keys", keys.clone())
        self.register_buffer("labels", labels.clone())
        self.register_buffer("text_features", text_features.clone())
        for name, value in (("logit_scale", logit_scale), ("alpha", alpha), ("beta", beta)):
            self.register_buffer(name, text_features.new_tensor(float(value)))
        self.register_buffer("members", members(labels, len(text_features)), persistent=False)

    def parts(self, f: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Zero-shot logits [B, N] and the affinities f K^T [B, J]."""
        return self.logit_scale * f @ self.text_features.T, f @ self.keys.T

    def votes(self, affinity: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        """exp(-beta (1 - affinity)) V for affinities [B, J]: [B, N].

        V is one-hot, so that the product is a sum over each class's keys: J additions an image, not J N.
        """
        weights = F.pad(torch.exp(-beta * (1 - affinity)), (0, 1))  # [B, J + 1], the last column 0
        return weights[:, self.members].sum(-1)  # [B, N, K] -> [B, N]

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        zero_shot, affinity = self.parts(f)
        return zero_shot + self.alpha * self.votes(affinity, self.beta)


def members(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """The keys of each class [N, K], K those of the largest; J, one past the last key, fills rows of smaller ones."""
    order = torch.argsort(labels, stable=True)
    counts = torch.bincount(labels, minlength=classes)
    starts = counts.cumsum(0) - counts
    sorted_labels = labels[order]
    place = torch.arange(len(labels), device=labels.device) - starts[sorted_labels]  # within the class
    table = torch.full((classes, int(counts.max())), len(labels), device=labels.device)
    table[sorted_labels, place] = order
    return table


def build(task: FewShotTask, alpha: float, beta: float, trainable: bool) -> TipAdapter:
    """A head whose keys are unit(mean over views of raw features), or the features where there are no views.

    Raw features are views * view_norms, so that longer ones weigh more, as in the authors' code (build_cache_model);
    the paper has one feature an image.

    Raises:
        CcliError: a key is not finite, or zero.
    """
    split = task.train
    keys = split.features
    if split.views is not None:
        raw = split.views if split.view_norms is None else split.views * split.view_norms[..., None]  # [V, J, D]
        keys = raw.mean(0)
    keys = unit(keys, "features of the shots")
    return TipAdapter(keys, split.labels, task.text_features, task.logit_scale, alpha, beta, trainable)


def from_state(state: dict[str, torch.Tensor]) -> TipAdapter:
    """Rebuild a head from its state_dict; its keys are not trainable."""
    return TipAdapter(**state)


def grid(
    beta_scale: float, alpha_scale: float, steps: tuple[int, int] = (200, 20)
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The authors' search grid (search_hp): `steps` values of beta and of alpha, evenly from 0.1 to below the scale."""
    ends = zip((beta_scale, alpha_scale), steps)
    betas, alphas = (tuple(0.1 + i * (scale - 0.1) / count for i in range(count)) for scale, count in ends)
    return betas, alphas


def search(
    pairs: Iterable[tuple[TipAdapter, Split]], betas: Sequence[float], alphas: Sequence[float], chunk: int = CHUNK
) -> torch.Tensor:
    """Correct answers at each point of a grid, summed over pairs of a head and images: [len(betas), len(alphas)].

    The beta and alpha of the heads are not used or changed. One pair is in memory at a time.

    Args:
        chunk: on a CPU, the most numbers per batch of images, at J per image; batches of betas have at most a
            sixteenth, at N per image and beta, which fits in a cache; at least one of each.
    """
    counts = torch.zeros(len(betas), len(alphas), dtype=torch.long)
    for head, split in pairs:
        most = at_once(chunk, head)
        size = max(1, most // max(len(head.labels), 16 * len(head.text_features)))
        for f, labels in zip(split.features.split(size), split.labels.split(size)):
            counts += _count(head, f, labels, head.beta.new_tensor(betas), alphas, most // 16).cpu()
    return counts


@torch.no_grad()
def _count(
    head: TipAdapter, f: torch.Tensor, labels: torch.Tensor, betas: torch.Tensor, alphas: Sequence[float], chunk: int
) -> torch.Tensor:
    """The number of correct answers for f [b, D]: [len(betas), len(alphas)]."""
    rank, layers = _layers(head.members, len(head.labels))
    zero_shot, affinity = head.parts(f)
    distances = affinity.T[torch.cat(layers)].neg_().add_(1).split([len(layer) for layer in layers])  # [J, b] in all
    del affinity
    zero_shot, rows = zero_shot.T.contiguous(), []
    for some in betas.split(max(1, chunk // zero_shot.numel())):
        votes = _votes(distances, some, zero_shot.shape)[rank]
        rows.append(count_right(zero_shot, votes, labels, alphas))
    return torch.cat(rows)


def _layers(table: torch.Tensor, keys: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """`members` transposed: the first keys of all classes, then the second keys of classes with two, and so on.

    Classes are ordered from the largest to the smallest, so that a layer belongs to the first classes, without gaps.

    Returns:
        The place of each class in that order [N], and the layers, of J keys in all.
    """
    order = (table < keys).sum(1).argsort(descending=True, stable=True)
    return order.argsort(), [layer[layer < keys] for layer in table[order].T]


def _votes(distances: Sequence[torch.Tensor], betas: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Sums of exp(-beta distance) over layers of keys [<= N, b], at betas [c]: [N, c, b], for a shape (N, b).

    Keys are added in their order, as in the product with V, so that the rounding is the same.
    """
    votes = betas.new_zeros(shape[0], len(betas), shape[1])
    weights = torch.empty_like(votes)
    for layer in distances:
        out = torch.mul(layer[:, None], -betas[:, None], out=weights[: len(layer)])
        votes[: len(layer)] += out.exp_()
    return votes


def choose(counts: torch.Tensor, betas: Sequence[float], alphas: Sequence[float]) -> tuple[float, float]:
    """The (beta, alpha) with the most correct answers; ties go to the smallest alpha, then the smallest beta.

    That is the one nearest zero-shot. The authors' loop keeps the first best: the smallest beta, then alpha.
    """
    best = (counts == counts.max()).nonzero().tolist()
    alpha, beta = min((alphas[j], betas[i]) for i, j in best)
    return beta, alpha
