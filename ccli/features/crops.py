"""Pillow's images in mode RGB (see `ccli.features.decoding`), resized and cropped to what a model takes."""

import math
import random
from collections.abc import Sequence

import numpy as np
import torch

LONGEST = 100  # times the shorter side: of longer images only the part that is kept is resized


def centre_crop(image, size: int, interpolation: str) -> np.ndarray:
    """uint8 [size, size, 3]: shorter side resized to `size`, then the centre, as CLIP does (and torchvision rounds)."""
    width, height = image.size
    if (width, height) != (size, size):
        short = min(width, height)
        if max(width, height) > LONGEST * short:  # resized as a whole, 1 x 20000 would be 224 x 4,480,000
            left, top = (width - short) / 2, (height - short) / 2
            box = (left, top, left + short, top + short)
            return np.asarray(image.resize((size, size), _resampling(interpolation), box=box))
        width, height = int(size * width / short), int(size * height / short)
        image = image.resize((width, height), _resampling(interpolation))
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def random_crop(image, size: int, interpolation: str, scale: tuple[float, float], rng: random.Random) -> np.ndarray:
    """torchvision's RandomResizedCrop (aspect 3/4 to 4/3, ten tries) and a flip, from a generator of its own.

    `scale` is the smallest and the largest share of the image's area. Returns uint8 [size, size, 3].
    """
    from PIL.Image import Transpose

    left, top, w, h = _random_box(*image.size, scale, rng)
    image = image.crop((left, top, left + w, top + h)).resize((size, size), _resampling(interpolation))
    return np.asarray(image.transpose(Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image)


def _random_box(width: int, height: int, scale: tuple[float, float], rng: random.Random) -> tuple[int, int, int, int]:
    """(left, top, width, height)"""
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return rng.randint(0, width - w), rng.randint(0, height - h), w, h
    ratio = min(max(width / height, 3 / 4), 4 / 3)
    w, h = (width, round(width / ratio)) if width / height < ratio else (round(height * ratio), height)
    w, h = min(w, width), min(h, height)
    return (width - w) // 2, (height - h) // 2, w, h


def _resampling(interpolation: str):
    from PIL.Image import Resampling

    return {"bicubic": Resampling.BICUBIC, "bilinear": Resampling.BILINEAR}[interpolation]


def normalised(images: Sequence[np.ndarray], mean: Sequence[float], std: Sequence[float], device) -> torch.Tensor:
    """(image / 255 - mean) / std of images [H, W, 3] as one float32 batch [B, 3, H, W], channels last in memory."""
    pixels = torch.from_numpy(np.stack(images))  # bytes: a quarter of what floats would take to copy
    if torch.device(device).type == "cuda":
        pixels = pixels.pin_memory()  # which a GPU copies by itself
    pixels, mean, std = (x.to(device, non_blocking=True) for x in (pixels, torch.tensor(mean), torch.tensor(std)))
    return pixels.permute(0, 3, 1, 2).float().div_(255).sub_(mean.view(3, 1, 1)).div_(std.view(3, 1, 1))
