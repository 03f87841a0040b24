"""Data sets, transforms, samplers and the loaders made from them."""

from .data_manager import DataManager, DatasetWrapper, build_data_loader

__all__ = ["DataManager", "DatasetWrapper", "build_data_loader"]
