"""Options and data sets that no trainer can work with, refused before anything is loaded, by the names of options."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from ccli.clip.model import PRECISIONS
from ccli.errors import CcliError, SettingError, check_choice, check_setting, printable
from ccli.results.records import leaves
from ccli.results.schema import PROTOCOLS

SPLITS = ("test", "val")
LARGEST = 1e30  # of an option
LARGEST_SEED = 2**32 - 1  # that numpy takes
LONGEST = 255  # bytes of a file's name
MOST_VALUES = 10_000  # of a yaml


WITHIN = {
    "a number > 0": lambda x: x > 0,
    "a number >= 0": lambda x: x >= 0,
    "a number from 0 to 1": lambda x: 0 <= x <= 1,
    "an integer >= 0": lambda x: x >= 0,
    "an integer >= 1": lambda x: x >= 1,
    "last_step, with what PROTOCOL has chosen": lambda x: x == "last_step",
    "two shares of the area, 0 < low <= high <= 1": lambda x: _are_numbers(x) and len(x) == 2 and 0 < x[0] <= x[1] <= 1,
}
COMMON: dict[str, str | tuple[str, ...]] = {  # what all feature trainers read
    "PROTOCOL": PROTOCOLS,
    "DATALOADER.TRAIN_X.BATCH_SIZE": "an integer >= 1",
    "DATALOADER.TEST.BATCH_SIZE": "an integer >= 1",
    "TRAIN.PRINT_FREQ": "an integer >= 1",
    "OPTIM.LR": "a number > 0",
    "OPTIM.WEIGHT_DECAY": "a number >= 0",
    "OPTIM.MAX_EPOCH": "an integer >= 0",
    "TEST.SPLIT": SPLITS,
    "TEST.FINAL_MODEL": "last_step, with what PROTOCOL has chosen",
    "FEATURES.PRECISION": tuple(PRECISIONS),
    "FEATURES.CROPS": "an integer >= 0",
    "FEATURES.CROP": "two shares of the area, 0 < low <= high <= 1",
}


def check_options(cfg, limits: Mapping[str, str | tuple[str, ...]]) -> None:
    """Raise SettingError for the first option outside its limit: a key of WITHIN, or the known values."""
    values = dict(leaves(cfg))
    for key, limit in limits.items():
        if isinstance(limit, tuple):
            check_choice(key, values[key], limit)
        else:
            check_setting(WITHIN[limit](values[key]), key, limit, values[key])


def _are_numbers(values) -> bool:
    """Whether an option that holds several values holds numbers alone."""
    return all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)


def refuse_growing(path: str) -> None:
    """Raise ValueError where a yaml's aliases stand for so much that it could not be merged."""
    text = Path(path).read_text(encoding="utf-8")
    if "&" not in text:
        return
    import yaml

    left, count = [yaml.safe_load(text)], 0
    while left:
        value, count = left.pop(), count + 1
        if count > MOST_VALUES:
            raise ValueError(f"its aliases stand for more than {MOST_VALUES} values; write them out")
        left += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []


def refuse_odd(cfg) -> None:
    """Refuse options that are infinite, not a number, or so large that float32 overflows, and text that is none."""
    for key, value in leaves(cfg):
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is None:
                raise CcliError(f"option {key} is None; leave it out to have its default")
            if isinstance(one, float) and not abs(one) <= LARGEST:
                raise CcliError(f"option {key} is {value}; give numbers between {-LARGEST:g} and {LARGEST:g}")
            if isinstance(one, str) and printable(one) != one:
                raise CcliError(f"option {key}: {one!r} is not UTF-8, which no log can hold; give another name")
            if isinstance(one, str) and "\0" in one:
                raise CcliError(f"option {key}: {one!r} holds a zero byte, which no name can; leave it out")
            if isinstance(one, str) and max(len(part.encode()) for part in one.split("/")) > LONGEST:
                raise CcliError(f"option {key}: {one[:20]!r}... is longer than the name of a file may be; shorten it")
    if cfg.SEED > LARGEST_SEED:
        raise CcliError(f"SEED is {cfg.SEED}; it must be {LARGEST_SEED} at most")


def check_trainable(name: str, dataset, trainer) -> None:
    """Raise CcliError where a trainer needs shots and a data set has none; both may be classes or their instances."""
    if getattr(dataset, "test_only", False) and getattr(getattr(trainer, "method", None), "uses_shots", True):
        raise CcliError(f"{name} is for evaluation only: train on its source, then --eval-only --model-dir RUN")


@contextmanager
def option_names(names: Mapping[str, str]) -> Iterator[None]:
    """In a FloatingPointError's message, replace words of the library by options: {"the learning rate": "OPTIM.LR"}."""
    try:
        yield
    except FloatingPointError as error:
        message = str(error)
        for words, option in names.items():
            message = message.replace(words, option)
        raise FloatingPointError(message) from error


def settings_of(kind: type, node, place: str):
    """The settings of a method out of a node of the configuration.

    Args:
        kind: a dataclass, which checks its fields; NODE.FIELD in upper case is the option of a field.
        place: of the node, such as "TRAINER.CCLI".

    Raises:
        SettingError: a setting cannot be used; its option is named.
    """
    try:
        return kind(**{field.name: node[field.name.upper()] for field in fields(kind)})
    except SettingError as error:
        raise SettingError(f"{place}.{error.name.upper()}", error.problem) from error
