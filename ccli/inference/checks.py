"""What must hold in a classifier's files before anything is built from them. Each check raises ValueError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def _all(kind: type) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, list) and all(type(value) is kind for value in values)


_TEXTS, _WHOLE, _TEXT, _DICT = _all(str), _all(int), lambda v: isinstance(v, str), lambda v: isinstance(v, dict)
_COUNT = lambda v: type(v) is int and v >= 0  # noqa: E731
_NUMBER = lambda v: type(v) in (int, float) and 1e-6 < v < 1e6  # noqa: E731
_MAYBE = lambda v: v is None or isinstance(v, dict)  # noqa: E731
FIELDS = {
    "head": _TEXT, "method": _TEXT, "classnames": _TEXTS, "width": _COUNT, "calibration": _DICT, "templates": _TEXTS,
    "vocabulary": _MAYBE, "images": _MAYBE,
}  # fmt: skip
PARTS = {
    "calibration": {"temperature": _NUMBER, "fitted_on": _TEXT},
    "images": {
        "backbone": _TEXT, "weights": _TEXT, "precision": _TEXT, "crops": _COUNT, "decoding": _TEXT,
        "crop": lambda v: isinstance(v, list) and len(v) == 2 and all(map(_NUMBER, v)),
    },
    "concepts": {
        "names": _TEXTS, "kinds": _TEXTS, "images": _TEXTS, "labels": _WHOLE,
        "picks": lambda v: isinstance(v, list) and all(map(_WHOLE, v)),
    },
    "examples": {"paths": _TEXTS, "labels": _WHOLE, "predictions": _WHOLE},
}  # fmt: skip


def check_facts(facts: dict[str, Any]) -> None:
    """Types, and what can be seen without the tensors."""
    _check_fields(facts, FIELDS, "")
    for part, fields in PARTS.items():
        if facts.get(part) is not None:
            _check_fields(facts[part], fields, f"{part}.")
    count = len(facts["classnames"])
    concepts, examples = facts.get("concepts"), facts.get("examples")
    if concepts:
        _check_lengths(concepts, ("names", "kinds", "picks"))
        _check_lengths(concepts, ("images", "labels"))
        _check_range(concepts["labels"], count)
        for picks in concepts["picks"]:
            _check_range(picks, len(concepts["images"]))
    if examples:
        _check_lengths(examples, ("paths", "labels", "predictions"))
        _check_range(examples["labels"] + examples["predictions"], count)


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
    if not _labels_fit(tensors.get("head.labels"), tensors.get("head.text_features")):
        raise ValueError("head.labels are not classes")


def _labels_fit(labels: torch.Tensor | None, text: torch.Tensor | None) -> bool:
    if labels is None or text is None or not labels.numel():
        return True
    return not labels.is_floating_point() and 0 <= int(labels.min()) <= int(labels.max()) < len(text)


def _check_fields(given: Any, fields: dict[str, Callable[[Any], bool]], prefix: str) -> None:
    for name, good in fields.items():
        if not good(given[name]):
            raise ValueError(f"{prefix}{name} is {repr(given[name])[:60]}")


def _check_lengths(part: dict[str, list], names: tuple[str, ...]) -> None:
    if len({len(part[name]) for name in names}) > 1:
        raise ValueError(f"{', '.join(names)} differ in length")


def _check_range(numbers: list[int], count: int) -> None:
    if any(not 0 <= number < count for number in numbers):
        raise ValueError(f"a number is outside 0..{count - 1}")
