"""Optimizers by name: `cfg.OPTIM.NAME`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from dassl.utils import check_availability


def _betas(cfg: CfgNode) -> dict[str, Any]:
    return {"betas": (cfg.ADAM_BETA1, cfg.ADAM_BETA2)}


def _sgd_options(cfg: CfgNode) -> dict[str, Any]:
    return {"momentum": cfg.MOMENTUM, "dampening": cfg.SGD_DAMPNING, "nesterov": cfg.SGD_NESTEROV}


# name -> (class, what it takes besides parameters, learning rate and weight decay)
_OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], Callable[[CfgNode], dict[str, Any]]]] = {
    "adam": (torch.optim.Adam, _betas),
    "amsgrad": (torch.optim.Adam, lambda cfg: {**_betas(cfg), "amsgrad": True}),
    "sgd": (torch.optim.SGD, _sgd_options),
    "rmsprop": (torch.optim.RMSprop, lambda cfg: {"momentum": cfg.MOMENTUM, "alpha": cfg.RMSPROP_ALPHA}),
    "radam": (torch.optim.RAdam, _betas),
    "adamw": (torch.optim.AdamW, _betas),
}
AVAI_OPTIMS = list(_OPTIMIZERS)


def build_optimizer(
    model: nn.Module | Iterable[Any], optim_cfg: CfgNode, param_groups: Iterable[Any] | None = None
) -> torch.optim.Optimizer:
    """Build the optimizer that `optim_cfg.NAME` names.

    Args:
        model: a module, or an iterable of parameters or of parameter groups.
        optim_cfg: `cfg.OPTIM`.
        param_groups: optimized instead of the model's parameters where given.
    """
    check_availability(optim_cfg.NAME, AVAI_OPTIMS)
    if param_groups is not None:
        if optim_cfg.STAGED_LR:
            warnings.warn("OPTIM.STAGED_LR has no effect where param_groups are given", stacklevel=2)
    elif optim_cfg.STAGED_LR:
        param_groups = _staged_groups(model, optim_cfg)
    else:
        param_groups = model.parameters() if isinstance(model, nn.Module) else model
    optimizer_class, options = _OPTIMIZERS[optim_cfg.NAME]
    return optimizer_class(param_groups, lr=optim_cfg.LR, weight_decay=optim_cfg.WEIGHT_DECAY, **options(optim_cfg))


def _staged_groups(model: nn.Module, optim_cfg: CfgNode) -> list[dict[str, Any]]:
    """Two groups: layers outside NEW_LAYERS at LR * BASE_LR_MULT, then those in it at LR."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"OPTIM.STAGED_LR needs an nn.Module, got {type(model).__name__}")
    if isinstance(model, nn.DataParallel):
        model = model.module
    new_layers = optim_cfg.NEW_LAYERS
    new_layers = [new_layers] if isinstance(new_layers, str) else list(new_layers)
    if not any(new_layers):
        raise ValueError("OPTIM.STAGED_LR needs the names of the new layers in OPTIM.NEW_LAYERS")
    for layer in new_layers:
        check_availability(layer, [name for name, _ in model.named_children()])

    base, new = [], []
    for name, parameter in model.named_parameters():
        (new if name.split(".")[0] in new_layers else base).append(parameter)
    return [{"params": base, "lr": optim_cfg.LR * optim_cfg.BASE_LR_MULT}, {"params": new}]
