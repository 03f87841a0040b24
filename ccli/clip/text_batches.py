"""Texts in batches of one size and one length, so that a text's features depend on no other text.

On some machines a row's last bits depend on the shape of its batch; here that follows from the text's own length.
"""

from collections.abc import Iterator, Sequence

import torch
from tqdm import tqdm

from ccli.clip.model import FrozenClip


def encode_texts(
    clip: FrozenClip, texts: Sequence[str], rows: Sequence[int], size: int, what: str
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Features of some of the texts, batch by batch, the shortest first.

    Args:
        rows: which of the texts.
        size: texts in a batch; the last one of each length is filled up with "".
        what: their name on the progress bar, which is shown for two batches or more.

    Yields:
        (their rows, features [at most size, D], not normalised)
    """
    groups: dict[int, list[int]] = {}
    for row, length in zip(rows, clip.text_lengths([texts[k] for k in rows])):
        groups.setdefault(length, []).append(row)
    bar = tqdm(total=len(rows), desc=f"Encoding {what}", unit="", disable=len(rows) < 2 * size or None, leave=False)
    with bar:
        for _, group in sorted(groups.items()):
            for start in range(0, len(group), size):
                some = group[start : start + size]
                features = clip.encode_text([texts[k] for k in some] + [""] * (size - len(some)))
                yield some, features[: len(some)]
                bar.update(len(some))
