"""Reading a finished run's folder: its checkpoint and its classes. Nothing is unpickled."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ccli.atomic import moved_into_place
from ccli.errors import CcliError, first_line

RUN = "run.json"  # what a run started as: its classes and its options
IRRELEVANT = ("TEST", "TRAIN", "USE_CUDA", "VERBOSE")  # options that a resumed run may change


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
        raise CcliError(f"{path} is not a readable checkpoint: {first_line(error)[:150]}") from error


def has_checkpoint(folder: str, name: str) -> bool:
    return (Path(folder) / name / "checkpoint").is_file()


def write_run(folder: str, names: list[str], ids: list[str], options: dict) -> None:
    """Keep which class each logit stands for, and the run's options, beside the checkpoints."""
    write_json(Path(folder) / RUN, {"classnames": names, "class_ids": ids, "options": options})


def write_json(target: Path, content: dict) -> None:
    """Write beside, then move into place; the folder is made if absent."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with moved_into_place(target) as scratch:
            scratch.write_text(json.dumps(content))
    except OSError as error:
        raise CcliError(f"cannot write {target} ({error.strerror or error}); choose another --output-dir") from error


def read_classes(folder: str | Path) -> list[str]:
    """The class ids of a run's logits."""
    return [str(name) for name in _read_run(folder, "class_ids")]


def read_options(folder: str | Path) -> dict:
    """The options that a run was started with, and "weights", which tells what made its features."""
    return dict(_read_run(folder, "options"))


def check_same_run(folder: str | Path, options: dict) -> None:
    """Refuse to go on from checkpoints that were made with other options.

    Raises:
        CcliError: an option differs (named), or there is no seed, so that other shots would be drawn.
    """
    if options.get("SEED", 0) < 0:
        raise CcliError(f"{folder} holds an unseeded run, which nothing can resume; choose another --output-dir")
    refuse_other_options(folder, read_options(folder), options)


def refuse_other_options(folder: str | Path, before: dict, now: dict) -> None:
    """Raise CcliError where two configurations differ in anything that changes the result."""
    before, now = dict(_leaves(before)), dict(_leaves(now))
    for key in sorted(before.keys() | now.keys()):
        if key.partition(".")[0] not in IRRELEVANT and before.get(key) != now.get(key):
            raise CcliError(
                f"{folder} holds a run with {key} {before.get(key)!r}, not {now.get(key)!r}; "
                "choose another --output-dir or remove that folder"
            )


def _leaves(node: dict, prefix: str = ""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _read_run(folder: str | Path, key: str):
    path = Path(folder) / RUN
    try:
        return json.loads(path.read_text())[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CcliError(
            f"{path} is missing or damaged ({type(error).__name__}); it is written when a run starts"
        ) from error
