"""Running averages of what a training step reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import torch


class AverageMeter:
    """Last value, sum, count and mean.

    Args:
        ema: `avg` is a moving average instead, nine parts what it was and one part the new value; it starts at 0.
    """

    def __init__(self, ema: bool = False) -> None:
        self.ema = ema
        self.reset()

    def reset(self) -> None:
        self.val = 0.0
        self.avg = 0.0
        self.sum = 0.0
        self.count = 0

    def update(self, val: float | torch.Tensor, n: int = 1) -> None:
        """Add `val`, which stands for `n` samples."""
        if isinstance(val, torch.Tensor):
            val = val.item()
        self.val = val
        self.sum += val * n
        self.count += n
        self.avg = 0.9 * self.avg + 0.1 * val if self.ema else self.sum / self.count


class MetricMeter:
    """One AverageMeter per name. Prints as `loss 0.7000 (0.8000) acc 50.0000 (40.0000)`: last value, then mean."""

    def __init__(self, delimiter: str = " ") -> None:
        self.meters: defaultdict[str, AverageMeter] = defaultdict(AverageMeter)
        self.delimiter = delimiter

    def update(self, input_dict: Mapping[str, float | torch.Tensor] | None) -> None:
        """Add one value per name; None adds nothing."""
        if input_dict is None:
            return
        if not isinstance(input_dict, Mapping):
            raise TypeError(f"MetricMeter.update() takes a dict, got {type(input_dict).__name__}")
        for name, value in input_dict.items():
            self.meters[name].update(value)

    def __str__(self) -> str:
        return self.delimiter.join(f"{name} {m.val:.4f} ({m.avg:.4f})" for name, m in self.meters.items())
