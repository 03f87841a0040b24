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
        n, views, device = len(self.split), self.split.views, self.split.labels.device
        order = torch.arange(n)
        if self.shuffle:
            generator = torch.Generator().manual_seed(1_000_003 * max(self.seed, 0) + self.epoch)
            order = torch.randperm(n, generator=generator)
            if views is not None:
                view = torch.randint(len(views), (n,), generator=generator).to(device)
        order = order.to(device)
        for start in range(0, n, self.batch_size):
            rows = order[start : start + self.batch_size]
            img = views[view[rows], rows] if self.shuffle and views is not None else self.split.features[rows]
            batch = {"img": img, "label": self.split.labels[rows], "index": rows}
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
    """One optimiser step; returns loss and logits [B, N]. The loss may not be finite: a look at it waits for a GPU."""
    logits = model(batch["img"])
    loss = loss_of(model, logits, batch["label"])
    optim.zero_grad()
    loss.backward()
    optim.step()
    return loss.detach(), logits.detach()


def refuse_infinite(loss: float) -> None:
    """Raise FloatingPointError where a step's loss is infinite or nan."""
    if not math.isfinite(loss):
        raise FloatingPointError("the loss is not finite; lower the learning rate or check the features")


def train(
    model: torch.nn.Module, batches: FeatureBatches, optim: torch.optim.Optimizer, sched, epochs: int,
    watch: Callable[[int, torch.nn.Module], None] | None = None, loss_of: Loss = head_loss,
) -> torch.nn.Module:  # fmt: skip
    """`epochs` passes; the learning rate moves per step (`sched` may be None); `watch(epoch, model)` after each.

    Raises:
        FloatingPointError: at the end of an epoch with a loss that is not finite; the first batch of these is named.
    """
    for epoch in range(epochs):
        model.train()
        batches.epoch, losses = epoch, []
        for batch in batches:
            losses.append(step(model, batch, optim, loss_of)[0])
            if sched is not None:
                sched.step()
        for number, loss in enumerate(torch.stack(losses).flatten().tolist() if losses else (), start=1):
            with at(f"epoch {epoch + 1}, batch {number}"):
                refuse_infinite(loss)
        if watch is not None:
            watch(epoch, model.eval())
    return model.eval()


def correct(model: torch.nn.Module, split: Split) -> int:
    """The number of images in a split whose prediction is the label, in batches of IMAGES."""
    return int(count_correct(model, split))


@torch.no_grad()
def count_correct(model: torch.nn.Module, split: Split) -> torch.Tensor:
    """`correct` as a tensor, for which a GPU is not waited for."""
    chunks = zip(split.features.split(IMAGES), split.labels.split(IMAGES))
    return sum((model(f).argmax(1) == labels).sum() for f, labels in chunks)


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
