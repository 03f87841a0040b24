"""Hyper-parameters chosen without test labels.

Protocols: "validation" (the few-shot validation set; without one, stratified cross-validation on the shots; at one shot
without one, the constants), "fixed" (always the constants), "paper" (the test set, as many authors did; marked in
tables).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from .errors import CcliError, nearest
from .runs import PROTOCOLS
from .task import FewShotTask, Split

MAX_FOLDS = 4
TEMPERATURES = tuple(1.1**k for k in range(-16, 17))  # 0.22 to 4.6


def check_protocol(protocol: str) -> None:
    if protocol not in PROTOCOLS:
        hint = nearest(protocol, PROTOCOLS)
        raise CcliError(f"unknown PROTOCOL {protocol!r}; use one of {', '.join(PROTOCOLS)}.{hint}")


def selected_by(protocol: str, task: FewShotTask) -> str:
    """What the protocol chooses on: "validation", "cross-validation", "default" (the constants), "fixed" or "test"."""
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


def fold_tasks(task: FewShotTask, seed: int) -> Iterator[tuple[FewShotTask, Split]]:
    """Cross-validation on the shots: a task with a part of them, and the rest."""
    device = task.train.labels.device
    for kept, held in folds(task.train.labels, min(task.shots, MAX_FOLDS), seed):
        yield task.fold(kept.to(device), held.to(device))


def held_out(
    how: str, task: FewShotTask, model, fit: Callable[[FewShotTask], object], seed: int
) -> Iterator[tuple[object, Split]]:
    """Pairs of a fitted model and images that its fit has not seen.

    Args:
        how: as `selected_by` gives it.
        model: fitted on the whole task.
        fit: makes a model from a task; called on each fold, so that whatever is made from the shots is made again.
    """
    if how == "cross-validation":
        for part, rest in fold_tasks(task, seed):
            yield fit(part), rest
    elif how in ("validation", "test"):
        yield model, task.val if how == "validation" else task.test


def choose(candidates: Sequence[float], scores: Sequence[float]) -> float:
    """The candidate with the most correct answers (or the largest likelihood); ties go to the one nearest zero-shot,
    which is the smallest."""
    best = max(scores)
    return min(c for c, score in zip(candidates, scores) if score == best)


def log_likelihood(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Of the labels [B] under softmax(k logits [B, N]), summed, at the best k in TEMPERATURES.

    With a k of its own, a candidate is judged by how it ranks and how sure it is where it is right, and not by the
    scale of its logits, which predictions do not depend on. It tells candidates apart that a few dozen images do not
    tell apart by how many of them are right.

    Raises:
        FloatingPointError: a logit is not finite.
    """
    logits = logits.double()
    if not torch.isfinite(logits).all():
        raise FloatingPointError("logits of held-out images are not finite; encode the images again")
    return -min(float(F.cross_entropy(k * logits, labels, reduction="sum")) for k in TEMPERATURES)
