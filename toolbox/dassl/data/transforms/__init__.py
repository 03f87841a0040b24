"""Image transforms by name. torchvision is imported when the first of them is asked for, not before."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yacs.config import CfgNode

__all__ = ["AVAI_CHOICES", "INTERPOLATION_MODES", "build_plain_transform", "build_transform"]


def build_transform(cfg: CfgNode, is_train: bool = True, choices: Sequence[str] | None = None) -> Callable | None:
    """See `dassl.data.transforms.transforms.build_transform`."""
    return import_module(".transforms", __name__).build_transform(cfg, is_train, choices)


def build_plain_transform(cfg: CfgNode) -> Callable:
    """See `dassl.data.transforms.transforms.build_plain_transform`."""
    return import_module(".transforms", __name__).build_plain_transform(cfg)


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(".transforms", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
