"""The fields of a run's record, their types and limits, and a check in words."""

import math
import sys
from typing import Annotated, Any, Literal, get_args

from msgspec import UNSET, Meta, Struct, UnsetType, convert
from msgspec.structs import fields

from ccli.files.sealed_json import in_words

VERSION = 2
Protocol = Literal["validation", "fixed", "paper"]
SelectedBy = Literal["none", "validation", "cross-validation", "default", "fixed", "test"]
FittedOn = Literal["validation", "cross-validation", "none"]
PROTOCOLS = get_args(Protocol)
CHOICES = {"protocol": PROTOCOLS, "selected_by": get_args(SelectedBy), "calibration": get_args(FittedOn)}

LARGEST, FINITE = 2**63 - 1, sys.float_info.max
Text = Annotated[str, Meta(min_length=1)]
Int = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Seconds = Annotated[float, Meta(ge=0, le=FINITE)]
Share = Annotated[float, Meta(ge=0, le=1)]


class ClassCounts(Struct, kw_only=True):
    """The test images of one class."""

    name: str
    correct: Count
    total: Count

    def __post_init__(self) -> None:
        if self.correct > self.total:
            raise ValueError(f"Expected correct <= total, got {self.correct} of {self.total}")


class CalibrationFields(Struct, kw_only=True):
    """How logits become probabilities, and how far off these are."""

    temperature: Annotated[float, Meta(gt=0, le=FINITE)]  # logits are divided by it
    fitted_on: FittedOn  # the images that it comes from
    ece: Share  # expected calibration error of the test images' probabilities
    ece_uncalibrated: Share  # the same at temperature 1


class Record(Struct, kw_only=True):
    """All fields are required but those with a default. Further fields are kept as they are."""

    version: Int  # of this layout; filled in by `write_record`
    dataset: Text
    trainer: Text
    cfg: str
    backbone: Text
    shots: Annotated[int, Meta(ge=-1, le=LARGEST)]  # training images per class; 0 none, -1 all
    seed: Int
    protocol: Protocol
    selected_by: SelectedBy  # what chose the hyper-parameters
    correct: Count  # test images
    total: Annotated[int, Meta(ge=1, le=LARGEST)]
    accuracy: Annotated[float, Meta(ge=0, le=100)]  # percent: 100 * correct / total
    per_class: list[ClassCounts]  # sums are correct and total
    predictions: list[Int]  # labels, one per test image, in test order
    labels: list[Int]  # the true ones, likewise
    hyper_parameters: dict[str, Any]
    seconds: dict[str, Seconds]  # by phase
    # `ccli.results.records.versions`; of a run also its device and whether the same command gives the same bits there
    # (deterministic; always on a CPU)
    versions: dict[str, Any]
    config: str | dict[str, Any]  # the run's options
    calibration: CalibrationFields | UnsetType = UNSET
    run: Text | UnsetType = UNSET  # of an evaluation: `fingerprint` of the evaluated run's record
    trained_on: Text | UnsetType = UNSET  # of an evaluation on another data set than the run's: the run's
    # of image files: changes when one of them is another file, by name, size or time of change
    images: Text | UnsetType = UNSET
    warnings: list[Text] | UnsetType = UNSET  # what the user should know of the data, such as files that were left out

    def contradiction(self) -> str:
        """Where two fields contradict each other, "" where none do."""
        correct, total = self.correct, self.total
        if correct > total:
            return f"has correct = {correct} of only {total} test images"
        if not math.isclose(self.accuracy, 100 * correct / total, rel_tol=1e-9, abs_tol=1e-9):
            return f"has accuracy = {self.accuracy!r}, but 100 * {correct} / {total} = {100 * correct / total!r}"
        for name in ("correct", "total"):
            summed = sum(getattr(one, name) for one in self.per_class)
            if summed != getattr(self, name):
                return f"has {name} = {getattr(self, name)}, but the {name} of per_class sum to {summed}"
        for name in ("predictions", "labels"):
            if len(getattr(self, name)) != total:
                return f"has {len(getattr(self, name))} {name} for {total} test images"
        right = sum(a == b for a, b in zip(self.predictions, self.labels))
        if right != correct:
            return f"has correct = {correct}, but {right} predictions are their image's label"
        if self.selected_by == "test" and self.protocol != "paper":
            allowed = "only protocol paper may look at the test set"
            return f"has selected_by = test under protocol {self.protocol}; {allowed}"
        return ""


FIELDS = tuple(field.name for field in fields(Record) if field.required)


def record_problem(record: Any) -> str:
    """What is wrong with a record, "" where nothing is."""
    if not isinstance(record, dict):
        return f"holds a {type(record).__name__} where a record (a dict) belongs"
    # The version comes first: in another layout, a missing field is a consequence and not the cause.
    version = record.get("version")
    if type(version) is int and version != VERSION:
        return f"has version {version}, this code reads version {VERSION}"
    try:
        return convert(record, Record).contradiction()
    except ValueError as error:
        return in_words(error, record, CHOICES)
