"""Concept inference: zero-shot logits plus the logits of a small network on an image's concepts.

    logits = temperature * scale * f W^T + alpha * g(r(f))

The plain form (temperature 1; r = similarities to all visual concepts; g = MLP I -> h -> N) follows the abstract of
CCLI (Zhang, Zhang, Tang, He; arXiv 2307.15460). The convex form replaces the MLP by one linear layer on the concept
space, fitted by penalised maximum likelihood: a maximum a posteriori estimate whose prior covariance is that of the
concepts. The sparse form has a few concepts per class (`ccli.methods.sparse_inference`).
"""

import torch
from torch import nn
from torch.nn import functional as F

from ccli.concepts.representation import ConceptSpace, Similarity
from ccli.features.task import FewShotTask
from ccli.fitting.lbfgs import LBFGS
from ccli.methods.sparse_inference import SparseLinear


class ConceptInference(nn.Module):
    """The fused classifier; f [B, D] -> logits [B, N].

    Args:
        representation: r, a module f [B, D] -> [B, R].
        network: g, a module [B, R] -> [B, N].
        text_features: W [N, D], unit rows.
        logit_scale: exp(logit_scale) of the model.
        temperature: share of the logit scale that zero-shot logits keep.
        alpha: weight of the network; at 0 predictions are zero-shot's.
    """

    def __init__(
        self, representation: nn.Module, network: nn.Module, text_features: torch.Tensor, logit_scale: float,
        temperature: float = 1.0, alpha: float = 1.0,
    ):  # fmt: skip
        super().__init__()
        self.representation, self.network = representation, network
        self.register_buffer("text_features", text_features.clone())
        for name, value in (("zero_shot_scale", temperature * logit_scale), ("alpha", alpha)):
            self.register_buffer(name, torch.tensor(float(value), device=text_features.device))

    def parts(self, f: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Zero-shot logits and the network's, both [B, N]; `forward` adds them with weight alpha."""
        return self.zero_shot_scale * f @ self.text_features.T, self.network(self.representation(f))

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        zero_shot, inferred = self.parts(f)
        return zero_shot + self.alpha * inferred


def build(
    representation: nn.Module, task: FewShotTask, network: str, hidden: int, penalty: float, temperature: float,
    alpha: float, seed: int,
) -> ConceptInference:  # fmt: skip
    """A head on a representation of images; the "convex" network comes fitted, the "mlp" is to be trained."""
    width, classes = representation.width, task.num_classes
    g = nn.Linear(width, classes, bias=False) if network == "convex" else mlp(width, hidden, classes, seed)
    model = ConceptInference(representation, g, task.text_features, task.logit_scale, temperature, alpha)
    model = model.to(task.train.features.device)
    if network == "convex":
        fit_convex(model, task.train.features, task.train.labels, penalty)
    return model


def from_state(state: dict[str, torch.Tensor]) -> ConceptInference:
    """Rebuild a head from its state_dict, with the representation, network and number of classes found there."""
    text = state["text_features"]
    if "representation.projection" in state:
        r = ConceptSpace.from_buffers(*(state[f"representation.{name}"] for name in ("mean", "projection", "widths")))
    else:
        concepts, kind = state["representation.concepts"], "affinity" if state["representation.beta"] > 0 else "plain"
        r = Similarity(concepts, concepts[:1], kind)  # "standardised" is in mean and deviation
    if "network.concepts" in state:
        g = SparseLinear(*(state[f"network.{name}"] for name in ("concepts", "weight", "chosen", "penalty")))
    elif "network.weight" in state:
        g = nn.Linear(*reversed(state["network.weight"].shape), bias=False)
    else:
        g = mlp(*reversed(state["network.0.weight"].shape), len(state["network.2.weight"]), 0)
    model = ConceptInference(r, g, text, 1.0).to(text.device)
    model.load_state_dict(state)
    return model


def mlp(width: int, hidden: int, classes: int, seed: int) -> nn.Sequential:
    """The two-layer network R -> h -> N; its start depends on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # those of GPUs stay as they are
        return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def fit_convex(
    model: ConceptInference, features: torch.Tensor, labels: torch.Tensor, penalty: float, steps: int = 200
) -> float:
    """Fit a linear network B [N, R] (no bias) by penalised maximum likelihood, from zero, by L-BFGS.

        B = argmin  sum_j CE(zero-shot_j + alpha B r_j, y_j) + penalty / 2 ||B||^2

    A convex problem: no learning rate, no epochs.

    Args:
        model: its network must be one `nn.Linear` without bias; set in place.
        features: [J, D]; labels: [J].

    Returns:
        The objective reached.

    Raises:
        FloatingPointError: the features or the objective are not finite.
    """
    with torch.no_grad():
        zero_shot = model.zero_shot_scale * features @ model.text_features.T  # [J, N]
        r = model.alpha * model.representation(features)  # [J, R]
    if not (torch.isfinite(zero_shot).all() and torch.isfinite(r).all()):
        raise FloatingPointError(
            "concept inference: logits or concepts are not finite; lower the network's weight or the temperature, or "
            "encode the features again"
        )
    weight = torch.zeros_like(model.network.weight, requires_grad=True)
    tolerances = {"tolerance_grad": 1e-5, "tolerance_change": 1e-9}
    optim = LBFGS([weight], max_iter=steps, history_size=10, line_search_fn="strong_wolfe", **tolerances)

    def objective() -> torch.Tensor:
        weight.grad = None  # as zero_grad, without the import that LBFGS avoids
        loss = F.cross_entropy(zero_shot + r @ weight.T, labels, reduction="sum") + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    if weight.numel():  # identical concepts leave no axis, so nothing to fit
        optim.step(objective)
    with torch.no_grad():
        model.network.weight.copy_(weight)
    reached = float(objective().detach())
    if not reached < float("inf"):
        raise FloatingPointError(f"concept inference: the objective is {reached}; check the features and the penalty")
    return reached
