"""The transforms that INPUT.TRANSFORMS can name, made from torchvision's."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from yacs.config import CfgNode

from dassl.utils import check_availability

INTERPOLATION_MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}


class RandomTranslation(torch.nn.Module):
    """With probability p, enlarge to 1.125 times the target size and cut the target size out; else just resize."""

    def __init__(self, size: Sequence[int], interpolation: InterpolationMode, p: float = 0.5) -> None:
        super().__init__()
        self.p = p
        self.resize = v2.Resize(size, interpolation=interpolation)
        self.enlarge = v2.Resize([round(s * 1.125) for s in size], interpolation=interpolation)
        self.crop = v2.RandomCrop(size)

    def forward(self, img: Image.Image) -> Image.Image:
        return self.crop(self.enlarge(img)) if random.random() < self.p else self.resize(img)


class Cutout(torch.nn.Module):
    """Set `n_holes` squares of side `length` to 0; a square's centre may lie anywhere, so it may be cut off."""

    def __init__(self, n_holes: int, length: int) -> None:
        super().__init__()
        self.n_holes, self.length = n_holes, length

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        """img: [channels, height, width]; returns a new tensor."""
        img = img.clone()
        height, width = img.shape[-2:]
        for _ in range(self.n_holes):
            top = random.randrange(height) - self.length // 2
            left = random.randrange(width) - self.length // 2
            img[..., max(top, 0) : max(top + self.length, 0), max(left, 0) : max(left + self.length, 0)] = 0
        return img


class InstanceNormalization(torch.nn.Module):
    """Each channel of each image to mean 0 and standard deviation 1."""

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        std, mean = torch.std_mean(img, dim=(-2, -1), keepdim=True)
        return (img - mean) / (std + 1e-8)


def _random_resized_crop(cfg: CfgNode) -> v2.Transform:
    return v2.RandomResizedCrop(cfg.INPUT.SIZE, scale=cfg.INPUT.RRCROP_SCALE, interpolation=_interpolation(cfg))


def _color_jitter(cfg: CfgNode) -> v2.Transform:
    i = cfg.INPUT
    return v2.ColorJitter(i.COLORJITTER_B, i.COLORJITTER_C, i.COLORJITTER_S, i.COLORJITTER_H)


def _auto_augment(policy: str) -> Callable[[CfgNode], v2.Transform]:
    return lambda cfg: v2.AutoAugment(v2.AutoAugmentPolicy(policy))


def _gaussian_noise(cfg: CfgNode) -> v2.Transform:
    return v2.RandomApply([v2.GaussianNoise(cfg.INPUT.GN_MEAN, cfg.INPUT.GN_STD, clip=False)], p=0.5)


def _normalize(cfg: CfgNode) -> v2.Transform:
    return v2.Normalize(list(cfg.INPUT.PIXEL_MEAN), list(cfg.INPUT.PIXEL_STD))


# Applied in this order, whatever the order in the yaml: first to the PIL image, then to the tensor in [0, 1].
_ON_IMAGE: dict[str, Callable[[CfgNode], torch.nn.Module]] = {
    "random_translation": lambda cfg: RandomTranslation(cfg.INPUT.SIZE, _interpolation(cfg)),
    "random_crop": lambda cfg: v2.RandomCrop(cfg.INPUT.SIZE, padding=cfg.INPUT.CROP_PADDING),
    "random_resized_crop": _random_resized_crop,
    "random_flip": lambda cfg: v2.RandomHorizontalFlip(),
    "imagenet_policy": _auto_augment("imagenet"),
    "cifar10_policy": _auto_augment("cifar10"),
    "svhn_policy": _auto_augment("svhn"),
    "randaugment": lambda cfg: v2.RandAugment(cfg.INPUT.RANDAUGMENT_N, cfg.INPUT.RANDAUGMENT_M),
    "colorjitter": _color_jitter,
    "randomgrayscale": lambda cfg: v2.RandomGrayscale(p=cfg.INPUT.RGS_P),
    "gaussian_blur": lambda cfg: v2.RandomApply([v2.GaussianBlur(cfg.INPUT.GB_K)], p=cfg.INPUT.GB_P),
}
_ON_TENSOR: dict[str, Callable[[CfgNode], torch.nn.Module]] = {
    "cutout": lambda cfg: Cutout(cfg.INPUT.CUTOUT_N, cfg.INPUT.CUTOUT_LEN),
    "normalize": _normalize,
    "gaussian_noise": _gaussian_noise,
    "instance_norm": lambda cfg: InstanceNormalization(),
}
# the test transform always crops the centre: the name is known so that yamls may say it
AVAI_CHOICES = [*_ON_IMAGE, *_ON_TENSOR, "center_crop"]
_IN_TESTS_TOO = ("normalize", "instance_norm")


def build_transform(
    cfg: CfgNode, is_train: bool = True, choices: Sequence[str] | None = None
) -> Callable[[Image.Image], torch.Tensor] | None:
    """From a PIL image to a tensor [3, height, width] of INPUT.SIZE.

    In training: resized (unless it is cropped to size), then what `choices` names. In tests: the shorter side resized
    to the larger of INPUT.SIZE, the centre cut out, and of `choices` only the normalizations.

    Args:
        choices: names from AVAI_CHOICES; INPUT.TRANSFORMS by default.

    Returns:
        the transform, or None with INPUT.NO_TRANSFORM.
    """
    if cfg.INPUT.NO_TRANSFORM:
        print("Note: no transform is applied!")
        return None
    choices = cfg.INPUT.TRANSFORMS if choices is None else choices
    for choice in choices:
        check_availability(choice, AVAI_CHOICES)

    size = tuple(cfg.INPUT.SIZE)
    if not is_train:
        steps = [v2.Resize(max(size), interpolation=_interpolation(cfg)), v2.CenterCrop(size), *_to_tensor()]
        choices = [choice for choice in choices if choice in _IN_TESTS_TOO]
    else:
        cropped = "random_crop" in choices or "random_resized_crop" in choices
        steps = [] if cropped else [v2.Resize(size, interpolation=_interpolation(cfg))]
        steps += [build(cfg) for name, build in _ON_IMAGE.items() if name in choices]
        steps += _to_tensor()
    steps += [build(cfg) for name, build in _ON_TENSOR.items() if name in choices]

    if cfg.VERBOSE:
        print(f"Building transform_{'train' if is_train else 'test'}")
        for step in steps:
            print(f"+ {step}")
    return v2.Compose(steps)


def build_plain_transform(cfg: CfgNode) -> Callable[[Image.Image], torch.Tensor]:
    """Resized to INPUT.SIZE and, where INPUT.TRANSFORMS says so, normalized: an image without augmentation."""
    steps = [v2.Resize(tuple(cfg.INPUT.SIZE), interpolation=_interpolation(cfg)), *_to_tensor()]
    if "normalize" in cfg.INPUT.TRANSFORMS:
        steps.append(_normalize(cfg))
    return v2.Compose(steps)


def _interpolation(cfg: CfgNode) -> InterpolationMode:
    check_availability(cfg.INPUT.INTERPOLATION, INTERPOLATION_MODES)
    return INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]


def _to_tensor() -> list[v2.Transform]:
    """PIL image to a float tensor in [0, 1]."""
    return [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
