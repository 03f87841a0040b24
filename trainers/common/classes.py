"""The classes of a data set, and their columns in a model's logits."""

from collections import Counter

import torch

from ccli.errors import CcliError


def check_trainable(name: str, dataset, trainer) -> None:
    """Refuse to train on a data set with test images only; both may be classes or their instances.

    Raises:
        CcliError: the data set is for evaluation only, and the trainer needs shots.
    """
    if getattr(dataset, "test_only", False) and getattr(getattr(trainer, "method", None), "uses_shots", True):
        raise CcliError(f"{name} is for evaluation only: train on its source, then --eval-only --model-dir RUN")


def class_subset(known: list[str], wanted: list[str]) -> torch.Tensor:
    """Columns [n] of `known` class ids that are the `wanted` ones, in the order of the latter.

    Raises:
        CcliError: a wanted class is unknown, or two classes share its name.
    """
    counts = Counter(known), Counter(wanted)
    for name in wanted:
        if max(count[name] for count in counts) > 1:
            raise CcliError(
                f"two classes are called {name!r}, so that those of the model and of this data set, which differ in "
                "number or order, cannot be told apart; give them names of their own"
            )
    where = {name: k for k, name in enumerate(known)}
    missing = [name for name in wanted if name not in where]
    if missing:
        raise CcliError(
            f"the model knows {len(known)} classes, but not {missing[0]!r}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + " of this data set; train it on this one, or take a method that reads class names (CoOp, ZeroshotCLIP)"
        )  # fmt: skip
    return torch.tensor([where[name] for name in wanted])


def class_ids_of(dataset) -> list[str]:
    return list(getattr(dataset, "class_ids", None) or dataset.classnames)
