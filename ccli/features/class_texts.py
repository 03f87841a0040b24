"""Features of class texts, with a warning where a text is longer than what the model reads."""

import re
from collections.abc import Sequence

import torch

from ccli.clip.model import FrozenClip
from ccli.errors import CcliError, warn
from ccli.features.decoding import shown
from ccli.features.encoder import FeatureEncoder

NUMBER = re.compile(r"(class|label|category|id)?[ _-]*\d+|n\d{8}", re.IGNORECASE)  # n02084071: a synset of WordNet


def warn_of_numbers(names: Sequence[str], where: str, remedy: str) -> None:
    """Warn where classes are called by a number or a synset, whose text says nothing of the pictures."""
    if numbers := [name for name in names if NUMBER.fullmatch(name)]:
        warn(
            f"{where}: {len(numbers)} of {len(names)} classes are called by a number, such as {shown(numbers[0])}, "
            f"and their texts say nothing of the pictures; {remedy}"
        )


def class_text_features(encoder: FeatureEncoder, prompts: list[list[str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Class text features of a template ensemble.

    Args:
        prompts: one list per template, each with a sentence per class.

    Returns:
        Unit rows [N, D] (the normalised mean over templates of unit features, as CLIP does) and, [N], the mean length
        that the features had before normalisation.

    Raises:
        CcliError: two classes have the same texts as far as the model's context reaches.
    """
    _check_lengths(encoder.clip, prompts)
    flat = encoder.texts([p for row in prompts for p in row], "class names").view(len(prompts), len(prompts[0]), -1)
    norms = flat.norm(dim=-1, keepdim=True)
    mean = (flat / norms).mean(0)
    return mean / mean.norm(dim=-1, keepdim=True), norms.mean(0).squeeze(-1)


def _check_lengths(clip: FrozenClip, prompts: list[list[str]]) -> None:
    """Warn of class texts that are longer than the context; refuse them where only what is cut off tells two apart."""
    cut = [clip.cut(row) for row in prompts]
    if not any(cut):
        return
    row, k, count = next((row, k, n) for row, found in zip(prompts, cut) for k, n in found.items())
    same: dict[tuple, int] = {}
    for n, texts in enumerate(zip(*prompts)):
        read = tuple(map(tuple, clip.tokenize(list(texts)).tolist()))
        other = same.setdefault(read, n)
        if other != n and any(x in found for found in cut for x in (other, n)):
            raise CcliError(
                f"the texts {shown(prompts[0][other])} and {shown(prompts[0][n])} are the same up to the "
                f"{len(read[0])} tokens that the model reads; shorten the names of these classes, or the template"
            )
    total, of = sum(map(len, cut)), sum(map(len, prompts))
    warn(
        f"{total} of {of} class texts are longer than the {len(read[0])} tokens that the model reads, such as "
        f"{shown(row[k])} ({count}); their ends are cut off"
    )
