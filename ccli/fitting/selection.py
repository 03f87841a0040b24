"""Hyper-parameters chosen without test labels.

Protocols: "validation" (the few-shot validation set; without one, stratified cross-validation on the shots; at one shot
without one, the constants), "fixed" (always the constants), "paper" (the test set, as many authors did; marked in
tables).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch

from ccli.errors import check_choice
from ccli.features.task import FewShotTask, Split
from ccli.fitting.calibration import NOT_FINITE
from ccli.results.schema import PROTOCOLS

MAX_FOLDS = 4
ENOUGH_HELD = 4000  # images held out, after which no more folds are fitted
HELD_OUT = ("validation", "cross-validation", "test")  # the values of `selected_by` that choose on images
TEMPERATURES = tuple(1.1**k for k in range(-16, 17))  # 0.22 to 4.6
CHUNK = 2**18  # numbers per array of logits, 1 MiB in float32, which fits in a cache


def selected_by(protocol: str, task: FewShotTask) -> str:
    """What the protocol chooses on: "validation", "cross-validation", "default" (the constants), "fixed" or "test".

    Raises:
        SettingError: an unknown protocol.
    """
    check_choice("protocol", protocol, PROTOCOLS)
    if protocol != "validation":
        return {"fixed": "fixed", "paper": "test"}[protocol]
    if task.val is not None and len(task.val):
        return "validation"
    return "cross-validation" if task.shots >= 2 else "default"


def folds(labels: torch.Tensor, count: int, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Stratified folds of training rows: `count` pairs (kept rows, held-out rows)."""
    from sklearn.model_selection import StratifiedKFold

    splitter = StratifiedKFold(count, shuffle=True, random_state=max(seed, 0))
    pairs = splitter.split(np.zeros(len(labels)), labels.cpu().numpy())
    return [(torch.as_tensor(a), torch.as_tensor(b)) for a, b in pairs]


def splits(how: str, task: FewShotTask, seed: int) -> Iterator[tuple[FewShotTask, Split]]:
    """Pairs of a task to fit on and images to choose on, which are not in its shots; `how` as `selected_by` gives it.

    The task is the whole one, or has a part of the shots in cross-validation; where constants are kept, no pair. Of
    many training images some folds suffice: none comes after ENOUGH_HELD images were held out.
    """
    if how == "cross-validation":
        device, done = task.train.labels.device, 0
        for kept, held in folds(task.train.labels, min(task.shots, MAX_FOLDS), seed):
            if done < ENOUGH_HELD:
                yield task.fold(kept.to(device), held.to(device))
            done += len(held)
    elif how in ("validation", "test"):
        yield task, task.val if how == "validation" else task.test


def held_out(
    how: str, task: FewShotTask, model, fit: Callable[[FewShotTask], object], seed: int
) -> Iterator[tuple[object, Split]]:
    """Pairs of a fitted model and images that its fit has not seen.

    Args:
        how: as `selected_by` gives it.
        model: fitted on the whole task.
        fit: makes a model from a task; called on each fold, so that everything made from the shots is made anew.
    """
    for part, images in splits(how, task, seed):
        yield model if part is task else fit(part), images


def choose(candidates: Sequence[float], scores: Sequence[float]) -> float:
    """The candidate with the best score; ties go to the smallest, which is nearest zero-shot."""
    best = max(scores)
    return min(c for c, score in zip(candidates, scores) if score == best)


def score(
    pairs: Iterable[tuple[object, Split]], weights: Sequence[float], criterion: str = "accuracy", chunk: int = CHUNK
) -> list[float]:
    """The score on held-out images for each weight w of a head's second part: logits are first + w second.

    Args:
        pairs: heads, whose `parts(f)` returns both parts [b, N] for f [b, D], and images; one pair is in memory at a
            time.
        criterion: "accuracy" (correct answers) or "likelihood" (`log_likelihoods`), over the images of all pairs.
        chunk: the most numbers in a batch of features or of logits, on a CPU.
    """
    total = torch.zeros(())
    for head, split in pairs:
        size = max(1, at_once(chunk, head) // max(split.features.shape[1], len(head.text_features)))
        for f, labels in zip(split.features.split(size), split.labels.split(size)):
            with torch.no_grad():
                first, second = head.parts(f)
                if criterion == "accuracy":
                    scores = count_right(first.T, second.T[:, None], labels, weights).T  # [A, 1]
                else:
                    scores = torch.stack([log_likelihoods(first + w * second, labels) for w in weights])  # [A, K]
                total = total + scores.cpu()
    return total.amax(1).tolist()


def at_once(chunk: int, head: torch.nn.Module) -> int:
    """The most numbers in an array: what a CPU's cache holds; more on a GPU, where each operation starts slowly."""
    return chunk if head.text_features.device.type == "cpu" else 16 * chunk


def count_right(
    first: torch.Tensor, second: torch.Tensor, labels: torch.Tensor, weights: Sequence[float]
) -> torch.Tensor:
    """The number of images whose label is the argmax of first + w second (of ties the first): [c, len(weights)].

    Most images are right, or wrong, at every weight; `_throughout` finds them. The others are right where the logit of
    their class is above the largest of the rest: a maximum is several times as fast as an argmax, which only ties need.

    Args:
        first: [N, b]; second: [N, c, b], c candidates; labels: [b].
    """
    always, never = _throughout(first, second, labels, min(weights), max(weights))
    depends = (~(always | never)).flatten().nonzero()[:, 0]  # u of the c b: on the weight
    sets, images = depends // len(labels), depends % len(labels)
    first, second = first.index_select(1, images).T, second.flatten(1).index_select(1, depends).T
    first, second, labels = first.contiguous(), second.contiguous(), labels[images]  # [u, N], [u, N], [u]
    own_first, own_second = (x.gather(1, labels[:, None])[:, 0] for x in (first, second))
    own = own_first + second.new_tensor(weights)[:, None] * own_second  # [A, u]
    others = first.scatter(1, labels[:, None], -torch.inf)
    logits, best = torch.empty_like(second), torch.empty_like(own)
    for k, w in enumerate(weights):
        torch.amax(torch.mul(second, w, out=logits).add_(others), 1, out=best[k])
    right = own > best
    tied = ~right & ~(own < best)  # or not a number
    for k in tied.any(1).nonzero()[:, 0].tolist():
        rows = tied[k]
        right[k, rows] = (first[rows] + weights[k] * second[rows]).argmax(1) == labels[rows]
    counts = always.sum(1).repeat(len(weights), 1)
    return counts.index_add_(1, sets, right.long()).T


def _throughout(
    first: torch.Tensor, second: torch.Tensor, labels: torch.Tensor, low: float, high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks of the images that are right, and wrong, at all weights from low to high: two of [c, b]; shapes as above.

    Logits are linear in the weight: a class that is above another at both ends is above it in between. The margin
    covers rounding at the ends and between them: at most 5 eps of the largest logit, 8 to be safe.
    """
    own_first = first.gather(0, labels[None])
    own_second = second.gather(0, labels[None, None].expand(1, second.shape[1], -1))
    others = first.scatter(0, labels[None], -torch.inf)[:, None]
    ends = [(second * w).add_(others).sub_(own_first + w * own_second) for w in (low, high)]  # above the own by
    first_max, second_max = (torch.stack(x.aminmax()).abs().max() for x in (first, second))
    margin = 8 * torch.finfo(first.dtype).eps * (first_max + max(abs(low), abs(high)) * second_max)
    return torch.maximum(*ends).amax(0) < -margin, torch.minimum(*ends).amax(0) > margin


def log_likelihoods(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Log-likelihood of labels [B] under softmax(k logits [B, N]), summed, at each k in TEMPERATURES: float64 [K].

    A candidate has that at its best k, so that the scale of its logits does not count. The likelihood separates
    candidates that have the same number of correct answers on a few dozen images.

    Raises:
        FloatingPointError: a logit is not finite.
    """
    logits = logits.double()
    if not torch.isfinite(logits).all():
        raise FloatingPointError(f"logits of held-out images are {NOT_FINITE}")
    below = logits - logits.amax(1, keepdim=True)
    own, scaled = below.gather(1, labels[:, None]).sum(), torch.empty_like(below)
    normalisers = [torch.mul(below, k, out=scaled).exp_().sum(1).log().sum() for k in TEMPERATURES]
    return own * own.new_tensor(TEMPERATURES) - torch.stack(normalisers)
