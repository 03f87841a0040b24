"""Contexts from checkpoints of CoOp's own code. Nothing in such a file is executed.

CoOp writes RUN/prompt_learner/model.pth.tar-EPOCH and model-best.pth.tar: dicts with the epoch, the states of optimizer
and scheduler, and the state_dict of its prompt learner: `ctx` is the learned context, `token_prefix` and `token_suffix`
are embeddings of that run's class names.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from ccli.errors import CcliError
from ccli.files.safe_load import load_checkpoint

FOLDER = "prompt_learner"
BEST = "model-best.pth.tar"
_EPOCH = re.compile(r"model\.pth\.tar-(\d+)")


@dataclass(frozen=True)
class CoopContext:
    """A learned context: ctx [M, width], or [N, M, width] for a context per class, in float32."""

    ctx: torch.Tensor
    epoch: int
    path: Path


def read_context(place: str | Path, epoch: int | None = None) -> CoopContext:
    """The context of a checkpoint of CoOp.

    Args:
        place: a run's folder, its `prompt_learner`, or a checkpoint in there.
        epoch: of the checkpoint in a folder; None for the best model, or else the last epoch.

    Raises:
        CcliError: there is no such checkpoint (the files in the folder are listed), or the file is not one of CoOp's.
    """
    path = find_checkpoint(Path(place).expanduser(), epoch)
    content = load_checkpoint(path, "CoOp checkpoint")
    state = content.get("state_dict") if isinstance(content, dict) else None
    ctx = state.get("ctx") if isinstance(state, dict) else None
    if not isinstance(ctx, torch.Tensor) or ctx.ndim not in (2, 3) or not ctx.is_floating_point():
        holds = ", ".join(map(str, list(state)[:5])) if isinstance(state, dict) else "no state_dict"
        raise CcliError(f"{path} holds no learned context `ctx` ({holds or 'nothing'}): it is not of CoOp")
    number = content.get("epoch")
    return CoopContext(ctx.detach().float(), number if isinstance(number, int) else 0, path)


def find_checkpoint(place: Path, epoch: int | None = None) -> Path:
    """The file that `read_context` reads."""
    if place.is_file():
        if epoch is not None:
            raise CcliError(f"{place} is one checkpoint; an epoch can be chosen in a run's folder")
        return place
    if not place.is_dir():
        raise CcliError(f"no such file or folder: {place}; give a run of CoOp or one of its checkpoints")
    folder = place / FOLDER if (place / FOLDER).is_dir() else place
    names = sorted(path.name for path in folder.iterdir())
    epochs = {int(match[1]): match[0] for match in map(_EPOCH.fullmatch, names) if match}
    if epoch is not None and epoch in epochs:
        return folder / epochs[epoch]
    if epoch is None and (BEST in names or epochs):
        return folder / (BEST if BEST in names else epochs[max(epochs)])
    wanted = "checkpoint of CoOp" if epoch is None else f"model.pth.tar-{epoch}"
    raise CcliError(f"{folder}: no {wanted}; there is {', '.join(names) or 'nothing'}")
