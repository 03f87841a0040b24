"""Training a head on feature batches: the loop of Dassl's hooks as one function, for fits inside a selection."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ccli.features.task import Split
from ccli.fitting.batches import FeatureBatches
from ccli.fitting.losses import Loss, head_loss

IMAGES = 4096  # at a time: 16 MiB of logits over 1000 classes


@contextmanager
def at(where: str) -> Iterator[None]:
    """Put a place in training before the message of a FloatingPointError."""
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(f"{where}: {error}") from error


def step(
    model: torch.nn.Module, batch: dict, optim: torch.optim.Optimizer, loss_of: Loss = head_loss
) -> tuple[torch.Tensor, torch.Tensor]:
    """One optimiser step; returns loss and logits [B, N].

    Raises:
        FloatingPointError: the loss is not finite.
    """
    logits = model(batch["img"])
    loss = loss_of(model, logits, batch["label"])
    if not torch.isfinite(loss):
        raise FloatingPointError("the loss is not finite; lower the learning rate or check the features")
    optim.zero_grad()
    loss.backward()
    optim.step()
    return loss, logits


def train(
    model: torch.nn.Module, batches: FeatureBatches, optim: torch.optim.Optimizer, sched, epochs: int,
    watch: Callable[[int, torch.nn.Module], None] | None = None, loss_of: Loss = head_loss,
) -> torch.nn.Module:  # fmt: skip
    """`epochs` passes; the learning rate moves per step (`sched` may be None); `watch(epoch, model)` after each."""
    for epoch in range(epochs):
        model.train()
        batches.epoch = epoch
        for number, batch in enumerate(batches, start=1):
            with at(f"epoch {epoch + 1}, batch {number}"):
                step(model, batch, optim, loss_of)
            if sched is not None:
                sched.step()
        if watch is not None:
            watch(epoch, model.eval())
    return model.eval()


@torch.no_grad()
def correct(model: torch.nn.Module, split: Split) -> int:
    """The number of images in a split whose prediction is the label, in batches of IMAGES."""
    chunks = zip(split.features.split(IMAGES), split.labels.split(IMAGES))
    return sum(int((model(f).argmax(1) == labels).sum()) for f, labels in chunks)


def adamw_cosine(model: torch.nn.Module, lr: float, weight_decay: float, steps: int, eps: float = 1e-8):
    """AdamW with the learning rate on a cosine from `lr` to 0 over `steps` steps."""
    optim = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, eps=eps)
    return optim, torch.optim.lr_scheduler.CosineAnnealingLR(optim, max(1, steps))


def warm_cosine(optim: torch.optim.Optimizer, batches: int, epochs: int, warmup_lr: float = 1e-5):
    """CoOp's schedule as a schedule of steps: one epoch at `warmup_lr`, then a cosine, constant within an epoch.

    Epoch e >= 1 has lr (1 + cos(pi (e - 1) / epochs)) / 2: Dassl's warm-up counts the cosine anew, from its own end.
    """
    lr = optim.param_groups[0]["lr"]

    def factor(step: int) -> float:
        epoch = step // batches
        return warmup_lr / lr if epoch == 0 else (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optim, factor)
