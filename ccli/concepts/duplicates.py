"""Concepts that say the same: near-duplicates on the text side and on the image side."""

import torch

BOUND = 0.8  # cosine of two centred concepts above which they say the same; it must hold on both sides


def leaders(text: torch.Tensor, images: torch.Tensor, order: torch.Tensor, bound: float = BOUND) -> torch.Tensor:
    """For each concept the one that stands for it, itself where it stays [I].

    Concepts are visited in `order`; one that is still there takes all later ones that are near it on both sides.

    Args:
        text, images: the two sides of the concepts [I, D], centred unit rows.
        order: the concepts [I], best name first.
    """
    found = torch.full((len(text),), -1)
    for chunk in order.split(512):
        near = ((text[chunk] @ text.T > bound) & (images[chunk] @ images.T > bound)).cpu()
        for k, row in zip(chunk.tolist(), near):
            if found[k] < 0:
                found[row & (found < 0)] = k
                found[k] = k  # also a concept of zeros, which is near nothing
    return found
