"""Linear probe: logistic regression on image features, without any text (Radford et al., 2021, section 3.2).

The few-shot form is CoOp's (KaiyangZhou/CoOp, lpclip/linear_probe.py): scikit-learn's L-BFGS, at most 1,000 iterations,
an L2 penalty ||W||^2 / (2 C) and C found on validation. CoOp's features are as long as the image encoder makes them
(`clip_model.visual`); here rows are unit length. The penalty sees the difference: features s times as long with C are
unit rows with s^2 C, so that the same search, over 12 powers of ten, covers both.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ccli.errors import CcliError

EXPONENTS = (6, 4, 2, 0, -2, -4, -6)  # of ten: the C that CoOp starts from
STEPS = 8
SMALL = 2**28  # products of a pass over the images
MAX_ITERATIONS = 1000


class LinearProbe(nn.Module):
    """logits = f W^T + b; f [B, D] -> logits [B, N]; W [N, D], b [N]."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor):
        super().__init__()
        self.register_buffer("weight", weight.clone())
        self.register_buffer("bias", bias.clone())

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        return F.linear(f, self.weight, self.bias)


def from_state(state: dict[str, torch.Tensor]) -> LinearProbe:
    """Rebuild a head from its state_dict."""
    return LinearProbe(state["weight"], state["bias"])


def fit(features: torch.Tensor, labels: torch.Tensor, C: float, num_classes: int) -> LinearProbe:
    """Logistic regression on all given rows, features [n, D] and labels [n], in float64 on the CPU, from zero.

    A fit that does not converge is used as it is, without a warning, as in CoOp. With two classes scikit-learn has one
    row, the difference of two; they get half of it each, with opposite signs, which leaves probabilities as they are.

    Raises:
        CcliError: a class has no rows, there are fewer than two classes, or features are not finite.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    counts = torch.bincount(labels, minlength=num_classes)
    if num_classes < 2:
        raise CcliError("the linear probe tells classes apart, and there is only one; use a data set with more")
    if not counts.all():
        raise CcliError(f"LinearProbe: class {int(counts.argmin())} has no training images; give each at least one")
    if not torch.isfinite(features).all():
        raise CcliError("the linear probe: features hold values that are not finite; encode them again")
    model = LogisticRegression(solver="lbfgs", max_iter=MAX_ITERATIONS, C=C)
    threads = 1 if features.numel() * num_classes < SMALL else None  # more of them cost more than they bring
    with warnings.catch_warnings(), threadpool_limits(threads, "blas"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features.cpu().double().numpy(), labels.cpu().numpy())
    weight, bias = (torch.as_tensor(x).to(features) for x in (model.coef_, model.intercept_))
    if num_classes == 2:
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return LinearProbe(weight, bias)


def search(score: Callable[[float], int], exponents: Sequence[int] = EXPONENTS, steps: int = STEPS) -> float:
    """CoOp's search for C: the best of the powers of ten, then a bisection between its neighbours.

    The interval starts at C / 10 and 10 C around the best; at each step the better end stays and the other moves to the
    geometric middle. Ties go to the smaller C, the more regularised; CoOp's bisection does so too, but its first round
    gives them to the largest.

    Args:
        score: the number of correct answers at C; called once for each C, 15 of them by default.

    Returns:
        The better end of the last step. From two steps on that is the smallest of the C with the best score of all that
        were tried: the first middle is the peak of the first round, and a step never leaves a better end.
    """
    known: dict[float, int] = {}

    def at(exponent: float) -> int:
        if exponent not in known:
            known[exponent] = score(10.0**exponent)
        return known[exponent]

    peak = max(exponents, key=lambda e: (at(e), -e))
    left, right = peak - 1.0, peak + 1.0
    chosen = float(peak)
    for _ in range(steps):
        chosen = right if at(left) < at(right) else left
        middle = (left + right) / 2
        left, right = (middle, right) if chosen == right else (left, middle)
    return 10.0**chosen
