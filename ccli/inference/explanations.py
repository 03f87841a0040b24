"""The parts of a CCLI logit: zero-shot, class texts and concepts, which add up to it.

Around an image the network is linear in its input, r -> A r + c: a single layer everywhere, a network with a hidden
layer as long as the same units are active. Where images are compared with concepts one by one, concept i has the part
A_i r_i. In a concept space, r is (f - m) P / |(f - m) P|, with the columns of P along the principal directions of the
rows X [I, D] of centred concepts. P = X^T M, with M the smallest such matrix, so that concept i has the part
x_i . (f - m) times what the network makes of row i of M. In a sparse network a concept has its weight times its
similarity. The remainder (biases, rounding) is the `constant`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

from ccli.concepts.gallery import Concepts
from ccli.concepts.representation import ConceptSpace, centred_rows
from ccli.methods.concept_inference import ConceptInference
from ccli.methods.sparse_inference import SparseLinear


@dataclass(frozen=True)
class Parts:
    """Parts of one number for each of B images: zero_shot + class_texts + concepts + constant = total.

    total, zero_shot, constant: [B]; class_texts: [B, N]; concepts: [B, I]; cosines: [B, I], of images and concepts (in
    a concept space both centred): a concept may count for a class because the image has it, or because it lacks it.
    """

    total: torch.Tensor
    zero_shot: torch.Tensor
    class_texts: torch.Tensor
    concepts: torch.Tensor
    constant: torch.Tensor
    cosines: torch.Tensor

    def row(self, k: int) -> Parts:
        """The parts for image k."""
        return Parts(*(x[k] for x in vars(self).values()))

    def __sub__(self, other: Parts) -> Parts:
        return Parts(*(a - b for a, b in zip(vars(self).values(), vars(other).values())))


@dataclass(frozen=True)
class Reason:
    """A concept with its part of a number, the image's cosine with it, and the training images that made it.

    concept: its title. Of a sparse network: synonyms, other names of it; better_names, how many text concepts answer
    better than its name to its images.
    """

    concept: str
    part: float
    cosine: float
    images: list[str]
    synonyms: list[str] = field(default_factory=list)
    better_names: int | None = None


@dataclass(frozen=True)
class Reasons:
    """The parts of one number: zero_shot + class_texts + constant + others + the concepts' parts = total.

    what: a class, or two; others: the sum over the concepts that are not listed; kinds: the sum over the concepts of
    each kind, listed or not, largest first.
    """

    what: str
    total: float
    zero_shot: float
    class_texts: float
    constant: float
    others: float
    concepts: list[Reason]
    kinds: dict[str, float]


def reasons(what: str, parts: Parts, concepts: Concepts, most_for: int, most_against: int) -> Reasons:
    """The strongest concepts of one image by name, and the sum of the others."""
    chosen = strongest(parts.concepts, most_for, most_against)
    listed = []
    for k in chosen:
        images = [concepts.images[row] for row in concepts.picks[k]]
        synonyms = list(concepts.synonyms[k]) if concepts.synonyms else []
        better = concepts.ranks[k] if concepts.ranks else None
        part, cosine = float(parts.concepts[k]), float(parts.cosines[k])
        listed.append(Reason(concepts.title(k), part, cosine, images, synonyms, better))
    others = parts.concepts.sum() - parts.concepts[chosen].sum()
    sums = (parts.total, parts.zero_shot, parts.class_texts.sum(), parts.constant, others)
    kinds = dict.fromkeys(concepts.kinds, 0.0)
    for kind, part in zip(concepts.kinds, parts.concepts.tolist()):
        kinds[kind] += part
    return Reasons(what, *map(float, sums), listed, dict(sorted(kinds.items(), key=lambda one: -one[1])))


def strongest(values: torch.Tensor, most_for: int, most_against: int) -> list[int]:
    """The indices of the largest values above 0 and of the smallest below 0, largest first."""
    order = values.argsort(descending=True, stable=True)
    up, down = order[:most_for], order[max(len(order) - most_against, 0) :]
    return [int(k) for k in up if values[k] > 0] + [int(k) for k in down if values[k] < 0]


@torch.no_grad()
def explain(head: ConceptInference, rows: torch.Tensor, f: torch.Tensor, direction: torch.Tensor) -> Parts:
    """The parts of direction . logits(f), in float64.

    Args:
        rows: of the concepts [I, D]: in a concept space their `centred_rows`, else the vectors that images are compared
            with.
        f: images [B, D], unit rows.
        direction: [B, N]; a single 1 in a row explains that class's logit, 1 and -1 the difference of two.
    """
    f, direction = f.to(rows), direction.to(rows)
    total = (direction * head(f)).double().sum(1)
    f, direction, rows, text = (x.double() for x in (f, direction, rows, head.text_features))
    zero_shot = head.zero_shot_scale.double() * ((direction @ text) * f).sum(1)
    if isinstance(head.network, SparseLinear):
        cosines = (head.representation(f.to(head.text_features)) @ head.network.concepts.T).double()
        class_texts, concepts = f.new_zeros(len(f), len(text)), cosines * (direction @ head.network.weight.double())
    elif isinstance(head.representation, ConceptSpace):
        class_texts, concepts, cosines = _in_space(head, rows, f, direction)
    else:
        r = head.representation(f.to(head.text_features)).double()
        class_texts, concepts = f.new_zeros(len(f), len(text)), _slope(head.network, r, direction) * r
        cosines = f @ rows.T
    class_texts, concepts = class_texts * head.alpha, concepts * head.alpha
    constant = total - zero_shot - class_texts.sum(1) - concepts.sum(1)
    return Parts(total, zero_shot, class_texts, concepts, constant, cosines)


def _in_space(
    head: ConceptInference, rows: torch.Tensor, f: torch.Tensor, direction: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(class texts' parts [B, N], concepts' [B, I], cosines [B, I]), without alpha."""
    space, text = head.representation, head.text_features.double()
    moved = f - space.mean.double()  # [B, D]
    groups = {"texts": centred_rows(text), "concepts": rows}
    if len(space.widths) == 1:
        del groups["texts" if len(rows) else "concepts"]
    projections = space.projection.double().split(space.widths.tolist(), dim=1)
    places = [moved @ p for p in projections]
    shares = [1 / (x.norm(dim=1, keepdim=True).clamp_min(1e-12) * len(places) ** 0.5) for x in places]
    z = torch.cat([x * share for x, share in zip(places, shares)], dim=1)
    slopes = _slope(head.network, z, direction).split(space.widths.tolist(), dim=1)
    parts = {"texts": f.new_zeros(len(f), len(text)), "concepts": f.new_zeros(len(f), len(rows))}
    for (name, x), p, share, slope in zip(groups.items(), projections, shares, slopes):
        parts[name] = (moved @ x.T) * ((slope * share) @ _coefficients(x, p).T)
    cosines = F.normalize(moved, dim=1) @ F.normalize(rows, dim=1).T
    return parts["texts"], parts["concepts"], cosines


def _coefficients(rows: torch.Tensor, projection: torch.Tensor) -> torch.Tensor:
    """M [I, R], the smallest with rows^T M = projection; rows [I, D], projection [D, R] as `axes` makes it of them.

    With rows = U S V^T and projection = V E, M = U S^-1 E = rows V S^-2 E.
    """
    lengths = projection.norm(dim=0)  # E
    seen = rows @ (projection / lengths)  # U S
    return seen * (lengths / seen.square().sum(0))


def _slope(network: nn.Module, r: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """direction . A [B, R], at r [B, R]: of a linear layer, or of two with a ReLU between."""
    if isinstance(network, nn.Linear):
        return direction @ network.weight.double()
    first, _, second = network
    on = F.linear(r, first.weight.double(), first.bias.double()) > 0
    return ((direction @ second.weight.double()) * on) @ first.weight.double()
