"""Training a head on batches of stored features: batches, the loss, a step, and the loop of Dassl's hooks as one
function, for fits inside a selection.

The order of batches and the choice of views are functions of (seed, epoch), so that runs can be resumed.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional as F

from ccli.features.task import Split

IMAGES = 4096  # at a time: 16 MiB of logits over 1000 classes
Loss = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]  # (head, logits, labels) -> scalar


class FeatureBatches:
    """Iterates over a split as Dassl's loaders do: dicts with img (features [B, D]), label, domain, impath, index.

    Args:
        split: what to iterate over.
        batch_size: the last batch may be smaller; nothing is dropped.
        shuffle: reorder at each epoch, and use one random view per image where the split has views.
        seed, epoch: set `epoch` before each pass.
    """

    def __init__(self, split: Split, batch_size: int, shuffle: bool = False, seed: int = 0):
        self.split, self.batch_size, self.shuffle, self.seed, self.epoch = split, batch_size, shuffle, seed, 0

    def __len__(self) -> int:
        return math.ceil(len(self.split) / self.batch_size)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        n = len(self.split)
        order, features = torch.arange(n), self.split.features
        if self.shuffle:
            generator = torch.Generator().manual_seed(1_000_003 * max(self.seed, 0) + self.epoch)
            order = torch.randperm(n, generator=generator)
            if self.split.views is not None:
                view = torch.randint(len(self.split.views), (n,), generator=generator).to(features.device)
                features = self.split.views[view, torch.arange(n, device=features.device)]
        order = order.to(features.device)
        for start in range(0, n, self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = {"img": features[rows], "label": self.split.labels[rows], "index": rows}
            yield batch | {"domain": torch.zeros_like(rows), "impath": [""] * len(rows)}


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
