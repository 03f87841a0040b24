"""Gaussian discriminant analysis next to zero-shot logits, without training (Wang et al., ICLR 2024; arXiv 2402.04087).

    logits = scale * f T^T + a (f W^T + b),    W = mu P,    b = -diag(mu P mu^T) / 2
    P = D pinv((n - 1) S + tr(S) I)

Classes are Gaussians around their means mu with one covariance, whose inverse P is a ridge-type estimate (the paper's
precision matrix; main_few_shots.py of mrflogs/ICLR24). It comes from n vectors x, all augmented views of all shots,
unit rows (the authors take 10 views an image): S is the covariance, divisor n - 1, of x less their class's mean.
exp(logit_scale) of the model stands where the authors' code has 100.

Their b also has log(1/N), the prior. It is the same for all classes, so that no probability depends on it, and is left
out: the discriminant is then exactly zero where S is.
"""

import torch
from torch import nn

from ccli.errors import CcliError
from ccli.features.task import FewShotTask, Split

CANDIDATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # a; the authors search the same
ROUNDING = 1e-12  # mean squared distance to the class mean of unit rows in float32 that are meant to be equal


class GDA(nn.Module):
    """The fused classifier; f [B, D] unit rows -> logits [B, N].

    Args:
        weight: W [N, D]; bias: b [N].
        text_features: T [N, D], unit rows.
        logit_scale: exp(logit_scale) of the model.
        a: weight of the discriminant; at 0 predictions are zero-shot's.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, text_features: torch.Tensor, logit_scale: float, a: float
    ):
        super().__init__()
        self.register_buffer("weight", weight.clone())
        self.register_buffer("bias", bias.clone())
        self.register_buffer("text_features", text_features.clone())
        self.register_buffer("logit_scale", text_features.new_tensor(float(logit_scale)))
        self.register_buffer("a", text_features.new_tensor(float(a)))

    def parts(self, f: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Zero-shot logits and the discriminant, both [B, N]; their sum with weight a is `forward`."""
        return self.logit_scale * f @ self.text_features.T, f @ self.weight.T + self.bias

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        zero_shot, discriminant = self.parts(f)
        return zero_shot + self.a * discriminant


def build(task: FewShotTask, a: float) -> GDA:
    """A head fitted to the task's shots; at one shot without views there is no covariance, and it is zero-shot's.

    Raises:
        CcliError: a class has no shots, or features are not finite.
    """
    weight, bias = discriminant(task.train, task.num_classes)
    dtype = task.text_features.dtype
    return GDA(weight.to(dtype), bias.to(dtype), task.text_features, task.logit_scale, a)


def from_state(state: dict[str, torch.Tensor]) -> GDA:
    """Rebuild a head from its state_dict."""
    return GDA(**state)


def discriminant(split: Split, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """W [N, D] and b [N] of the module's formula, in float64.

    Where classes differ in size, each vector counts once in S (a class weighs by its images) and all classes have the
    same prior, as in the authors' code.
    """
    views = split.features[None] if split.views is None else split.views  # [V, J, D]
    counts = len(views) * torch.bincount(split.labels, minlength=classes)  # vectors of each class
    if not counts.all():
        raise CcliError(f"GDA: class {int(counts.argmin())} has no training images; give every class at least one")
    mu = views.new_zeros(classes, views.shape[-1], dtype=torch.float64)
    for view in views:
        mu.index_add_(0, split.labels, view.double())
    mu /= counts[:, None]
    weight = mu @ precision(views, split.labels, mu)
    return weight, -(weight * mu).sum(1) / 2


def precision(views: torch.Tensor, labels: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
    """P [D, D] from vectors [V, J, D] and class means [N, D]; zero where the vectors are their class's mean.

    In float64, where the matrix is regular to working precision and pinv is its inverse. The authors' float32 gives the
    same predictions for as long as the smallest eigenvalue is above D eps of the largest; with some 10,000 vectors and
    a few dominant directions it may not be, and their pinv drops directions that the formula keeps.
    """
    width, n = views.shape[-1], views.shape[0] * views.shape[1]
    scatter = mu.new_zeros(width, width)
    for view in views:  # one at a time, so that not all are in float64 at once
        centred = view.double() - mu[labels]
        scatter += centred.T @ centred  # in all, (n - 1) S
    trace = scatter.trace()
    if not torch.isfinite(trace):
        raise CcliError("GDA: features hold values that are not finite; encode them again")
    if trace <= n * ROUNDING:  # pinv(0) = 0; n = 1 ends here too
        return torch.zeros_like(scatter)
    ridge = trace / (n - 1) * torch.eye(width, dtype=scatter.dtype, device=scatter.device)
    return width * torch.linalg.pinv(scatter + ridge, hermitian=True)
