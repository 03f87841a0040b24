"""Training a head on feature batches: the loop that Dassl's hooks spell out, for fits inside a selection."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..batches import FeatureBatches


def step(model: torch.nn.Module, batch: dict, optim: torch.optim.Optimizer) -> tuple[torch.Tensor, torch.Tensor]:
    """One step on the cross-entropy; returns loss and logits [B, N].

    Raises:
        FloatingPointError: the loss is not finite.
    """
    logits = model(batch["img"])
    loss = F.cross_entropy(logits, batch["label"])
    if not torch.isfinite(loss):
        raise FloatingPointError("the loss is not finite; lower OPTIM.LR or check the features")
    optim.zero_grad()
    loss.backward()
    optim.step()
    return loss, logits


def train(
    model: torch.nn.Module, batches: FeatureBatches, optim: torch.optim.Optimizer, sched, epochs: int
) -> torch.nn.Module:
    """`epochs` passes; the learning rate moves per step (`sched` may be None)."""
    model.train()
    for epoch in range(epochs):
        batches.epoch = epoch
        for batch in batches:
            step(model, batch, optim)
            if sched is not None:
                sched.step()
    return model.eval()


def adamw_cosine(model: torch.nn.Module, lr: float, weight_decay: float, steps: int, eps: float = 1e-8):
    """AdamW with the learning rate on a cosine from `lr` to 0 over `steps` steps."""
    optim = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, eps=eps)
    return optim, torch.optim.lr_scheduler.CosineAnnealingLR(optim, max(1, steps))
