"""LP++: a linear probe beside class-wise weights of the text logits (Huang et al., CVPR 2024; arXiv 2404.02285).

    logits_k = f . (w_k + alpha_k t_k);    no logit scale: alpha stands in its place

Fitted by full-batch steps of fixed size on the mean cross-entropy, with the start and the steps of the authors'
methods/linear_probe_p2.py (J images, n_k of class k, N classes, F [J, D] their features):

    W_0 = class sums of features;    alpha_0 = 250 * mean over classes k of (1 / n_k sum_{j of k} f_j . t_k)
    step size of W: 4 J / lambda_max(F^T F), at each step, with momentum 0.9
    step size of alpha: J / (4 max_k sum_j (f_j . t_k)^2), at every 10th step, without momentum

With n_k = shots for all classes, alpha_0 is the mean of 250 / shots times the class sums. Two things are in that code
and in no formula of the paper's model:

- It never zeroes alpha's gradient, so a step of alpha takes the sum of the gradients of all steps so far: followed.
- Its classifier has a bias, which starts at random: left out, the logits are the paper's.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from ccli.features.task import FewShotTask

ALPHA_SCALE = 250.0
ALPHA_EVERY = 10
MOMENTUM = 0.9


class LPPlusPlus(nn.Module):
    """The fitted classifier; f [B, D] unit rows -> logits [B, N].

    Args:
        text_features: T [N, D], unit rows.
        weight: W [N, D].
        alpha: [N], weights of the text logits.
    """

    def __init__(self, text_features: torch.Tensor, weight: torch.Tensor, alpha: torch.Tensor):
        super().__init__()
        self.register_buffer("text_features", text_features.clone())
        self.register_buffer("weight", weight.clone())
        self.register_buffer("alpha", alpha.clone())

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        return f @ self.weight.T + self.alpha * (f @ self.text_features.T)


def from_state(state: dict[str, torch.Tensor]) -> LPPlusPlus:
    """Rebuild a head from its state_dict."""
    return LPPlusPlus(state["text_features"], state["weight"], state["alpha"])


def step_sizes(features: torch.Tensor, text: torch.Tensor) -> tuple[float, float]:
    """Step sizes of W and of alpha, as above; features: F [J, D], text: T [N, D]."""
    gram = features @ features.T if len(features) < features.shape[1] else features.T @ features  # the same largest
    lambda_max = float(torch.linalg.eigvalsh(gram.cpu().double())[-1])
    largest = float((features @ text.T).square().sum(0).max())
    return 4 * len(features) / lambda_max, len(features) / (4 * largest)


def start(features: torch.Tensor, labels: torch.Tensor, text: torch.Tensor) -> LPPlusPlus:
    """The model before the first step; classes without images have a weight of zero and no part in alpha's mean."""
    of_class = F.one_hot(labels, len(text)).to(features.dtype)  # [J, N]
    counts = of_class.sum(0)
    to_own_text = of_class.T @ (features * text[labels]).sum(1)  # [N], class sums of f . t
    alpha = ALPHA_SCALE * (to_own_text / counts)[counts > 0].mean()
    return LPPlusPlus(text, of_class.T @ features, alpha.expand(len(text)))


@torch.no_grad()
def fit(
    task: FewShotTask, steps: int = 300, watch: Callable[[int, LPPlusPlus], None] | None = None
) -> LPPlusPlus:  # fmt: skip
    """A head fitted on the shots: on the first augmented view of each image where there are views, as the authors do.

    Args:
        steps: how many; `fit(task, n)` is the model that a longer fit has after n steps.
        watch: called after each step with its number, from 0, and the model, which the next step changes in place.

    Raises:
        FloatingPointError: the features or the fitted weights are not finite.
    """
    features = task.train.features if task.train.views is None else task.train.views[0]
    labels, text = task.train.labels, task.text_features
    _check_finite("image or text features are not finite; encode them again", features, text)
    model = start(features, labels, text)
    lr_weight, lr_alpha = step_sizes(features, text)
    targets, similarities = F.one_hot(labels, len(text)), features @ text.T  # [J, N]
    velocity, slope = torch.zeros_like(model.weight), torch.zeros_like(model.alpha)
    for step in range(steps):
        probabilities = (features @ model.weight.T + model.alpha * similarities).softmax(1)
        error = (probabilities - targets) / len(features)  # the loss's gradient in the logits
        velocity.mul_(MOMENTUM).add_(error.T @ features)  # as torch.optim.SGD
        slope += (error * similarities).sum(0)
        model.weight -= lr_weight * velocity
        if (step + 1) % ALPHA_EVERY == 0:
            model.alpha -= lr_alpha * slope
        if watch is not None:
            watch(step, model)
    _check_finite("the fit has diverged; check the features", model.weight, model.alpha)
    return model


def _check_finite(otherwise: str, *tensors: torch.Tensor) -> None:
    if not all(bool(torch.isfinite(x).all()) for x in tensors):
        raise FloatingPointError(f"LP++: {otherwise}")
