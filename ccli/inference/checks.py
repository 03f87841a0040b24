"""What must hold in a classifier's files before anything is built from them. Each check raises ValueError."""

from typing import Any

import torch
from msgspec import Struct, convert

from ccli.features.encoder import ImageSpec
from ccli.files.sealed_json import Count, Number, in_words


class CalibrationFields(Struct, kw_only=True):
    temperature: Number
    fitted_on: str


class ConceptFields(Struct, kw_only=True):
    """Of `ccli.concepts.gallery.Concepts`, without its tensors."""

    names: list[str]
    kinds: list[str]  # one per name
    picks: list[list[int]]  # one list per name: places in images
    images: list[str]
    labels: list[int]  # one class per image
    ranks: list[int] = []  # one per name, or none
    synonyms: list[list[str]] = []  # one list per name, or none


class ExampleFields(Struct, kw_only=True):
    """Of `ccli.inference.classifier.Examples`, without its tensors."""

    paths: list[str]
    labels: list[int]  # one class per path
    predictions: list[int]


class EditFields(Struct, kw_only=True):
    """Of `ccli.inference.classifier.Classifier.edited`."""

    dropped: list[str]
    refitted: bool


class ClassifierFields(Struct, kw_only=True):
    """What classifier.json holds beside its version and the digest of its tensors."""

    head: str  # a module of ccli.methods
    method: str
    classnames: list[str]
    width: Count
    calibration: CalibrationFields
    templates: list[str]
    vocabulary: dict[str, Any] | None
    images: ImageSpec | None
    concepts: ConceptFields | None = None
    examples: ExampleFields | None = None
    edited: EditFields | None = None


def check_facts(facts: dict[str, Any]) -> None:
    """Types and limits, and contradictions that can be seen without the tensors."""
    try:
        found = convert(facts, ClassifierFields)
    except ValueError as error:
        raise ValueError(in_words(error, facts)) from error
    count, concepts, examples = len(found.classnames), found.concepts, found.examples
    if concepts:
        _check_lengths(concepts, ("names", "kinds", "picks"))
        for name in ("ranks", "synonyms"):
            if getattr(concepts, name):
                _check_lengths(concepts, ("names", name))
        _check_lengths(concepts, ("images", "labels"))
        _check_range(concepts.labels, count)
        for picks in concepts.picks:
            _check_range(picks, len(concepts.images))
    if examples:
        _check_lengths(examples, ("paths", "labels", "predictions"))
        _check_range(examples.labels + examples.predictions, count)


def check_tensors(tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Finite numbers, shapes that fit, and none that is made of more rows than there are numbers."""
    width, held = facts["width"], sum(x.numel() for x in tensors.values())
    for name, x in tensors.items():
        if x.is_complex() or not torch.isfinite(x.float()).all():
            raise ValueError(f"{name} holds values that are not finite")
        if max(x.shape, default=0) > held:
            raise ValueError(f"{name} has shape {tuple(x.shape)} in a file of {held} numbers")
    if not any(width in x.shape for name, x in tensors.items() if name.startswith("head.")):
        raise ValueError(f"no tensor of the head is {width} wide")
    rows = {"prototypes": len(facts["classnames"])}
    if facts.get("concepts"):
        rows["concepts.rows"] = len(facts["concepts"]["names"])
    if facts.get("examples"):
        rows["examples.features"] = len(facts["examples"]["paths"])
    for name, count in rows.items():
        if name in tensors and tuple(tensors[name].shape) != (count, width):
            raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, not {(count, width)}")
    if facts.get("concepts") and tensors["concepts.distinctiveness"].shape != (rows["concepts.rows"],):
        raise ValueError("concepts.distinctiveness is not one number for each concept")
    chosen = tensors.get("head.network.chosen")
    if facts.get("concepts") and chosen is not None and len(chosen) != rows["concepts.rows"]:
        raise ValueError(f"the network has {len(chosen)} concepts, and {rows['concepts.rows']} are named")
    if not _labels_fit(tensors.get("head.labels"), tensors.get("head.text_features")):
        raise ValueError("head.labels are not classes")


def _labels_fit(labels: torch.Tensor | None, text: torch.Tensor | None) -> bool:
    if labels is None or text is None or not labels.numel():
        return True
    return not labels.is_floating_point() and 0 <= int(labels.min()) <= int(labels.max()) < len(text)


def _check_lengths(part: Struct, names: tuple[str, ...]) -> None:
    if len({len(getattr(part, name)) for name in names}) > 1:
        raise ValueError(f"{', '.join(names)} differ in length")


def _check_range(numbers: list[int], count: int) -> None:
    if any(not 0 <= number < count for number in numbers):
        raise ValueError(f"a number is outside 0..{count - 1}")
