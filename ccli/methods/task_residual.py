"""Task residual: a free residual on the class text features (TaskRes; Yu et al., CVPR 2023; arXiv 2211.10277).

    logits = scale * f W'^T,    W' = unit(text_norms * W + alpha * residual),  residual [N, D] from zero

As in the authors' trainers/taskres.py, the residual is added to text features of their own length (6 to 12 in
CLIP ViT-B/32), and the sum is normalised: the longer a class's text feature, the less a residual turns it. They
average an ensemble's text features before any normalisation; here text_norms is the mean length and W the ensemble
of unit features, which for a single template is the same.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ccli.features.task import FewShotTask


@dataclass(frozen=True)
class Constants:
    """What the authors set by data set: alpha, and the learning rate of Adam."""

    alpha: float = 0.5
    lr: float = 2e-3


CONSTANTS = {"oxford_flowers": Constants(alpha=1.0), "imagenet": Constants(lr=2e-4)}  # their train_regular.sh


def constants(name: str) -> Constants:
    """The authors' constants for a data set; a part of one, as in "imagenet (base)", has those of the whole."""
    return CONSTANTS.get(name.partition(" ")[0], Constants())


class TaskResidual(nn.Module):
    """The classifier with a residual; f [B, D] unit rows -> logits [B, N].

    Args:
        text_features: W [N, D], unit rows.
        text_norms: [N], their lengths before normalisation.
        logit_scale: exp(logit_scale) of the model.
        alpha: weight of the residual.
    """

    def __init__(self, text_features: torch.Tensor, text_norms: torch.Tensor, logit_scale: float, alpha: float = 0.5):
        super().__init__()
        self.register_buffer("text_features", text_features.clone())
        self.register_buffer("text_norms", text_norms.clone())
        for name, value in (("logit_scale", logit_scale), ("alpha", alpha)):
            self.register_buffer(name, torch.tensor(float(value), device=text_features.device))
        self.residual = nn.Parameter(torch.zeros_like(text_features))

    def weights(self) -> torch.Tensor:
        """W' [N, D], unit rows."""
        return F.normalize(self.text_norms[:, None] * self.text_features + self.alpha * self.residual, dim=-1)

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        return self.logit_scale * f @ self.weights().T


def build(task: FewShotTask, alpha: float = 0.5) -> TaskResidual:
    """A head to be trained; until then it is zero-shot. Lengths are 1 where the task has none."""
    norms = task.text_features.new_ones(task.num_classes) if task.text_norms is None else task.text_norms
    return TaskResidual(task.text_features, norms, task.logit_scale, alpha)


def from_state(state: dict[str, torch.Tensor]) -> TaskResidual:
    """Rebuild a head from its state_dict."""
    model = TaskResidual(state["text_features"], state["text_norms"], 1.0)
    model.load_state_dict(state)
    return model
