"""A step of CoOp against the authors' way, all prompts at full length: python -m benchmarks.coop

The step is the loss of 32 random images, its gradient by 16 context vectors and SGD, through an untrained text tower
of RN50's size (or demo-clip's), for the class names of Caltech101. Both ways follow one another, --repeats times, and
the best of each counts. Prints seconds of a step and their ratio for each layout of the prompt, the largest difference
of the logits relative to the largest logit, and that of the gradients relative to the gradient's norm.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn
from torch.nn import functional as F

from ccli.clip.model import FrozenClip
from ccli.clip.weights import DEMO
from ccli.fitting.training import step
from ccli.methods.context_optimization import POSITIONS, ContextOptimization, build, lay_out

NAMES = """face, leopard, motorbike, accordion, airplane, anchor, ant, barrel, bass, beaver, binocular, bonsai, brain,
brontosaurus, buddha, butterfly, camera, cannon, side of a car, ceiling fan, cellphone, chair, chandelier, body of a
cougar cat, face of a cougar cat, crab, crayfish, crocodile, head of a crocodile, cup, dalmatian, dollar bill, dolphin,
dragonfly, electric guitar, elephant, emu, euphonium, ewer, ferry, flamingo, head of a flamingo, garfield, gerenuk,
gramophone, grand piano, hawksbill, headphone, hedgehog, helicopter, ibis, inline skate, joshua tree, kangaroo, ketch,
lamp, laptop, llama, lobster, lotus, mandolin, mayfly, menorah, metronome, minaret, nautilus, octopus, okapi, pagoda,
panda, pigeon, pizza, platypus, pyramid, revolver, rhino, rooster, saxophone, schooner, scissors, scorpion, sea horse,
snoopy (cartoon beagle), soccer ball, stapler, starfish, stegosaurus, stop sign, strawberry, sunflower, tick, trilobite,
umbrella, watch, water lilly, wheelchair, wild cat, windsor chair, wrench, yin and yang symbol"""


def untrained(architecture: str) -> FrozenClip:
    """A backbone with random weights, which need no download; demo-clip with its own."""
    clip = FrozenClip(architecture)
    if architecture != DEMO:
        import open_clip

        torch.manual_seed(0)
        clip.__dict__["_model"] = open_clip.create_model(architecture).eval().requires_grad_(False)
    return clip


def names_of_caltech101() -> list[str]:
    return " ".join(NAMES.split()).split(", ")


class AtFullLength(nn.Module):
    """The classifier with every token of every prompt computed; it starts from another one's context."""

    def __init__(self, fast: ContextOptimization, clip: FrozenClip, names: list[str], position: str):
        super().__init__()
        tower = clip.text_tower
        length, m = tower.context_length, fast.ctx.shape[-2]
        prompts = lay_out(clip.tokenize, names, [0] * m, position, length)
        self.tower, self.eot, self.scale = (tower,), prompts.eot, fast.logit_scale
        self.embeddings = tower.embed(F.pad(prompts.tokens, (0, length - prompts.tokens.shape[1])))
        self.places = torch.arange(len(names))[:, None], prompts.slots
        self.ctx = nn.Parameter(fast.ctx.detach().clone())

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        ctx = self.ctx.expand(*self.places[1].shape, -1)
        text = self.tower[0](self.embeddings.index_put(self.places, ctx), self.eot)
        return self.scale * f @ F.normalize(text, dim=-1).T


def measure(clip: FrozenClip, names: list[str], position: str, specific: bool, repeats: int) -> list[float]:
    """Seconds of a step at full length and as it is done, and the differences of logits and gradients."""
    tower = clip.text_tower
    fast = build(tower, clip.tokenize, names, 100.0, class_specific=specific, position=position, seed=1)
    sides = [AtFullLength(fast, clip, names, position), fast]
    width = tower.read_off(torch.zeros(1, tower.width)).shape[1]
    images = F.normalize(torch.randn(32, width, generator=torch.Generator().manual_seed(2)), dim=-1)
    batch = {"img": images, "label": torch.arange(32) % len(names)}
    best, out = [float("inf")] * 2, [None] * 2
    for k in range(repeats):
        for side, model in enumerate(sides):
            optim = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9)
            start = time.perf_counter()
            logits = step(model, batch, optim)[1]
            best[side] = min(best[side], time.perf_counter() - start)
            if k == 0:  # later on the contexts differ in their last bits
                out[side] = logits.detach(), model.ctx.grad.clone()
    (logits, gradient), (fast_logits, fast_gradient) = out
    apart = float((logits - fast_logits).abs().max() / logits.abs().max())
    return [*best, apart, float((gradient - fast_gradient).norm() / gradient.norm())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="RN50-quickgelu", help="of open_clip, or demo-clip (default: RN50's)")
    parser.add_argument("--classes", type=int, default=100, help="how many of the 100 class names")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    clip, names = untrained(args.architecture), names_of_caltech101()[: args.classes]
    tokens = clip.text_tower.context_length
    print(f"{args.architecture}, {len(names)} classes, {torch.get_num_threads()} threads")
    for position, specific in [*((position, False) for position in POSITIONS), ("end", True)]:
        slow, fast, logits, gradient = measure(clip, names, position, specific, args.repeats)
        print(
            f"{position}, {'a context for each class' if specific else 'one context'}: {tokens} tokens {slow:.3f} s, "
            f"shared and cut {fast:.3f} s: {slow / fast:.1f} times as fast; logits differ by {logits:.1e}, "
            f"gradients by {gradient:.1e}"
        )


if __name__ == "__main__":
    main()
