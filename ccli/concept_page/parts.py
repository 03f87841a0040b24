"""What numbers are made of, as the page has it: sums, the strongest concepts one by one, and the others as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from ccli.explanations import strongest

ROWS = 256  # explained at a time


class Parts(NamedTuple):
    """The parts of one number: all but `concepts` [I] are scalars, and together they add up to `total`.

    cosines [I]: of the image and each concept; None where the number is of two images.
    """

    total: torch.Tensor
    zero_shot: torch.Tensor
    class_texts: torch.Tensor
    constant: torch.Tensor
    concepts: torch.Tensor
    cosines: torch.Tensor | None

    def minus(self, other: Parts) -> Parts:
        return Parts(*(a - b for a, b in zip(self[:-1], other)), None)


def explained(run: Any, features: torch.Tensor, directions: Sequence[tuple[int, Sequence[int]]]) -> Iterator[Parts]:
    """The parts of each image's logit of a class, less the mean logit of other classes.

    Args:
        run: from `ccli.load_run`.
        features: [B, D]
        directions: B of (the class, those whose mean logit is taken off it, which may be none).
    """
    for start in range(0, len(features), ROWS):
        f = features[start : start + ROWS]
        direction = f.new_zeros(len(f), len(run.classnames))
        for row, (label, others) in zip(direction, directions[start : start + ROWS]):
            row[label] += 1
            if len(others):
                row[list(others)] -= 1 / len(others)
        found = run.explain_features(f, direction)
        texts = found.class_texts.sum(1)
        columns = (found.total, found.zero_shot, texts, found.constant, found.concepts, found.cosines)
        for row in zip(*(column.double() for column in columns)):
            yield Parts(*row)


def shown(parts: Parts, most_for: int, most_against: int) -> dict[str, Any]:
    """What the page needs of it, with concepts by their place in the run."""
    chosen = strongest(parts.concepts, most_for, most_against)
    lacked = [] if parts.cosines is None else [k for k in chosen if parts.cosines[k] < 0]
    rest = parts.concepts.sum() - parts.concepts[chosen].sum()
    sums = {name: rounded(getattr(parts, name)) for name in ("total", "zero_shot", "class_texts", "constant")}
    return sums | {
        "concepts": [(k, rounded(parts.concepts[k])) for k in chosen],
        "lacked": lacked,
        "others": (len(parts.concepts) - len(chosen), rounded(rest)),
    }


def rounded(value: torch.Tensor | float) -> float:
    """Five digits: more than is shown, and short in the page."""
    return float(f"{float(value):.5g}") or 0.0  # not -0.0
