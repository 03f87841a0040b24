"""CLIP-Adapter: a bottleneck network on image features, blended with them (Gao et al., IJCV 2023; arXiv 2110.04544).

    logits = scale * unit(ratio * A(f) + (1 - ratio) * f) W^T,    A(f) = relu(V relu(U f)),  U [D / 4, D], V [D, D / 4]

As in the authors' clip_adapter.py: the visual adapter alone, no biases, a ReLU after both layers (the paper's formula
has one after the first), ratio 0.2 on every data set (the paper searches it), float32. They blend before the image
feature is normalised; A(c f) = c A(f) for c > 0, so unit features give the same logits.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ccli.features.task import FewShotTask


class ClipAdapter(nn.Module):
    """The adapted classifier; f [B, D] -> logits [B, N].

    Args:
        adapter: A, a module [B, D] -> [B, D].
        text_features: W [N, D], unit rows.
        logit_scale: exp(logit_scale) of the model.
        ratio: share of A(f) in the blend; at 0 logits are zero-shot's.
    """

    def __init__(self, adapter: nn.Module, text_features: torch.Tensor, logit_scale: float, ratio: float = 0.2):
        super().__init__()
        self.adapter = adapter
        self.register_buffer("text_features", text_features.clone())
        for name, value in (("logit_scale", logit_scale), ("ratio", ratio)):
            self.register_buffer(name, torch.tensor(float(value), device=text_features.device))

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        blended = self.ratio * self.adapter(f) + (1 - self.ratio) * f
        return self.logit_scale * F.normalize(blended, dim=-1) @ self.text_features.T


def build(task: FewShotTask, ratio: float = 0.2, reduction: int = 4, seed: int = 0) -> ClipAdapter:
    """A head to be trained; its hidden layer has D / `reduction` units."""
    width = task.text_features.shape[1]
    adapter = bottleneck(width, max(1, width // reduction), seed)
    return ClipAdapter(adapter, task.text_features, task.logit_scale, ratio).to(task.text_features.device)


def from_state(state: dict[str, torch.Tensor]) -> ClipAdapter:
    """Rebuild a head from its state_dict."""
    hidden, width = state["adapter.0.weight"].shape
    model = ClipAdapter(bottleneck(width, hidden, 0), state["text_features"], 1.0)
    model.to(state["text_features"].device).load_state_dict(state)
    return model


def bottleneck(width: int, hidden: int, seed: int) -> nn.Sequential:
    """A, the network D -> h -> D; its start (PyTorch's default, as the authors') depends on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # those of GPUs stay as they are
        return nn.Sequential(
            nn.Linear(width, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, width, bias=False), nn.ReLU()
        )
