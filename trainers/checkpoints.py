"""Reading a finished run's folder: its checkpoint and its classes. Nothing is unpickled."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from ccli.errors import CcliError

CLASSES = "classes.json"


def read_checkpoint(folder: Path, epoch: int | None = None) -> dict[str, torch.Tensor]:
    """The state_dict in OUTPUT/<name>: the best, that of an epoch, or the one that the file `checkpoint` names.

    Raises:
        CcliError: there is none, or it is not a plain checkpoint.
    """
    path = folder / ("model-best.pth.tar" if epoch is None else f"model.pth.tar-{epoch}")
    if epoch is None and not path.exists() and (folder / "checkpoint").exists():
        path = folder / Path((folder / "checkpoint").read_text().strip()).name  # never a path out of the folder
    if not path.is_file():
        raise CcliError(f"no checkpoint {path}; --model-dir wants the output folder of a finished run")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:
        raise CcliError(f"{path} is not a readable checkpoint: {str(error).splitlines()[0][:150]}") from error


def write_classes(folder: str, names: list[str], ids: list[str]) -> None:
    """Keep which class each logit stands for beside the checkpoints."""
    target = Path(folder) / CLASSES
    scratch = target.with_name(f".{CLASSES}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps({"classnames": names, "class_ids": ids}, indent=0))
        os.replace(scratch, target)
    except OSError as error:
        raise CcliError(f"cannot write {target} ({error.strerror or error}); choose another --output-dir") from error


def read_classes(folder: str | Path) -> list[str]:
    """The class ids of a run's logits."""
    path = Path(folder) / CLASSES
    try:
        ids = json.loads(path.read_text())["class_ids"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CcliError(
            f"{path} is missing or damaged ({type(error).__name__}); it is written when a run starts"
        ) from error
    return [str(name) for name in ids]
