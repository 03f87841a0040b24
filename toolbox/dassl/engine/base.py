"""What every trainer has: registered models, their checkpoints, and the loop over epochs."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from dassl.utils import (
    check_availability,
    get_rng_state,
    load_checkpoint,
    resume_from_checkpoint,
    save_checkpoint,
    tolist_if_not,
)
from dassl.utils.tools import named
from dassl.utils.torchtools import BEST_NAME, EPOCH_NAME, POINTER_NAME, checkpoint_path


class TrainerBase:
    """The loop, the checkpoints and the small steps of training.

    Mode switches, optimizer and scheduler steps, and checkpoints reach the models that were given to `register_model`
    and no others.
    """

    def __init__(self) -> None:
        self._models: OrderedDict[str, nn.Module] = OrderedDict()
        self._optims: OrderedDict[str, torch.optim.Optimizer | None] = OrderedDict()
        self._scheds: OrderedDict[str, Any] = OrderedDict()
        self._writer = None

    # models

    def register_model(
        self,
        name: str = "model",
        model: nn.Module | None = None,
        optim: torch.optim.Optimizer | None = None,
        sched: Any = None,
    ) -> None:
        """Make a model known under a name, with its optimizer and scheduler where it has them."""
        if "_models" not in self.__dict__:
            raise AttributeError("Call super().__init__() before register_model()")
        if name in self._models:
            raise ValueError(f"A model named {name!r} is registered already")
        if model is None:
            raise ValueError(f"No model given to register as {name!r}")
        self._models[name] = model
        self._optims[name] = optim
        self._scheds[name] = sched

    def get_model_names(self, names: str | list[str] | None = None) -> list[str]:
        """The names given, checked; all names by default."""
        if names is None:
            return list(self._models)
        names = tolist_if_not(names)
        for name in names:
            check_availability(name, self._models)
        return names

    def set_model_mode(self, mode: str = "train", names: str | list[str] | None = None) -> None:
        """Switch models to "train", or to "test" or "eval"."""
        check_availability(mode, ["train", "test", "eval"])
        for name in self.get_model_names(names):
            switch = self._models[name].train if mode == "train" else self._models[name].eval  # models override both
            switch()

    # checkpoints

    def save_model(
        self,
        epoch: int,
        directory: str,
        is_best: bool = False,
        val_result: float | None = None,
        model_name: str = "",
    ) -> None:
        """Write directory/<name>/model.pth.tar-<epoch + 1> for each model.

        Args:
            epoch: the epoch that has just ended, counted from 0.
            is_best: also write model-best.pth.tar.
            val_result: result on the validation set.
            model_name: a file name to use instead.
        """
        for name in self.get_model_names():
            optim, sched = self._optims[name], self._scheds[name]
            state = {
                "state_dict": _bare(self._models[name]).state_dict(),
                "epoch": epoch + 1,
                "optimizer": None if optim is None else optim.state_dict(),
                "scheduler": None if sched is None else sched.state_dict(),
                "val_result": None if val_result is None else float(val_result),
                "rng_state": get_rng_state(),
            }
            save_checkpoint(state, os.path.join(directory, name), is_best=is_best, model_name=model_name)

    def resume_model_if_exist(self, directory: str) -> int:
        """Restore the last checkpoint of every model; return the number of epochs that are done, 0 without any."""
        names = self.get_model_names()
        folders = [os.path.join(directory, name) for name in names]
        if not names or not all(os.path.exists(os.path.join(folder, POINTER_NAME)) for folder in folders):
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        epochs = {
            name: resume_from_checkpoint(folder, _bare(self._models[name]), self._optims[name], self._scheds[name])
            for name, folder in zip(names, folders)
        }
        if len(set(epochs.values())) > 1:
            raise ValueError(
                f"The last checkpoints in {directory} are of different epochs: {epochs}. Write the name of one of the "
                f"same epoch into each model's file {POINTER_NAME!r}, or remove them to train from scratch"
            )
        return epochs[names[0]]

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load the weights of every model.

        Args:
            directory: the run's output folder; with "" nothing is loaded.
            epoch: which epoch; by default the best one, or, where there is no best one, the last one written.
        """
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        for name in self.get_model_names():
            path = self._weights_path(os.path.join(directory, name), epoch)
            checkpoint = load_checkpoint(path)
            _bare(self._models[name]).load_state_dict(checkpoint["state_dict"])
            val_result = checkpoint.get("val_result")
            note = "" if val_result is None else f", val_result={val_result:.1f}"
            print(f"Load {path} to {name} (epoch={checkpoint['epoch']}{note})")

    @staticmethod
    def _weights_path(folder: str, epoch: int | None) -> str:
        path = os.path.join(folder, BEST_NAME if epoch is None else EPOCH_NAME.format(epoch))
        if os.path.exists(path):
            return path
        if epoch is None and os.path.exists(os.path.join(folder, POINTER_NAME)):
            return checkpoint_path(folder)
        raise FileNotFoundError(f"No model at {path}")

    # the tensorboard writer

    def init_writer(self, log_dir: str) -> None:
        """Open a tensorboard writer, unless one is open."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second to import

            print(f"Initialize tensorboard (log_dir={log_dir})")
            with named(log_dir):
                self._writer = SummaryWriter(log_dir=log_dir)

    def close_writer(self) -> None:
        """Close the writer; it opens again where something is still written."""
        if self._writer is not None:
            with named(getattr(self._writer, "log_dir", "")):
                self._writer.close()

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Write to tensorboard; without a writer (nothing is being trained) do nothing."""
        if self._writer is not None:
            with named(getattr(self._writer, "log_dir", "")):
                self._writer.add_scalar(tag, scalar_value, global_step)

    # the loop

    def train(self, start_epoch: int, max_epoch: int) -> None:
        """before_train, then before_epoch, run_epoch and after_epoch for each epoch, then after_train."""
        self.start_epoch = start_epoch
        self.max_epoch = max_epoch
        self.before_train()
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self) -> None:
        pass

    def after_train(self) -> None:
        pass

    def before_epoch(self) -> None:
        pass

    def after_epoch(self) -> None:
        pass

    def run_epoch(self) -> None:
        raise NotImplementedError

    def test(self) -> float:
        raise NotImplementedError

    def parse_batch_train(self, batch: Any) -> Any:
        raise NotImplementedError

    def parse_batch_test(self, batch: Any) -> Any:
        raise NotImplementedError

    def forward_backward(self, batch: Any) -> dict[str, float]:
        raise NotImplementedError

    def model_inference(self, input: Any) -> torch.Tensor:
        raise NotImplementedError

    # one step

    def update_lr(self, names: str | list[str] | None = None) -> None:
        """Step the schedulers. A trainer calls it at the end of an epoch, from forward_backward."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def detect_anomaly(self, loss: torch.Tensor | float, name: str = "loss") -> None:
        """Raise FloatingPointError, with the loss, epoch and batch, where a loss is NaN or infinite."""
        loss = torch.as_tensor(loss)
        if not torch.isfinite(loss).all():
            epoch, batch = getattr(self, "epoch", 0) + 1, getattr(self, "batch_idx", 0) + 1
            raise FloatingPointError(
                f"{name} is {loss.detach().cpu().tolist()} in epoch {epoch}, batch {batch}. "
                "Is the learning rate (OPTIM.LR) too high, or is the precision too low?"
            )

    def model_zero_grad(self, names: str | list[str] | None = None) -> None:
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss: torch.Tensor) -> None:
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names: str | list[str] | None = None) -> None:
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss: torch.Tensor, names: str | list[str] | None = None) -> None:
        """Zero the gradients, go backward, step the optimizers."""
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)


def _bare(model: nn.Module) -> nn.Module:
    """The model itself, whether or not it is spread over several devices: weights are stored under its own names."""
    return model.module if isinstance(model, nn.DataParallel) else model
