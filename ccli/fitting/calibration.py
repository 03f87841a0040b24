"""Calibrated probabilities: a temperature fitted on held-out images, and the calibration error.

    p = softmax(logits / T)

One number per model, which changes no prediction (Guo, Pleiss, Sun, Weinberger; On Calibration of Modern Neural
Networks, ICML 2017). Labels are smoothed as in Platt's method (1999), so that a few correct images do not make the
model certain.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from ccli.features.task import Split

LOWEST, HIGHEST = 0.01, 100.0
NOT_FINITE = "not finite; lower the learning rate or the method's weights, or check the features"
ENOUGH = 2000  # images for the temperature, which is one number
BINS = 15


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities.

    temperature: T; 1 without held-out images. fitted_on: "validation", "cross-validation" or "none".
    """

    temperature: float = 1.0
    fitted_on: str = "none"

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits [B, N] to probabilities [B, N]."""
        return (logits / self.temperature).softmax(-1)


def calibrate(pairs: Iterable[tuple[object, Split]], fitted_on: str) -> Calibration:
    """The calibration of heads f [b, D] -> [b, N], on images that they have not seen; no pair gives temperature 1."""
    logits, labels = [], []
    for head, split in pairs:
        with torch.no_grad():
            logits.append(head(split.features))
        labels.append(split.labels)
    if not logits:
        return Calibration()
    return Calibration(fit_temperature(torch.cat(logits), torch.cat(labels)), fitted_on)


def subsample(split: Split, most: int) -> Split:
    """At most `most` images of a split, evenly spaced, without their views."""
    rows = torch.linspace(0, len(split) - 1, min(len(split), most)).long().to(split.labels.device)
    return Split(split.features[rows], split.labels[rows])


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The T in [0.01, 100] that maximises the likelihood of the labels, to three digits; logits [n, N], labels [n].

    The loss is -sum (1 - e) log p_label + e / N sum_classes log p, with e = 1 / (n + 2). It is convex in 1 / T, so its
    minimum is where the derivative is 0. Constant logits in every row give 1.

    Raises:
        FloatingPointError: a logit is not finite.
    """
    logits = logits.double()
    if not torch.isfinite(logits).all():
        raise FloatingPointError(f"logits of held-out images are {NOT_FINITE}")
    share = 1 / (len(labels) + 2)
    aim = (1 - share) * logits.gather(1, labels[:, None]).sum() + share * logits.mean(1).sum()

    def slopes(k: float) -> tuple[float, float]:
        """First and second derivative of the loss at 1 / T = k."""
        p = (k * logits).softmax(1)
        mean = (p * logits).sum(1)
        return float(mean.sum() - aim), float((p * logits.square()).sum() - mean.square().sum())

    if float((logits - logits.mean(1, keepdim=True)).abs().max()) < 1e-9:
        return 1.0
    return float(f"{1 / _root(slopes, 1 / HIGHEST, 1 / LOWEST):.3g}")


def _root(slopes: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    """The root of an increasing function by Newton's method, with bisection where a step leaves the bounds."""
    k, step = 1.0, 1.0
    for _ in range(100):
        value, slope = slopes(k)
        low, high = (low, k) if value > 0 else (k, high)
        ahead = k - value / slope if slope > 0 else low
        if not low < ahead < high:
            ahead = (low * high) ** 0.5
        step, k = abs(ahead - k), ahead
        if step < 1e-6 * k:
            break
    return k


def calibration_error(confidence: torch.Tensor, right: torch.Tensor, bins: int = BINS) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy.

    sum_b |B_b| / n |accuracy(B_b) - confidence(B_b)|, over `bins` of equal width (Guo et al. 2017, equation 3).

    Args:
        confidence: probability of the predicted class [n]; right: whether the prediction is the label [n].
    """
    confidence, right = confidence.double(), right.double()
    which = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)  # (0, 1/b], (1/b, 2/b] ...
    gaps = confidence.new_zeros(bins).index_add_(0, which, right - confidence)
    return float(gaps.abs().sum() / len(confidence))
