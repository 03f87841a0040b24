"""Sparse concept inference: each class's logit is a sum over at most m concepts.

    logits_n = zero-shot_n + sum_{i in S_n} B_ni r_i,    |S_n| <= m,    r_i = z(f) . z(c_i)

r_i is the similarity of an image and a concept in a concept space z. S_n grows by one concept per round: the one that
lowers the penalised loss most in a Newton step of its own weight, g^2 / (h + penalty), with g and h the first two
derivatives of the loss at weight 0. After each round the weights of all classes are fitted anew, together, by
penalised maximum likelihood, a convex problem. This is orthogonal matching pursuit (Pati et al., 1993) with the
likelihood in place of squares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ccli.fitting.lbfgs import LBFGS

ROUGH = 10  # steps of L-BFGS between rounds
AT_ONCE = 2**17  # numbers per array, which stay in a cache
BLOCK = 1024  # candidates that are looked at together
KEPT = 2**28  # the most squared similarities that are kept from round to round, 1 GiB in float32


class SparseLinear(nn.Module):
    """Similarities to the concepts in use, times sparse weights: z [B, R] -> logits [B, N].

    Args:
        concepts: z(c) of the U concepts in use [U, R]. weight: [N, U], at most m entries per row are not 0.
        chosen: rows of these concepts among the candidates [U].
        penalty: lambda of the fit, which a later fit needs; a number or a tensor without dimensions.
    """

    def __init__(
        self, concepts: torch.Tensor, weight: torch.Tensor, chosen: torch.Tensor, penalty: float | torch.Tensor
    ):
        super().__init__()
        penalty = torch.as_tensor(penalty, dtype=weight.dtype, device=weight.device)
        for name, value in (("concepts", concepts), ("weight", weight), ("chosen", chosen), ("penalty", penalty)):
            self.register_buffer(name, value.clone())

    def take(self, rows: list[int]) -> SparseLinear:
        """The network with these of its concepts alone, and their weights."""
        kept = torch.tensor(rows, dtype=torch.long, device=self.weight.device)
        return SparseLinear(self.concepts[kept], self.weight[:, kept], self.chosen[kept], self.penalty)

    def similarities(self, z: torch.Tensor) -> torch.Tensor:
        """r [B, U]."""
        return z @ self.concepts.T

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.similarities(z) @ self.weight.T


def sparse_path(
    offset: torch.Tensor, z: torch.Tensor, labels: torch.Tensor, concepts: torch.Tensor, names: torch.Tensor,
    penalty: float, most: int,
) -> Iterator[SparseLinear]:  # fmt: skip
    """Networks with 1, 2, ... `most` concepts per class, each fitted; fewer where candidates run out.

    Fits stop after ROUGH steps, close to the weights of the convex problem: they serve to choose the next concept, and
    to compare networks. `refit` goes on to the end.

    Args:
        offset: zero-shot logits of the J training images [J, N], which the network's are added to.
        z: the images in the concept space [J, R]; labels: [J].
        concepts: the candidates in the concept space [C, R]; names: [C], the text concept of each: a class has no
            text concept twice.
        penalty: lambda of lambda / 2 ||B||^2.

    Raises:
        FloatingPointError: features or the loss are not finite.
    """
    if not (torch.isfinite(offset).all() and torch.isfinite(z).all() and torch.isfinite(concepts).all()):
        raise FloatingPointError(
            "sparse concept inference: logits or concepts are not finite; encode the features again"
        )
    classes, groups = offset.shape[1], int(names.max()) + 1 if len(names) else 0
    taken = torch.zeros(classes, groups, dtype=torch.bool, device=z.device)
    columns: list[torch.Tensor] = []  # per round, the candidate of each class [N]
    values: list[torch.Tensor] = []  # per round, its similarities [J, N]
    weight, logits = z.new_zeros(0, classes), offset
    squares = list(_squares(z, concepts)) if len(z) * len(concepts) <= KEPT else None
    for _ in range(min(most, groups)):
        column = _best(logits, z, labels, concepts, squares or _squares(z, concepts), names, taken, penalty)
        taken[torch.arange(classes), names[column]] = True
        columns.append(column)
        values.append(z @ concepts[column].T)
        weight = torch.cat([weight, weight.new_zeros(1, classes)])
        weight, logits = fit_weights(offset, values, labels, weight, penalty, exact=False)
        yield _network(concepts, torch.stack(columns, 1), weight.T, penalty)


def _squares(z: torch.Tensor, concepts: torch.Tensor) -> Iterator[torch.Tensor]:
    """Squared similarities to BLOCK candidates at a time [J, c]: half of a round's time where they are made anew."""
    return ((z @ part.T).square_() for part in concepts.split(BLOCK))


def _best(logits, z, labels, concepts, squares, names, taken, penalty) -> torch.Tensor:
    """The candidate of each class that a Newton step of its own weight gains most with [N]."""
    p = logits.softmax(1)
    slope = (p - F.one_hot(labels, p.shape[1])).T @ z  # [N, R]
    curvature = (p * (1 - p)).T
    best, found = p.new_full((p.shape[1],), -1.0), torch.zeros(p.shape[1], dtype=torch.long, device=p.device)
    for start, block in zip(range(0, len(concepts), BLOCK), squares):
        part = slice(start, start + BLOCK)
        gain = (slope @ concepts[part].T).square_() / (curvature @ block + penalty)  # [N, c]
        value, place = gain.masked_fill_(taken[:, names[part]], -1.0).max(1)
        found, best = torch.where(value > best, place + start, found), value.maximum(best)
    return found


def fit_weights(
    offset: torch.Tensor, values: list[torch.Tensor], labels: torch.Tensor, start: torch.Tensor, penalty: float,
    exact: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Weights [m, N] that minimise sum_j CE(offset_j + sum_k w_k r_jk, y_j) + penalty / 2 ||w||^2, and their logits.

    With `exact` in float64, for the line search cannot tell losses apart that differ in less than float32 holds;
    else ROUGH steps in float32.

    Args:
        offset: [J, N]; values: m of r [J, N], the similarities to each class's own concept; start: [m, N].
    """
    weight = start.clone(memory_format=torch.contiguous_format)
    if exact:
        offset, values, weight = offset.double(), [r.double() for r in values], weight.double()
    optim = LBFGS(
        [weight], max_iter=100 if exact else ROUGH, history_size=10, line_search_fn="strong_wolfe",
        tolerance_grad=1e-5, tolerance_change=1e-9,
    )  # fmt: skip
    rows = max(1, AT_ONCE // offset.shape[1])
    parts = list(zip(offset.split(rows), labels.split(rows), zip(*(r.split(rows) for r in values))))

    @torch.no_grad()
    def objective() -> torch.Tensor:
        weight.grad, loss = penalty * weight, penalty / 2 * weight.square().sum()
        for zero_shot, of, r in parts:
            p, own = _logits(zero_shot, r, weight), of[:, None]
            total = p.logsumexp(1, keepdim=True)
            loss = loss + (total - p.gather(1, own)).sum()
            p.sub_(total).exp_().scatter_add_(1, own, p.new_full(own.shape, -1.0))
            weight.grad += torch.stack([torch.mul(p, x).sum(0) for x in r])
        return loss

    optim.step(objective)
    if not float(objective()) < float("inf"):
        raise FloatingPointError("sparse concept inference: the loss is not finite; check the features and the penalty")
    return weight.to(start), torch.cat([_logits(zero_shot, r, weight) for zero_shot, _, r in parts]).to(start)


def _logits(zero_shot: torch.Tensor, values: Sequence[torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    total = zero_shot.clone()
    for w, r in zip(weight, values):
        total.addcmul_(r, w)
    return total


def refit(network: SparseLinear, offset: torch.Tensor, z: torch.Tensor, labels: torch.Tensor) -> SparseLinear:
    """The network with the weights that are not 0 fitted by its own penalty to the end, in float64.

    Args:
        offset, z, labels: of the training images, as `sparse_path` takes them.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    used = network.weight != 0  # [N, U]
    most = int(used.sum(1).max())
    if not most:
        return network
    columns = used.int().argsort(dim=1, descending=True, stable=True)[:, :most]  # [N, m], a class's own concepts first
    own, start = used.gather(1, columns), network.weight.gather(1, columns)
    r = network.similarities(z)  # [J, U]
    values = [r[:, columns[:, k]] * own[:, k] for k in range(most)]  # 0 where a class has fewer: its weight stays 0
    weight, _ = fit_weights(offset, values, labels, start.T, float(network.penalty))
    weight = torch.zeros_like(network.weight).scatter_(1, columns, weight.T.to(network.weight))
    return SparseLinear(network.concepts, weight, network.chosen, network.penalty)


def _network(concepts: torch.Tensor, columns: torch.Tensor, weight: torch.Tensor, penalty: float) -> SparseLinear:
    """columns, weight: [N, m]."""
    chosen, places = columns.unique(return_inverse=True)
    full = weight.new_zeros(len(columns), len(chosen)).scatter_(1, places, weight)
    return SparseLinear(concepts[chosen], full, chosen, penalty)
