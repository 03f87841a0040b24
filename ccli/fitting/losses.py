"""The loss that gradient methods minimise: the head's own, or the cross-entropy."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

Loss = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]  # (head, logits, labels) -> scalar


def head_loss(head: torch.nn.Module, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """`head.loss(logits, labels)` where the head defines it, else the mean cross-entropy.

    A penalised method defines `loss` in its head and adds the penalty there.

    Args:
        logits: [B, N], of the head; labels: [B].

    Returns:
        A scalar.
    """
    own = getattr(head, "loss", None)
    return F.cross_entropy(logits, labels) if own is None else own(logits, labels)
