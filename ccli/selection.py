"""Hyper-parameters chosen without test labels.

Protocols: "validation" (the few-shot validation set; without one, stratified cross-validation on the shots; at one shot
without one, the constants), "fixed" (always the constants), "paper" (the test set, as many authors did; marked in
tables).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from .errors import CcliError, nearest
from .runs import PROTOCOLS
from .task import FewShotTask, Split

MAX_FOLDS = 4


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


def choose(candidates: Sequence[float], correct: Sequence[int]) -> float:
    """The candidate with the most correct answers; ties go to the one nearest zero-shot, which is the smallest."""
    best = max(correct)
    return min(c for c, n in zip(candidates, correct) if n == best)
