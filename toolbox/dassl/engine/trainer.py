"""Trainers for one model or several: on labelled data (TrainerX), on labelled and unlabelled data (TrainerXU)."""

from __future__ import annotations

import datetime
import math
import os
import shutil
import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from yacs.config import CfgNode

from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import (
    AverageMeter,
    MetricMeter,
    check_availability,
    count_num_param,
    load_checkpoint,
    load_pretrained_weights,
    mkdir_if_missing,
)
from dassl.utils.torchtools import BEST_NAME

from .base import TrainerBase
from .simple_net import SimpleNet

__all__ = ["SimpleNet", "SimpleTrainer", "TrainerBase", "TrainerX", "TrainerXU"]


class SimpleTrainer(TrainerBase):
    """A trainer made from a configuration.

    Subclasses override check_cfg, build_data_loader, build_model and forward_backward as they need. The evaluator is
    built last, so build_model cannot use it.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        self.check_cfg(cfg)
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.start_epoch = self.epoch = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.output_dir = cfg.OUTPUT_DIR
        self.cfg = cfg
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)
        self.best_result = -math.inf

    def check_cfg(self, cfg: CfgNode) -> None:
        """Refuse settings that the trainer cannot work with."""

    def build_data_loader(self) -> None:
        """Set dm, the four loaders (train_loader_u and val_loader may be None), num_classes and lab2cname."""
        dm = DataManager(self.cfg)
        self.train_loader_x = dm.train_loader_x
        self.train_loader_u = dm.train_loader_u
        self.val_loader = dm.val_loader
        self.test_loader = dm.test_loader
        self.num_classes = dm.num_classes
        self.num_source_domains = dm.num_source_domains
        self.lab2cname = dm.lab2cname
        self.dm = dm

    def build_model(self) -> None:
        """Build and register the model, its optimizer and its scheduler."""
        cfg = self.cfg
        print("Building model")
        self.model = SimpleNet(cfg, cfg.MODEL, self.num_classes)
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        print(f"# params: {count_num_param(self.model):,}")
        self.optim = build_optimizer(self.model, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("model", self.model, self.optim, self.sched)
        self.model = self._on_all_devices(self.model)

    def _on_all_devices(self, model: nn.Module) -> nn.Module:
        """The model as DataParallel where there are several GPUs; the registered one stays bare, as its weights do."""
        count = torch.cuda.device_count() if self.device.type == "cuda" else 0
        if count < 2:
            return model
        print(f"Detected {count} GPUs (use nn.DataParallel)")
        return nn.DataParallel(model)

    def train(self) -> None:
        super().train(self.start_epoch, self.max_epoch)

    def before_train(self) -> None:
        """Resume, open the tensorboard writer, start the clock."""
        self.time_start = time.time()
        directory = self.cfg.RESUME or self.output_dir
        self.start_epoch = self.resume_model_if_exist(directory)
        ours = type(self).resume_model_if_exist is TrainerBase.resume_model_if_exist  # a plugin's may mean 0 as it says
        if self.cfg.RESUME and ours and self.get_model_names() and self.start_epoch == 0:
            raise FileNotFoundError(
                f"RESUME names a folder without a checkpoint of {self.get_model_names()}: {directory}"
            )
        if self._selects_on_val() and self.start_epoch < self.max_epoch and self.val_loader is None:
            raise ValueError(
                "TEST.FINAL_MODEL best_val needs a validation set and this data set has none: use last_step "
                "(the test set is never used to choose a model)"
            )
        if self.start_epoch > 0 and self._selects_on_val():
            self._restore_best(directory)
        self.init_writer(os.path.join(self.output_dir, "tensorboard"))

    def _selects_on_val(self) -> bool:
        return self.cfg.TEST.FINAL_MODEL == "best_val" and not self.cfg.TEST.NO_TEST

    def _restore_best(self, directory: str) -> None:
        """Take over the best model so far, so that a resumed run compares with it."""
        for name in self.get_model_names():
            source = os.path.join(directory, name, BEST_NAME)
            if not os.path.exists(source):
                return
            result = load_checkpoint(source).get("val_result")
            self.best_result = -math.inf if result is None else result
            target = os.path.join(self.output_dir, name, BEST_NAME)
            if os.path.abspath(source) != os.path.abspath(target):
                mkdir_if_missing(os.path.dirname(target))
                shutil.copyfile(source, target)

    def after_train(self) -> None:
        """Test the final model, print the elapsed time, close the writer."""
        print("Finish training")
        if not self.cfg.TEST.NO_TEST:
            if self._selects_on_val() and self.max_epoch > 0:
                print("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            else:
                print("Deploy the last-epoch model")
            self.test()
        elapsed = datetime.timedelta(seconds=round(time.time() - self.time_start))
        print(f"Elapsed: {elapsed}")
        self.close_writer()

    def after_epoch(self) -> None:
        """Keep the best model on the validation set where that is asked for; write checkpoints."""
        done = self.epoch + 1
        if self._selects_on_val():
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name=BEST_NAME)
            self.set_model_mode("train")
        frequency = self.cfg.TRAIN.CHECKPOINT_FREQ
        if done == self.max_epoch or (frequency > 0 and done % frequency == 0):
            self.save_model(self.epoch, self.output_dir)

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate on "val" or "test" and return the evaluator's first value (accuracy in percent).

        Args:
            split: TEST.SPLIT by default. "val" means "test" where there is no validation set.
        """
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = split or self.cfg.TEST.SPLIT
        if split == "val" and self.val_loader is not None:
            data_loader = self.val_loader
        else:
            split, data_loader = "test", self.test_loader

        print(f"Evaluate on the *{split}* set")
        for batch in tqdm(data_loader, desc="Testing", leave=False, disable=None):
            input, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(input), label)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))

    def model_inference(self, input: Any) -> torch.Tensor:
        return self.model(input)

    def parse_batch_test(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(batch[key].to(self.device, non_blocking=True) for key in ("img", "label"))

    def get_current_lr(self, names: str | list[str] | None = None) -> float:
        """Learning rate of the first model that has an optimizer; 0 where nothing is trained."""
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                return self._optims[name].param_groups[0]["lr"]
        return 0.0

    def _run_batches(self, batches: Iterable[tuple]) -> None:
        """Call forward_backward(*batch) for each of the `self.num_batches` batches; log as TRAIN.PRINT_FREQ says."""
        self.set_model_mode("train")
        losses, batch_time, data_time = MetricMeter(), AverageMeter(), AverageMeter()
        end = time.time()
        for self.batch_idx, batch in enumerate(batches):
            data_time.update(time.time() - end)
            summary = self.forward_backward(*batch)
            self._check_losses(summary or {})
            batch_time.update(time.time() - end)
            losses.update(summary)
            self._log_batch(losses, batch_time, data_time)
            end = time.time()

    def _check_losses(self, summary: dict[str, Any]) -> None:
        """What an override of detect_anomaly lets pass is let pass here, too."""
        if type(self).detect_anomaly is TrainerBase.detect_anomaly:
            for name, value in summary.items():
                if "loss" in name:
                    self.detect_anomaly(value, name)

    def _log_batch(self, losses: MetricMeter, batch_time: AverageMeter, data_time: AverageMeter) -> None:
        done, frequency = self.batch_idx + 1, self.cfg.TRAIN.PRINT_FREQ
        if self.num_batches < frequency or done % frequency == 0:
            left = self.num_batches - done + (self.max_epoch - self.epoch - 1) * self.num_batches
            eta = datetime.timedelta(seconds=int(batch_time.avg * left))
            print(
                f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{done}/{self.num_batches}] "
                f"time {batch_time.val:.3f} ({batch_time.avg:.3f}) data {data_time.val:.3f} ({data_time.avg:.3f}) "
                f"{losses} lr {self.get_current_lr():.4e} eta {eta}"
            )
        n_iter = self.epoch * self.num_batches + self.batch_idx
        for name, meter in losses.meters.items():
            self.write_scalar(f"train/{name}", meter.avg, n_iter)
        self.write_scalar("train/lr", self.get_current_lr(), n_iter)


class TrainerX(SimpleTrainer):
    """Trains on labelled data: forward_backward(batch)."""

    def run_epoch(self) -> None:
        self.num_batches = len(self.train_loader_x)
        self._run_batches((batch,) for batch in self.train_loader_x)

    def parse_batch_train(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images, labels and domains, on the device."""
        return tuple(batch[key].to(self.device, non_blocking=True) for key in ("img", "label", "domain"))


class TrainerXU(SimpleTrainer):
    """Trains on labelled and unlabelled data: forward_backward(batch_x, batch_u)."""

    def run_epoch(self) -> None:
        """One pass over what TRAIN.COUNT_ITER names; the other loader starts again when it runs out."""
        if not self.train_loader_x or not self.train_loader_u:
            raise ValueError(f"{type(self).__name__} needs labelled and unlabelled training data (train_x, train_u)")
        n_x, n_u = len(self.train_loader_x), len(self.train_loader_u)
        lengths = {"train_x": n_x, "train_u": n_u, "smaller_one": min(n_x, n_u)}
        check_availability(self.cfg.TRAIN.COUNT_ITER, lengths)
        self.num_batches = lengths[self.cfg.TRAIN.COUNT_ITER]
        batches_x, batches_u = _Endless(self.train_loader_x), _Endless(self.train_loader_u)
        self._run_batches((next(batches_x), next(batches_u)) for _ in range(self.num_batches))

    def parse_batch_train(
        self, batch_x: dict[str, Any], batch_u: dict[str, Any]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Labelled images, their labels, unlabelled images, on the device."""
        return batch_x["img"].to(self.device), batch_x["label"].to(self.device), batch_u["img"].to(self.device)


class _Endless:
    """Batches of a loader, again and again. Its first pass begins here, where it draws its seed."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader, self.batches = loader, iter(loader)

    def __next__(self) -> dict[str, Any]:
        try:
            return next(self.batches)
        except StopIteration:
            self.batches = iter(self.loader)
            return next(self.batches)
