"""Runs of one shape trained as one: Dassl's hooks for each of them, their steps in common (ccli/methods/together.py).

What a run prints, logs and leaves at its end is its own. Between its start and its end it leaves no checkpoint: a group
that is killed starts its epochs anew.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from dassl.utils import AverageMeter, MetricMeter

from ccli.batches import FeatureBatches
from ccli.errors import CcliError
from ccli.methods.together import Together, is_worth_it, why_not
from ccli.methods.training import at
from ccli.task import FewShotTask, Split

from .base import FeatureTrainer
from .gradient import GradientTrainer

TRAINERS = ("CLIPAdapter", "TaskRes", "TipAdapterF", "CCLI")  # those that may have epochs, on stored features


class Apart(CcliError):
    """Runs that are not to be trained as one, with the reason."""


@dataclass
class Member:
    """A built trainer, and a context in which what it prints is its own."""

    trainer: FeatureTrainer
    aloud: AbstractContextManager  # can be entered again and again


def may_be(cfg) -> bool:
    """Whether a run with this configuration trains by gradient on stored features."""
    return cfg.TRAINER.NAME in TRAINERS and not (cfg.TRAINER.NAME == "CCLI" and cfg.TRAINER.CCLI.NETWORK == "convex")


def check_worth(trainer: FeatureTrainer) -> None:
    """Raises Apart where stacking would not make a step faster, or there is none. To be asked before before_train."""
    task = trainer.make_task()
    head = trainer.make_head(task)
    if trainer.make_optim(head, task)[0] is None:
        raise Apart("there is nothing to be trained by gradient")
    if not is_worth_it(head, min(len(task.train), trainer.cfg.DATALOADER.TRAIN_X.BATCH_SIZE)):
        raise Apart("their steps are not made faster by stacking")


def train_together(members: Sequence[Member]) -> None:
    """Train runs that before_train has set up, and end each: its record is written.

    Raises:
        Apart: they cannot be trained as one; nothing has been done.
        FloatingPointError: a loss is not finite.
    """
    _check_alike([member.trainer for member in members])
    start, group = time.time(), None
    for epoch in range(max(member.trainer.max_epoch for member in members)):
        left = [member for member in members if epoch < member.trainer.max_epoch]
        if group is None or len(left) < len(group.heads):  # some have had all their epochs
            if group is not None:
                group.write_back()
            group = _stacked([member.trainer for member in left])
        _epoch(group, left, epoch)
    group.write_back()
    share = (time.time() - start) / len(members)
    for member in members:
        member.trainer._started = time.time() - share
        member.trainer.batched = len(members)
        with member.aloud:
            member.trainer.after_train()


def count_by_folds(trainer: GradientTrainer, folds: Sequence[tuple[FewShotTask, Split]]) -> list[int] | None:
    """How many held-out images the heads of all folds label right after each epoch; None where folds differ in size."""
    parts, rests = zip(*folds)
    heads = [trainer.make_head(part).to(trainer.device) for part in parts]
    optims, scheds = zip(*(trainer.make_optim(head, part) for head, part in zip(heads, parts)))
    loader = trainer.train_loader_x
    loaders = [FeatureBatches(part.train, loader.batch_size, True, loader.seed) for part in parts]
    if why_not(heads, optims, [[len(a.train), len(b)] for a, b in folds]):
        return None
    group, counts = Together(heads, optims, scheds), []
    for epoch in range(trainer.planned_epochs()):
        for loader in loaders:
            loader.epoch = epoch
        for batches in zip(*loaders):
            with at(f"{trainer.cfg.TRAINER.NAME}, on parts of the shots, epoch {epoch + 1}"):
                group.step(batches)
        counts.append(sum(group.correct(rests)))
    return counts


def _check_alike(trainers: Sequence[FeatureTrainer]) -> None:
    if any(trainer.start_epoch for trainer in trainers):
        raise Apart("one of them goes on from a checkpoint")
    if any(trainer.max_epoch < 1 for trainer in trainers):
        raise Apart("one of them has no epochs")
    sizes = [[len(trainer.task.train), trainer.train_loader_x.batch_size] for trainer in trainers]
    why = why_not([trainer.head for trainer in trainers], [trainer.optim for trainer in trainers], sizes)
    watched = [trainer.watched() for trainer in trainers]
    if not why and len({None if split is None else len(split) for split in watched}) > 1:
        why = "they are chosen on different numbers of images"
    if why:
        raise Apart(why)


def _stacked(trainers: Sequence[FeatureTrainer]) -> Together:
    return Together([t.head for t in trainers], [t.optim for t in trainers], [t.sched for t in trainers])


def _epoch(group: Together, members: Sequence[Member], epoch: int) -> None:
    """before_epoch, run_epoch and after_epoch of each."""
    trainers = [member.trainer for member in members]
    for member in members:
        member.trainer.epoch = epoch
        with member.aloud:
            member.trainer.before_epoch()
    logs = [_Log(member) for member in members]
    for batches in zip(*(trainer.train_loader_x for trainer in trainers)):
        ready = time.time()
        with at(f"{trainers[0].cfg.TRAINER.NAME}, epoch {epoch + 1}, batch {trainers[0].batch_idx + 2}"):
            losses, logits = group.step(batches)
        labels = torch.stack([batch["label"] for batch in batches])
        right = 100 * (logits.argmax(-1) == labels).float().mean(1)
        for log, loss, acc in zip(logs, losses.tolist(), right.tolist()):
            log.batch(loss, acc, ready)
    if trainers[0].watched() is not None:
        for k, count in enumerate(group.correct([trainer.watched() for trainer in trainers])):
            if trainers[k].is_better(count):
                group.fill(k)
                trainers[k].keep_best(count)


class _Log:
    """A run's lines and curves of one epoch, as Dassl's loop writes them."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.losses, self.batch_time, self.data_time = MetricMeter(), AverageMeter(), AverageMeter()
        member.trainer.num_batches, member.trainer.batch_idx = len(member.trainer.train_loader_x), -1
        self.end = time.time()

    def batch(self, loss: float, acc: float, ready: float) -> None:
        """`ready`: when the batch's data were at hand."""
        now, self.member.trainer.batch_idx = time.time(), self.member.trainer.batch_idx + 1
        self.data_time.update(ready - self.end)
        self.batch_time.update(now - self.end)
        self.losses.update({"loss": loss, "acc": acc})
        with self.member.aloud:
            self.member.trainer._log_batch(self.losses, self.batch_time, self.data_time)
        self.end = now
