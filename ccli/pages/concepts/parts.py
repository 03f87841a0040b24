"""What numbers are made of, as the page has it: sums, the strongest concepts one by one, and the others as one."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ccli.inference.explanations import Parts, strongest

ROWS = 256  # explained at a time


def explained(run: Any, features: torch.Tensor, directions: Sequence[tuple[int, Sequence[int]]]) -> Iterator[Parts]:
    """The parts of each image's logit of a class, less the mean logit of other classes, one image's at a time.

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
        yield from map(found.row, range(len(f)))


def shown(parts: Parts, most_for: int, most_against: int, of_two: bool = False) -> dict[str, Any]:
    """What the page needs of one image's parts, with concepts by their place in the run.

    Args:
        of_two: whether they are a difference of two images' parts, neither of which the cosines are of.
    """
    chosen = strongest(parts.concepts, most_for, most_against)
    lacked = [] if of_two else [k for k in chosen if parts.cosines[k] < 0]
    rest = parts.concepts.sum() - parts.concepts[chosen].sum()
    sums = {name: rounded(getattr(parts, name).sum()) for name in ("total", "zero_shot", "class_texts", "constant")}
    return sums | {
        "concepts": [(k, rounded(parts.concepts[k])) for k in chosen],
        "lacked": lacked,
        "others": (len(parts.concepts) - len(chosen), rounded(rest)),
    }


def rounded(value: torch.Tensor | float) -> float:
    """Five digits: more than is shown, and short in the page."""
    return float(f"{float(value):.5g}") or 0.0  # not -0.0
