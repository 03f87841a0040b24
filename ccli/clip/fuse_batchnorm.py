"""A frozen convolutional image tower in the form in which it runs fastest: the same function, other memory.

Batch norms that follow a convolution are multiplied into it (they are constant when a model is frozen), and weights lie
channels last. On two cores that makes RN50 about 3 times as fast in float32.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def for_encoding(visual: nn.Module) -> nn.Module:
    """open_clip's ResNet towers with their batch norms folded, in place; other towers are left as they are."""
    from open_clip.modified_resnet import Bottleneck, ModifiedResNet

    if not isinstance(visual, ModifiedResNet):
        return visual
    for module in visual.modules():
        if isinstance(module, ModifiedResNet | Bottleneck):
            for k in (1, 2, 3):
                _fold(module, f"conv{k}", f"bn{k}")
        if isinstance(module, Bottleneck) and module.downsample is not None:
            _fold(module.downsample, "0", "1")
    return visual.to(memory_format=torch.channels_last)


def _fold(module: nn.Module, conv: str, norm: str) -> None:
    """Into the convolution, which gets a bias; the norm becomes the identity."""
    with torch.no_grad():
        folded = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
    setattr(module, conv, folded.requires_grad_(False))
    setattr(module, norm, nn.Identity())
