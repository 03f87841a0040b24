"""The trainer registry."""

from __future__ import annotations

from typing import Any

from yacs.config import CfgNode

from dassl.utils import Registry

TRAINER_REGISTRY = Registry("TRAINER")


def build_trainer(cfg: CfgNode) -> Any:
    """Build the trainer that `cfg.TRAINER.NAME` names."""
    trainer_class = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    if cfg.VERBOSE:
        print(f"Loading trainer: {cfg.TRAINER.NAME}")
    return trainer_class(cfg)
