"""Is this the same run? In what two configurations differ, and what a run's folder holds.

A configuration is a run's options as its record keeps them: nested dicts of plain values. Two are of one run if every
option has the same value in both; an option that only one of them has tells them apart, too. The exceptions are the
options of MAY_DIFFER, each for the reason before it, and those in another trainer's section, such as
TRAINER.GDA.WEIGHT in a run of CCLI. Other trainers than the built-in ones may read any option but those without effect.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from ccli.results.methods import METHODS
from ccli.results.records import RECORD, is_evaluation, try_record

RUN = "run.json"  # what a run leaves in its folder as it starts

PLACE = "a place on this machine"
NO_EFFECT = "changes no result"
UNREAD = "read by no built-in method; with another one it counts"
ONE_TOOLBOX = "of a data set that only upstream's Dassl has; counts where both have it"
OF_FILES = "a digest of files; where they are gone they may be the same"
PER_SEED = "may differ between the seeds of an experiment, and not within a run"
MAY_DIFFER = {
    PLACE: ("OUTPUT_DIR", "RESUME", "DATASET.ROOT", "FEATURES.STORE"),
    NO_EFFECT: ("VERSION", "USE_CUDA", "VERBOSE", "DATALOADER.NUM_WORKERS", "TEST.*", "TRAIN.*"),
    UNREAD: (
        *("INPUT.*", "MODEL.INIT_WEIGHTS", "MODEL.BACKBONE.PRETRAINED", "MODEL.HEAD.*"),
        *("DATALOADER.K_TRANSFORMS", "DATALOADER.RETURN_IMG0", "DATALOADER.TRAIN_U.*"),
    ),
    ONE_TOOLBOX: ("DATASET.STL10_FOLD", "DATASET.CIFAR_C_*"),
    OF_FILES: ("DATASET.SPLIT_FILE", "MODEL.BACKBONE.FILES"),
    PER_SEED: ("SEED", "DATASET.PICKS"),  # published lists of picks are one per seed
}


class Difference(NamedTuple):
    """An option in which two configurations differ, with its values as text."""

    option: str
    before: str
    now: str


def differing_options(before: Any, now: Mapping[str, Any], across_seeds: bool = False) -> list[Difference]:
    """The options that make two configurations different runs, sorted.

    Args:
        before: a configuration that was read; one that is not a dict differs as a whole.
        now: the other one, of which files may be gone.
        across_seeds: whether to ask for one experiment, whose seeds differ, instead of one run.
    """
    if not isinstance(before, Mapping):
        return [Difference("options", f"{before!r:.40}", "options that are known")]
    trainers = {_trainer(config) for config in (before, now)}
    return [
        Difference(option, *("not set" if value is None else repr(value) for value in values))
        for option, *values in _unequal(before, now)
        if not _may_differ(option, *values, trainers, across_seeds)
    ]


def _unequal(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(option, its value before, its value now; None where it is not set)."""
    for key in sorted(before.keys() | now.keys()):
        first, second = before.get(key), now.get(key)
        if first == second:
            continue
        if all(value is None or isinstance(value, Mapping) for value in (first, second)):
            yield from _unequal(first or {}, second or {}, f"{prefix}{key}.")
        else:
            yield prefix + key, first, second


def _may_differ(option: str, before: Any, now: Any, trainers: set[str], across_seeds: bool) -> bool:
    matching = (why for why, patterns in MAY_DIFFER.items() if any(fnmatchcase(option, one) for one in patterns))
    reason = next(matching, "")
    if reason == UNREAD or _of_another_trainer(option, trainers):
        return trainers <= METHODS.keys()
    if reason == ONE_TOOLBOX:
        return before is None or now is None
    if reason == OF_FILES:
        return now is None and not across_seeds
    if reason == PER_SEED:
        return across_seeds and not any(value in ("", None) for value in (before, now))
    return reason != ""


def _trainer(config: Mapping[str, Any]) -> str:
    node = config.get("TRAINER")
    return str(node.get("NAME")) if isinstance(node, Mapping) else ""


def _of_another_trainer(option: str, trainers: set[str]) -> bool:
    """Whether an option such as TRAINER.GDA.WEIGHT is in the section of none of the trainers."""
    section, _, rest = option.partition(".")
    name, dot, _ = rest.partition(".")
    return section == "TRAINER" and dot != "" and name not in {trainer.upper() for trainer in trainers}


class State(Enum):
    """What a folder holds, as far as a run that is to be made there is concerned."""

    ABSENT = "nothing of a run"
    UNFINISHED = "a run that has started and not ended"
    DAMAGED = "a record that cannot be read"
    EVALUATION = "the record of an evaluation of a finished run"
    ANOTHER = "the record of another run"
    DONE = "the record of this run"


class FolderState(NamedTuple):
    """The state of a folder, and what it was told by."""

    state: State
    record: dict[str, Any] | None = None
    differing: list[Difference] = []  # of the record's configuration from that of the run to be made
    problem: str = ""  # what is wrong with a damaged record


def folder_state(folder: str | Path, options: Callable[[], Mapping[str, Any]] | None = None) -> FolderState:
    """What a folder holds.

    Args:
        folder: a run's output folder.
        options: gives the configuration of the run that is to be made there, and is called where there is a record to
            compare it with; without it every finished run is DONE.

    Raises:
        CcliError: the disk does not say, so that there may be a result which must not be written over.
    """
    if not (Path(folder) / RECORD).exists():
        return FolderState(State.UNFINISHED if (Path(folder) / RUN).exists() else State.ABSENT)
    record, problem = try_record(folder)
    if record is None:
        return FolderState(State.DAMAGED, problem=problem)
    differing = differing_options(record["config"], options()) if options else []
    if is_evaluation(record):
        return FolderState(State.EVALUATION, record, differing)
    return FolderState(State.ANOTHER if differing else State.DONE, record, differing)
