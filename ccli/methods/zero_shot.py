"""Zero-shot CLIP: images against class texts (Radford et al., 2021)."""

import torch
from torch import nn


class ZeroShot(nn.Module):
    """logits = scale * f W^T; f [B, D] unit rows, W [N, D] unit rows."""

    def __init__(self, text_features: torch.Tensor, logit_scale: float):
        super().__init__()
        self.register_buffer("text_features", text_features.clone())
        self.register_buffer("logit_scale", torch.tensor(float(logit_scale), device=text_features.device))

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        return self.logit_scale * f @ self.text_features.T


def from_state(state: dict[str, torch.Tensor]) -> ZeroShot:
    """Rebuild a head from its state_dict."""
    return ZeroShot(state["text_features"], float(state["logit_scale"]))
