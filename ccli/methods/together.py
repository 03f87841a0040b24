"""Heads of one shape trained in lock-step: parameters stacked along a leading axis, one step for all of them.

The loss is the sum of the heads' losses, so that no gradient mixes, and the optimisers are elementwise: a step of one
optimiser on stacked parameters computes what separate ones do, up to rounding. It is faster where a step costs more in
calls than in numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import chain

import torch
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer, RAdam, RMSprop

from ..task import Split

ELEMENTWISE = (SGD, Adam, AdamW, RAdam, RMSprop)
# Parameters times images of a head's step, up to which stacking was measured to pay (two cores: python -m
# benchmarks.batched). Above it, the products take the time, whoever calls for them.
MOST_PRODUCTS = 30_000_000
IMAGES = 1024  # of each head at a time, where they are only looked at


def is_worth_it(head: torch.nn.Module, images: int) -> bool:
    """Whether steps of several such heads on `images` images each are faster as one."""
    return images * sum(p.numel() for p in head.parameters()) <= MOST_PRODUCTS


def why_not(heads: Sequence[torch.nn.Module], optims: Sequence[Optimizer], sizes: Sequence[Sequence[int]]) -> str:
    """Why these cannot be trained as one, in words; "" where they can. `sizes` are those of each one's batches."""
    if any(type(optim) not in ELEMENTWISE or len(optim.param_groups) != 1 for optim in optims):
        return "their optimiser is not one rule for every number"
    if any(_options(optim) != _options(optims[0]) or type(optim) is not type(optims[0]) for optim in optims):
        return "options of their optimisers differ"
    if any(type(head) is not type(heads[0]) or _shapes(head) != _shapes(heads[0]) for head in heads):
        return "their shapes differ"
    if any(list(size) != list(sizes[0]) for size in sizes):
        return "their batches are of different sizes"
    return ""


class Together:
    """S heads with their optimisers and schedules, trained as one problem.

    Args:
        heads: f [B, D] -> logits [B, N], all of one shape; they hold the trained numbers after `write_back`.
        optims: theirs, with whatever state these have; options are equal.
        scheds: theirs (all None, or all equal): the first one is stepped, the others follow in `write_back`.
    """

    def __init__(self, heads: Sequence[torch.nn.Module], optims: Sequence[Optimizer], scheds: Sequence):
        self.heads, self.optims, self.scheds = list(heads), list(optims), list(scheds)
        self.names = [name for name, p in heads[0].named_parameters() if p.requires_grad]
        named = [dict(head.named_parameters()) | dict(head.named_buffers()) for head in heads]
        self.params = {
            name: torch.stack([of[name].detach() for of in named]).requires_grad_() for name in self.names
        }  # [S, ...]
        self.fixed, axes = {}, {}
        for name in named[0].keys() - self.params.keys():
            values = [of[name].detach() for of in named]
            same = all(torch.equal(value, values[0]) for value in values)  # such as text features: one for all
            self.fixed[name], axes[name] = (values[0], None) if same else (torch.stack(values), 0)
        self.optim = self._stacked_optim()
        skeleton = copy.deepcopy(heads[0])

        def logits(params: dict, fixed: dict, f: torch.Tensor) -> torch.Tensor:
            return functional_call(skeleton, (params, fixed), (f,))

        self._logits = vmap(logits, in_dims=({name: 0 for name in self.names}, axes, 0))

    def __call__(self, f: torch.Tensor) -> torch.Tensor:
        """Logits [S, B, N] of images f [S, B, D], each head's own."""
        return self._logits(self.params, self.fixed, f)

    def step(self, batches: Sequence[dict]) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of every head on the cross-entropy of its own batch; returns losses [S] and logits [S, B, N].

        Raises:
            FloatingPointError: a loss is not finite.
        """
        logits = self(torch.stack([batch["img"] for batch in batches]))
        labels = torch.stack([batch["label"] for batch in batches])  # [S, B]
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).mean(1)
        finite = torch.isfinite(losses)
        if not finite.all():
            k = finite.tolist().index(False)
            raise FloatingPointError(
                f"the loss of head {k + 1} of {len(self.heads)} is not finite; lower OPTIM.LR or check the features"
            )
        self.optim.zero_grad()
        losses.sum().backward()
        self.optim.step()
        self._step_schedule()
        return losses.detach(), logits.detach()

    @torch.no_grad()
    def correct(self, splits: Sequence[Split]) -> list[int]:
        """How many images of its own split each head labels right. Splits are of one size."""
        if any(len(split) != len(splits[0]) for split in splits):
            raise ValueError(f"splits of {[len(split) for split in splits]} images cannot be stacked")
        counts = [0] * len(self.heads)
        for start in range(0, len(splits[0]), IMAGES):
            rows = slice(start, start + IMAGES)
            guesses = self(torch.stack([split.features[rows] for split in splits])).argmax(-1)  # [S, b]
            right = guesses == torch.stack([split.labels[rows] for split in splits])
            counts = [a + b for a, b in zip(counts, right.sum(1).tolist())]
        return counts

    @torch.no_grad()
    def fill(self, k: int) -> None:
        """Copy the parameters of head k into it."""
        for name in self.names:
            self.heads[k].get_parameter(name).copy_(self.params[name][k])

    def write_back(self) -> None:
        """Bring heads, optimisers and schedules to where training them one by one would have."""
        for k, (head, optim, sched) in enumerate(zip(self.heads, self.optims, self.scheds)):
            self.fill(k)
            for name, stacked in self.params.items():
                state = self.optim.state.get(stacked, {})
                optim.state[head.get_parameter(name)] = {
                    key: _part(value, k, stacked.shape) for key, value in state.items()
                }
            if k and sched is not None:
                sched.load_state_dict(self.scheds[0].state_dict())

    def _stacked_optim(self) -> Optimizer:
        """An optimiser like theirs on the stacked parameters, and with their states."""
        optim = type(self.optims[0])(self.params.values(), lr=self.optims[0].param_groups[0]["lr"])
        optim.param_groups[0].update(_options(self.optims[0]))
        for name, stacked in self.params.items():
            states = [o.state.get(head.get_parameter(name), {}) for head, o in zip(self.heads, self.optims)]
            shape = stacked.shape[1:]
            optim.state[stacked] = {
                key: torch.stack([s[key] for s in states]) if _has_shape(value, shape) else copy.deepcopy(value)
                for key, value in states[0].items()
            }
        self.optims[0].zero_grad()
        self.optims[0].step()  # without gradients nothing moves; its schedule wants it to have stepped before
        return optim

    def _step_schedule(self) -> None:
        if self.scheds[0] is not None:
            self.scheds[0].step()
            lr = self.optims[0].param_groups[0]["lr"]
            for optim in (self.optim, *self.optims[1:]):
                optim.param_groups[0]["lr"] = lr


def _options(optim: Optimizer) -> dict:
    return {key: value for key, value in optim.param_groups[0].items() if key != "params"}


def _shapes(head: torch.nn.Module) -> list[tuple]:
    return [(name, x.shape, x.dtype) for name, x in chain(head.named_parameters(), head.named_buffers())]


def _has_shape(value, shape: torch.Size) -> bool:
    return isinstance(value, torch.Tensor) and value.shape == shape


def _part(value, k: int, shape: torch.Size):
    """Head k's part of an optimiser's state: of stacked numbers its own, and of what all share (the steps) a copy."""
    if not isinstance(value, torch.Tensor):
        return value
    return (value[k] if value.shape == shape else value).clone()
