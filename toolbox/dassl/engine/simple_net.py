"""A torchvision backbone with an optional MLP and a linear classifier."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from yacs.config import CfgNode

from dassl.utils import check_availability

_ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}


class SimpleNet(nn.Module):
    """backbone -> head (where `model_cfg.HEAD` describes one) -> classifier (where there are classes).

    Args:
        cfg: not used; upstream's callers pass it.
        model_cfg: `cfg.MODEL`.
        num_classes: 0 leaves the classifier out.
    """

    def __init__(self, cfg: CfgNode, model_cfg: CfgNode, num_classes: int) -> None:
        super().__init__()
        self.backbone, fdim = _build_backbone(model_cfg.BACKBONE.NAME, model_cfg.BACKBONE.PRETRAINED)
        self.head = None
        if model_cfg.HEAD.NAME and model_cfg.HEAD.HIDDEN_LAYERS:
            check_availability(model_cfg.HEAD.NAME, ["mlp"])
            self.head = _build_mlp(fdim, model_cfg.HEAD)
            fdim = model_cfg.HEAD.HIDDEN_LAYERS[-1]
        self.classifier = nn.Linear(fdim, num_classes) if num_classes > 0 else None
        self._fdim = fdim

    @property
    def fdim(self) -> int:
        """Length of the feature vector that the classifier sees."""
        return self._fdim

    def forward(
        self, x: torch.Tensor, return_feature: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Logits [batch, classes], with features [batch, fdim] on request; features alone without a classifier."""
        features = self.backbone(x)
        if self.head is not None:
            features = self.head(features)
        if self.classifier is None:
            return features
        logits = self.classifier(features)
        return (logits, features) if return_feature else logits


def _build_backbone(name: str, pretrained: bool) -> tuple[nn.Module, int]:
    """A torchvision classification model without its last layer, and the length of its features."""
    from torchvision import models

    check_availability(name, models.list_models(module=models))
    backbone = models.get_model(name, weights="DEFAULT" if pretrained else None)
    linear = [(path, module) for path, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError(f"MODEL.BACKBONE.NAME {name!r} has no linear layer to put a classifier in place of")
    path, last = linear[-1]
    backbone.set_submodule(path, nn.Identity())
    return backbone, last.in_features


def _build_mlp(in_features: int, head_cfg: CfgNode) -> nn.Sequential:
    check_availability(head_cfg.ACTIVATION, _ACTIVATIONS)
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise([in_features, *head_cfg.HIDDEN_LAYERS]):
        layers.append(nn.Linear(n_in, n_out))
        if head_cfg.BN:
            layers.append(nn.BatchNorm1d(n_out))
        layers.append(_ACTIVATIONS[head_cfg.ACTIVATION]())
        if head_cfg.DROPOUT > 0:
            layers.append(nn.Dropout(head_cfg.DROPOUT))
    return nn.Sequential(*layers)
