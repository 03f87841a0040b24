"""Checkpoints: written atomically, read without ever running code from the file."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from .rng import set_rng_state
from .tools import atomic_path

BEST_NAME = "model-best.pth.tar"
EPOCH_NAME = "model.pth.tar-{}"
POINTER_NAME = "checkpoint"


class InertObject:
    """Stands in for an object of an upstream checkpoint: takes its contents and does nothing with them."""

    def __new__(cls, *args: Any, **kwargs: Any) -> InertObject:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _inert_type(name: str) -> type:
    """A type of its own per name: the reader matches allowed types by identity."""
    return type(name, (InertObject,), {})


def _plain_dict(*_: Any) -> dict:
    """Stands in for defaultdict, which the reader does not fill."""
    return {}


class _Dtype:
    """Stands in for the type of a numpy number."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


def _number(dtype: _Dtype, content: bytes) -> float | int | bool:
    """A numpy number as Python's own."""
    if not isinstance(dtype, _Dtype) or dtype.code not in _NUMBERS:
        raise ValueError("not a number")
    return np.frombuffer(content, (">" if dtype.order == ">" else "<") + dtype.code, 1)[0].item()


_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


# Upstream's warm-up pickles its successor, and with it the optimizer; some pickle the warm-up itself. These names are
# let through, as inert objects.
_UPSTREAM_GLOBALS = [
    *(f"dassl.optim.lr_scheduler.{name}WarmupScheduler" for name in ("Constant", "Linear")),
    *(f"torch.optim.lr_scheduler.{name}" for name in ("CosineAnnealingLR", "StepLR", "MultiStepLR")),
    *(f"torch.optim.{name.lower()}.{name}" for name in ("SGD", "Adam", "AdamW", "RMSprop", "RAdam")),
    "dassl.optim.radam.RAdam",
    "builtins.dict",
]
_ALLOWED = [(_inert_type(name.rpartition(".")[2]), name) for name in _UPSTREAM_GLOBALS]
_ALLOWED.append((_plain_dict, "collections.defaultdict"))
_ALLOWED.append((_Dtype, "numpy.dtype"))
_ALLOWED += [(_number, f"numpy.{module}.multiarray.scalar") for module in ("core", "_core")]


def save_checkpoint(
    state: dict[str, Any],
    save_dir: str,
    is_best: bool = False,
    remove_module_from_keys: bool = True,
    model_name: str = "",
) -> None:
    """Write `state` to save_dir/model.pth.tar-<epoch> and its name to save_dir/checkpoint, both atomically.

    Args:
        state: needs `state_dict` and `epoch`; tensors, numbers and other plain values only, or it cannot be read again.
        is_best: also copy it to model-best.pth.tar.
        remove_module_from_keys: strip the `module.` that nn.DataParallel puts before every name.
        model_name: a file name to use instead of model.pth.tar-<epoch>.
    """
    weights = state["state_dict"]
    if remove_module_from_keys and all(key.startswith("module.") for key in weights):
        state = {**state, "state_dict": {key.removeprefix("module."): value for key, value in weights.items()}}
    fpath = os.path.join(save_dir, model_name or EPOCH_NAME.format(state["epoch"]))
    content = io.BytesIO()
    torch.save(_plain(state), content)  # not into the file, where a full disk would be a RuntimeError about positions
    with atomic_path(fpath) as temporary, open(temporary, "wb") as file:
        file.write(content.getbuffer())
    print(f"Checkpoint saved to {fpath}")

    with atomic_path(os.path.join(save_dir, POINTER_NAME)) as temporary, open(temporary, "w") as file:
        file.write(f"{os.path.basename(fpath)}\n{_digest(os.path.basename(fpath))}\n")
    if is_best and os.path.basename(fpath) != BEST_NAME:
        best = os.path.join(save_dir, BEST_NAME)
        with atomic_path(best) as temporary:
            shutil.copyfile(fpath, temporary)
        print(f"Best checkpoint saved to {best}")


def _plain(value: Any) -> Any:
    """The same without numpy's numbers, which a reader that runs no code refuses."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (dict, OrderedDict):
        return type(value)((_plain(key), _plain(part)) for key, part in value.items())
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value


def load_checkpoint(fpath: str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Files that hold more than tensors and plain values are refused, and damaged ones.

    Checkpoints of upstream's warm-up schedulers are read; the objects in them become `InertObject`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, or one that would run code.
    """
    if fpath is None:
        raise ValueError("No checkpoint path given")
    if not os.path.exists(fpath):
        raise FileNotFoundError(f'No checkpoint at "{fpath}"')
    with open(fpath, "rb") as file:
        content = io.BytesIO(file.read())
    try:
        _check_archive(content)
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows itself in a dozen types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        detail = next((line.strip() for line in str(error).splitlines() if "GLOBAL" in line), reason)
        raise ValueError(
            f'Cannot read "{fpath}": it is damaged, or holds objects other than tensors and plain values ({detail})'
        ) from error


def _check_archive(content: io.BytesIO) -> None:
    """Compare a zip archive's checksums, which torch's reader does not. Very old checkpoints are no archives."""
    if zipfile.is_zipfile(content):
        with zipfile.ZipFile(content) as archive:
            bad = archive.testzip()
            folders = [entry.filename for entry in archive.infolist() if entry.external_attr & 0x10]
        if bad or folders:  # torch's reader would give what happens to be in memory for a folder's content
            raise zipfile.BadZipFile(f"{bad or folders[0]} is not as it was written")
    content.seek(0)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def checkpoint_path(fdir: str) -> str:
    """The file that fdir/checkpoint names as the last one written."""
    with open(os.path.join(fdir, POINTER_NAME), encoding="utf-8", errors="replace") as file:
        name, *digest = file.read().split("\n")[:2]
    if any(digest) and digest[0] != _digest(name):  # upstream writes the name alone
        raise ValueError(
            f'"{os.path.join(fdir, POINTER_NAME)}" is damaged; write the name of the last checkpoint into it'
        )
    name = name.strip()
    if not name or os.path.basename(name) != name:
        raise ValueError(f'"{os.path.join(fdir, POINTER_NAME)}" must hold the name of a file beside it, got {name!r}')
    return os.path.join(fdir, name)


def resume_from_checkpoint(
    fdir: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    scheduler: Any = None,
) -> int:
    """Restore what the last checkpoint in `fdir` holds and return the number of epochs that are done.

    Model, optimizer, scheduler and random generators are restored exactly. From an upstream checkpoint whose scheduler
    is a pickled object, the scheduler is moved on by the epoch count instead.
    """
    fpath = checkpoint_path(fdir)
    print(f'Loading checkpoint from "{fpath}"')
    checkpoint = load_checkpoint(fpath)
    epoch = int(checkpoint["epoch"])

    model.load_state_dict(checkpoint["state_dict"])
    print("Loaded model weights")
    if optimizer is not None and checkpoint.get("optimizer") is not None:
        optimizer.load_state_dict(checkpoint["optimizer"])
        print("Loaded optimizer")
    if scheduler is not None and checkpoint.get("scheduler") is not None:
        if any(isinstance(value, InertObject) for value in checkpoint["scheduler"].values()):
            fast_forward(scheduler, epoch)
        else:
            scheduler.load_state_dict(checkpoint["scheduler"])
        print("Loaded scheduler")
    if "rng_state" in checkpoint:
        set_rng_state(checkpoint["rng_state"])
    print(f"Previous epoch: {epoch}")
    return epoch


def fast_forward(scheduler: LRScheduler, epochs: int) -> None:
    """Step a fresh scheduler to the start of epoch `epochs`, whatever learning rates its optimizer was given since."""
    for group, lr in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr(), strict=True):
        group["lr"] = lr
    with warnings.catch_warnings():
        # torch warns that no optimizer step came in between; none should
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*optimizer.step.*")
        for _ in range(epochs):
            scheduler.step()


def load_pretrained_weights(model: nn.Module, weight_path: str) -> None:
    """Copy the weights that match by name and shape into the model and print the names of those that do not.

    Raises:
        ValueError: nothing matches, so the file belongs to another model.
    """
    checkpoint = load_checkpoint(weight_path)
    weights = checkpoint.get("state_dict", checkpoint)
    own = model.state_dict()
    matched, discarded = {}, []
    for key, value in weights.items():
        name = key.removeprefix("module.")
        if name in own and own[name].shape == value.shape:
            matched[name] = value
        else:
            discarded.append(name)
    if not matched:
        raise ValueError(f'No weight in "{weight_path}" fits the model: names or shapes differ in all of {discarded}')
    model.load_state_dict({**own, **matched})
    print(f'Loaded {len(matched)} pretrained weights from "{weight_path}"')
    if discarded:
        print(f"Weights left out because their name or shape differs: {discarded}")


def count_num_param(
    model: nn.Module | Iterable[nn.Parameter] | None = None, params: Iterable[nn.Parameter | dict] | None = None
) -> int:
    """Number of parameters of a model, or of `params`: parameters, or an optimizer's groups of them."""
    if params is None:
        params = model.parameters() if isinstance(model, nn.Module) else model
    if params is None:
        raise ValueError("count_num_param needs a model or params")
    groups = [p["params"] if isinstance(p, dict) else p for p in params]
    return sum(count_num_param(group) if isinstance(group, list | tuple) else group.numel() for group in groups)
