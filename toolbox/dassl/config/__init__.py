"""The default configuration."""

from .defaults import clean_cfg, get_cfg_default

__all__ = ["clean_cfg", "get_cfg_default"]
