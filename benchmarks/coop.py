"""A step of CoOp against the authors' way, all prompts at full length: python -m benchmarks.coop

A step is the loss of 32 random images, its gradient by 16 context vectors, and SGD, through an untrained text tower,
for the class names of Caltech101. Prints for each layout of the prompt the best seconds of --repeats steps of each way,
their ratio, the largest difference of the logits relative to the largest logit, and that of the gradients relative to
the gradient's norm.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.console import fastest, flag, script
from benchmarks.generated import untrained
from ccli.clip.model import FrozenClip
from ccli.fitting.training import step
from ccli.methods.context_optimization import POSITIONS, ContextOptimization, build, lay_out

NAMES = Path(__file__).with_name("caltech101.txt").read_text(encoding="utf-8").splitlines()


class AtFullLength(nn.Module):
    """The classifier with every token of every prompt computed; it starts from another one's context."""

    def __init__(self, fast: ContextOptimization, clip: FrozenClip, names: list[str], position: str):
        super().__init__()
        tower = clip.text_tower
        length, m = tower.context_length, fast.ctx.shape[-2]
        prompts = lay_out(clip.tokenize, names, [0] * m, position, length)
        self.tower, self.eot, self.scale = (tower,), prompts.eot.to(clip.device), fast.logit_scale
        self.embeddings = tower.embed(F.pad(prompts.tokens, (0, length - prompts.tokens.shape[1])).to(clip.device))
        self.places = torch.arange(len(names), device=clip.device)[:, None], prompts.slots.to(clip.device)
        self.ctx = nn.Parameter(fast.ctx.detach().clone())

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        ctx = self.ctx.expand(*self.places[1].shape, -1)
        text = self.tower[0](self.embeddings.index_put(self.places, ctx), self.eot)
        return self.scale * f @ F.normalize(text, dim=-1).T


def random_batch(clip: FrozenClip, classes: int) -> dict[str, torch.Tensor]:
    """32 random images with labels, on the model's device."""
    width = clip.text_tower.read_off(torch.zeros(1, clip.text_tower.width, device=clip.device)).shape[1]
    images = F.normalize(torch.randn(32, width, generator=torch.Generator().manual_seed(2)), dim=-1)
    return {"img": images.to(clip.device), "label": torch.arange(32, device=clip.device) % classes}


def one_step(model: nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a training step, and the context's gradient; a GPU is waited for."""
    logits = step(model, batch, torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9))[1]
    if logits.is_cuda:
        torch.cuda.synchronize()
    return logits.detach(), model.ctx.grad.clone()


def measure(clip: FrozenClip, names: list[str], position: str, specific: bool, repeats: int) -> list[float]:
    """Seconds of a step at full length and of one as it is done, and the differences of logits and gradients."""
    tower = clip.text_tower
    fast = build(tower, clip.tokenize, names, 100.0, class_specific=specific, position=position, seed=1)
    batch, slow = random_batch(clip, len(names)), AtFullLength(fast, clip, names, position)
    seconds, found = fastest(repeats, [lambda: one_step(slow, batch), lambda: one_step(fast, batch)])
    (logits, gradient), (fast_logits, fast_gradient) = found
    apart = float((logits - fast_logits).abs().max() / logits.abs().max())
    return [*seconds, apart, float((gradient - fast_gradient).norm() / gradient.norm())]


@script
@flag("--architecture", default="RN50-quickgelu", help="of open_clip, or demo-clip")
@flag("--classes", type=int, default=100, help="how many of the 100 class names")
@flag("--repeats", type=int, default=2, help="steps of each way")
def main(args) -> None:
    names = NAMES[: args.classes]
    print(f"{args.architecture}, {len(names)} classes, {torch.get_num_threads()} threads")
    clip = FrozenClip(untrained(args.architecture, args.scratch))
    tokens = clip.text_tower.context_length
    for position, specific in [*((position, False) for position in POSITIONS), ("end", True)]:
        slow, fast, logits, gradient = measure(clip, names, position, specific, args.repeats)
        print(
            f"{position}, {'a context for each class' if specific else 'one context'}: {tokens} tokens "
            f"{slow:.3f} s, shared and cut {fast:.3f} s: {slow / fast:.1f} times as fast; "
            f"logits differ by {logits:.1e}, gradients by {gradient:.1e}"
        )
