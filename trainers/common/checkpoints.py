"""Reading a run's folder: checkpoint, classes and options, and whether it can be evaluated. Nothing is unpickled."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from ccli.errors import CcliError, in_one_line
from ccli.files.atomic import write_whole
from ccli.files.safe_load import load_checkpoint
from ccli.files.sealed_json import read_sealed, sealed
from ccli.results.identity import RUN, Difference, FolderState, State, differing_options, folder_state
from ccli.results.records import RECORD, fingerprint, is_done, leaves, read_record

HEAD = "head"  # the name of the registered model, and of its folder of checkpoints
OTHER_FOLDER = "choose another --output-dir or remove that folder"
ODD = (LookupError, TypeError, ValueError, AttributeError, RuntimeError)  # raised by a checkpoint that does not fit


def read_checkpoint(folder: Path, epoch: int | None = None) -> dict[str, torch.Tensor]:
    """The state_dict in OUTPUT/<name>: of the best model, of an epoch, or of the file that `checkpoint` names.

    Raises:
        CcliError: there is no checkpoint, or it holds more than tensors and plain values.
    """
    path = folder / ("model-best.pth.tar" if epoch is None else f"model.pth.tar-{epoch}")
    if epoch is None and not path.exists() and (folder / "checkpoint").exists():
        path = folder / Path(_pointed(folder)).name  # never a path out of the folder
    if not path.is_file():
        raise CcliError(f"no checkpoint {path}; --model-dir wants the output folder of a finished run")
    content = load_checkpoint(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(x, torch.Tensor) for x in state.values()):
        raise CcliError(f"{path} is not a readable checkpoint: its state_dict is not a dict of tensors")
    return state


def _pointed(folder: Path) -> str:
    """The name in the file `checkpoint`; the start of its SHA-256 follows, unless upstream's Dassl wrote it."""
    name, *digest = (folder / "checkpoint").read_text(errors="replace").split("\n")[:2]
    if any(digest) and digest[0] != hashlib.sha256(name.encode()).hexdigest()[:16]:
        raise CcliError(f"{folder / 'checkpoint'} is damaged; write the name of the last checkpoint into it")
    return name.strip()


def has_checkpoint(folder: str, name: str) -> bool:
    return (Path(folder) / name / "checkpoint").is_file()


def folder_of_checkpoints(folder: str | Path) -> Path:
    """Where a run keeps its checkpoints. Raises CcliError where something else has that name."""
    place = Path(folder) / HEAD
    if os.path.lexists(place) and not place.is_dir():
        raise CcliError(f"{place} is not a folder, and checkpoints go into one of that name; remove it")
    return place


def head_of(trainer, state: dict[str, torch.Tensor], folder: str | Path, some: torch.Tensor) -> torch.nn.Module:
    """The head with a checkpoint's tensors; `some` features [n, D] show that they are of its method and width."""
    what = f"the checkpoint in {folder} does not fit {trainer.cfg.TRAINER.NAME} and these features"
    with in_one_line(ODD, what, "make that run again"):
        head = trainer.head_from_state(state).to(trainer.device).eval()
        with torch.inference_mode():
            head(some)
    return head


def write_run(folder: str, names: list[str], ids: list[str], options: dict) -> None:
    """Write the class of each logit and the run's options beside the checkpoints."""
    content = {"classnames": names, "class_ids": ids, "options": options}
    write_whole(Path(folder) / RUN, sealed(json.dumps(content)))


def read_classes(folder: str | Path) -> list[str]:
    """The class ids of a run's logits."""
    return [str(name) for name in _read_run(folder, "class_ids")]


def read_options(folder: str | Path) -> dict:
    """The options that a run was started with, and "weights", a digest of the model that made its features."""
    return dict(_read_run(folder, "options"))


def check_same_run(folder: str | Path, options: dict) -> None:
    """Raise CcliError where a run cannot be resumed.

    An option differs (named), an image file has changed, or there is no seed, so that other shots would be drawn.
    """
    if options.get("SEED", 0) < 0:
        raise CcliError(f"{folder} holds an unseeded run, which cannot be resumed; choose another --output-dir")
    before, now = read_options(folder), dict(options)
    images = before.pop("images", ""), now.pop("images", "")
    refuse_differing(folder, differing_options(before, now))
    if images[0] != images[1]:
        raise other_images(folder)


def refuse_differing(folder: str | Path, differing: Sequence[Difference], what: str = "run") -> None:
    """Raise CcliError where the run in a folder, or its record, differs from the one to be made there."""
    for option, before, now in differing[:1]:
        raise CcliError(f"{folder} holds a {what} with {option} {before}, not {now}; {OTHER_FOLDER}")


def other_images(folder: str | Path) -> CcliError:
    files = "images that were other files than now (by name, size or time of change)"
    return CcliError(f"{folder} holds a run on {files}; {OTHER_FOLDER}")


def check_evaluation(folder: str | Path, cfg) -> None:
    """Raise CcliError where the trainer is not the run's, or the shots or the seed where they are given (not -1)."""
    ran = dict(leaves(read_options(folder)))
    trainer = ran.get("TRAINER.NAME", cfg.TRAINER.NAME)
    if trainer != cfg.TRAINER.NAME:
        raise CcliError(f"{folder} holds a run of {trainer}, not of {cfg.TRAINER.NAME}; give --trainer {trainer}")
    for key, given in (("DATASET.NUM_SHOTS", cfg.DATASET.NUM_SHOTS), ("SEED", cfg.SEED)):
        if given >= 0 and given != ran.get(key, given):
            raise CcliError(f"{folder} holds a run with {key} {ran[key]}, not {given}; give the run's, or leave it out")


def why_no_record(run: str, epoch: int | None, folder: str, split: str) -> str:
    """Why evaluating `run` at `epoch` on `split` leaves no record in `folder`; "" where it does leave one."""
    if split != "test":
        return f"TEST.SPLIT is {split}, and a record speaks of test images"
    if not run:
        return "it would be of a finished run; give --model-dir RUN"
    if epoch is not None and not (has_checkpoint(run, HEAD) and _pointed(Path(run) / HEAD) == f"model.pth.tar-{epoch}"):
        return f"it would be of the run as it ended; leave out --load-epoch {epoch}"
    if not is_done(run):
        return f"{run} has no readable {RECORD}; finish that run"
    if (Path(folder) / RUN).exists():
        return f"{folder} is a training run's own folder; give another --output-dir"
    return ""


def refuse_another_record(folder: str | Path, record: dict) -> None:
    """Raise CcliError where a folder has the record of another data set, method, number of shots, seed or source."""
    there = folder_state(folder).record or record
    pairs = [
        (key, there.get(key), record.get(key)) for key in ("dataset", "trainer", "cfg", "shots", "seed", "trained_on")
    ]
    refuse_differing(folder, [Difference(key, repr(a), repr(b)) for key, a, b in pairs if a != b], "record")


def refuse_foreign_record(folder: str | Path, found: FolderState) -> None:
    """Raise CcliError where a folder to train in has the record of an evaluation, or of a run with other options."""
    if found.state is State.EVALUATION:
        raise CcliError(f"{folder} holds the record of an evaluation; choose another --output-dir")
    refuse_differing(folder, found.differing)


def is_evaluated(run: str, folder: str) -> bool:
    """Whether the record in `folder` is of `run` as it is now: of the same record, which is not newer."""
    written = [(Path(place) / RECORD).stat().st_mtime_ns for place in (run, folder)]
    return written[0] <= written[1] and read_record(folder).get("run") == fingerprint(read_record(run))


def _read_run(folder: str | Path, key: str):
    path = Path(folder) / RUN
    unreadable = (OSError, ValueError, KeyError, TypeError)
    with in_one_line(unreadable, f"{path} is missing or damaged", "it is written when a run starts"):
        return read_sealed(path)[key]
