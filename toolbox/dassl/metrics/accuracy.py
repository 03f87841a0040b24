"""Top-k accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import torch


@torch.no_grad()
def compute_accuracy(
    output: torch.Tensor | Sequence[torch.Tensor], target: torch.Tensor, topk: Sequence[int] = (1,)
) -> list[torch.Tensor]:
    """Percentage of samples whose label is among the k highest outputs, for each k.

    Args:
        output: [batch, classes]; of a tuple or list, the first is taken.
        target: labels [batch].
        topk: each k; one larger than the number of classes raises RuntimeError.

    Returns:
        one tensor of shape [1] per k.
    """
    if isinstance(output, (tuple, list)):
        output = output[0]
    ranked = output.topk(max(topk), dim=1).indices  # [batch, max k]
    hits = ranked == target.view(-1, 1)
    return [hits[:, :k].any(dim=1).float().mean(dim=0, keepdim=True) * 100.0 for k in topk]
