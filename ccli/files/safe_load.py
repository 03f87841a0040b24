"""Checkpoints that Dassl wrote, without running anything of them.

Dassl's warm-up keeps the scheduler that follows it, and so the optimizer, as pickled objects: torch's restricted reader
is given classes that do nothing in their place, and every other class is refused.
"""

import io
import re
import zipfile
from pathlib import Path

import torch

from ccli.errors import CcliError, first_line

_FOLDER = 0x10  # a zip entry's attribute: torch's reader would give what happens to be in memory for its content


def load_checkpoint(path: Path, kind: str = "checkpoint") -> object:
    """What torch.save wrote, on the CPU; inert objects stand for those of `_PICKLED`.

    Raises:
        CcliError: it is damaged, or holds an object beside tensors and plain values; `kind` names it in the message.
    """
    try:
        content = path.read_bytes()
        check_archive(content)
        with torch.serialization.safe_globals(_STAND_INS):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # damage shows itself in a dozen types
        found = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it holds {found[1]}, which no checkpoint does" if found else first_line(error, 150)
        raise CcliError(f"{path} is not a readable {kind}: {why}") from error


def check_archive(content: bytes) -> None:
    """Raises ValueError where a zip archive, such as torch.save writes, is damaged: torch's reader does not check."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            folders = [entry.filename for entry in archive.infolist() if entry.external_attr & _FOLDER]
            bad = archive.testzip() or "".join(folders[:1])
    except Exception as error:  # damage shows itself in half a dozen types
        raise ValueError(f"damaged ({error})") from error
    if bad:
        raise ValueError(f"damaged ({bad} is not as it was written)")


class _Nothing:
    """Takes the place of an object: it is given that object's contents and keeps none of them."""

    def __init__(self, *_: object):
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _empty_dict(*_: object) -> dict:
    """Takes the place of defaultdict, which torch's reader cannot fill."""
    return {}


_PICKLED = (  # by a warm-up scheduler: what it is, what follows it, the optimizer, and the type in its defaultdict
    *(f"dassl.optim.lr_scheduler.{name}WarmupScheduler" for name in ("Constant", "Linear")),
    *(f"torch.optim.lr_scheduler.{name}" for name in ("CosineAnnealingLR", "StepLR", "MultiStepLR")),
    *("torch.optim.sgd.SGD", "torch.optim.adam.Adam", "torch.optim.adamw.AdamW", "torch.optim.rmsprop.RMSprop"),
    *("torch.optim.radam.RAdam", "dassl.optim.radam.RAdam", "builtins.dict"),
)
# a class of its own for each name, since the reader knows classes apart by identity
_STAND_INS = [
    *((type(name.rpartition(".")[2], (_Nothing,), {}), name) for name in _PICKLED),
    (_empty_dict, "collections.defaultdict"),
]
