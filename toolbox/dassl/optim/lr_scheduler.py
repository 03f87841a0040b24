"""Learning-rate schedules by name, one step per epoch, with an optional warm-up before them."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, StepLR
from yacs.config import CfgNode

from dassl.utils import check_availability

AVAI_SCHEDS = ["single_step", "multi_step", "cosine"]
AVAI_WARMUPS = ["constant", "linear"]


class WarmupScheduler(LRScheduler):
    """`warmup_epoch` epochs of `warmup_lr()`, then the successor, which starts at its own learning rate.

    `last_epoch` counts all epochs, warm-up included. The state dict nests the successor's state dict, so that it holds
    plain values only.
    """

    def __init__(self, optimizer: Optimizer, successor: LRScheduler, warmup_epoch: int, last_epoch: int = -1) -> None:
        self.successor = successor
        self.warmup_epoch = warmup_epoch
        super().__init__(optimizer, last_epoch)

    def warmup_lr(self) -> list[float]:
        """The learning rate of each parameter group at `self.last_epoch` < `self.warmup_epoch`."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        return self.warmup_lr() if self.last_epoch < self.warmup_epoch else self.successor.get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        if self.last_epoch < self.warmup_epoch:
            super().step(epoch)
            return
        self.successor.step(epoch)
        self.last_epoch += 1
        self._last_lr = self.successor.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "successor")}
        return {**state, "successor": self.successor.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = {k: v for k, v in state_dict.items() if k != "successor"}
        self.successor.load_state_dict(state_dict["successor"])
        self.__dict__.update(own)


class ConstantWarmupScheduler(WarmupScheduler):
    """The same small learning rate throughout the warm-up."""

    def __init__(
        self, optimizer: Optimizer, successor: LRScheduler, warmup_epoch: int, cons_lr: float, last_epoch: int = -1
    ) -> None:
        self.cons_lr = cons_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch)

    def warmup_lr(self) -> list[float]:
        return [self.cons_lr for _ in self.base_lrs]


class LinearWarmupScheduler(WarmupScheduler):
    """`min_lr` in the first epoch, then epoch / warmup_epoch of the full learning rate."""

    def __init__(
        self, optimizer: Optimizer, successor: LRScheduler, warmup_epoch: int, min_lr: float, last_epoch: int = -1
    ) -> None:
        self.min_lr = min_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch)

    def warmup_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return [self.min_lr for _ in self.base_lrs]
        return [lr * self.last_epoch / self.warmup_epoch for lr in self.base_lrs]


def build_lr_scheduler(optimizer: Optimizer, optim_cfg: CfgNode) -> LRScheduler:
    """Build the schedule that `optim_cfg` (`cfg.OPTIM`) describes; step it once per epoch.

    With OPTIM.WARMUP_RECOUNT the schedule proper starts at its epoch 0 when the warm-up ends. Without it, the warm-up
    epochs count as done: a multi_step milestone within the warm-up is passed over, and cosine reaches 0 at MAX_EPOCH.
    """
    check_availability(optim_cfg.LR_SCHEDULER, AVAI_SCHEDS)
    scheduler = _schedule_proper(optimizer, optim_cfg)
    warmup_epoch = optim_cfg.WARMUP_EPOCH
    if warmup_epoch <= 0:
        return scheduler

    check_availability(optim_cfg.WARMUP_TYPE, AVAI_WARMUPS)
    if not optim_cfg.WARMUP_RECOUNT:
        scheduler.last_epoch = warmup_epoch
    if optim_cfg.WARMUP_TYPE == "constant":
        return ConstantWarmupScheduler(optimizer, scheduler, warmup_epoch, optim_cfg.WARMUP_CONS_LR)
    return LinearWarmupScheduler(optimizer, scheduler, warmup_epoch, optim_cfg.WARMUP_MIN_LR)


def _schedule_proper(optimizer: Optimizer, optim_cfg: CfgNode) -> LRScheduler:
    stepsize, gamma = optim_cfg.STEPSIZE, optim_cfg.GAMMA
    # a run of zero epochs still builds a schedule
    max_epoch = max(optim_cfg.MAX_EPOCH, 1)
    if optim_cfg.LR_SCHEDULER == "cosine":
        return CosineAnnealingLR(optimizer, float(max_epoch))
    if optim_cfg.LR_SCHEDULER == "multi_step":
        if not isinstance(stepsize, (list, tuple)):
            raise TypeError(f"multi_step takes a list of epochs in OPTIM.STEPSIZE, got {stepsize!r}")
        return MultiStepLR(optimizer, milestones=list(stepsize), gamma=gamma)

    last = stepsize[-1] if isinstance(stepsize, (list, tuple)) and stepsize else stepsize
    if not isinstance(last, int):
        raise TypeError(f"single_step takes a whole number of epochs in OPTIM.STEPSIZE, got {stepsize!r}")
    return StepLR(optimizer, step_size=last if last > 0 else max_epoch, gamma=gamma)
