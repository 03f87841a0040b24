"""Choosing hyper-parameters on held-out images, against plain loops: python -m benchmarks.search

Tip-Adapter's grid of 200 betas and 20 alphas against the authors' loop (search_hp): the affinities once, then for each
point scale f W^T + alpha exp(-beta (1 - f K^T)) V with one-hot V, an argmax and a count. CCLI's and GDA's choice
against logits of all images at once, one candidate after the other. On random features of width 1024, for which a part
of the predictions is right. The loop of the largest grid runs at one of eight betas, and its time is scaled.

Prints seconds of the loop and the best of six of the fast side, their ratio, how many scores differ by more than 1e-6
of them (the float32 rounding of a product depends on the number of images), and, from further runs, the MiB that each
side adds to the process's peak memory.
"""

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.console import fastest, flag, script, table, timed
from ccli.features.task import Split, unit
from ccli.fitting import selection
from ccli.methods import gda, tip_adapter
from ccli.methods.concept_inference import ConceptInference

WIDTH, SCALE = 1024, 100.0
GRIDS = [(24, 1, 24, 1), (37, 16, 148, 1), (100, 16, 400, 1), (1000, 4, 200, 8)]  # classes, shots, images, betas apart
IMAGES = (8000, 1000)  # held-out images and classes of CCLI's and GDA's choice
ALPHAS = (0.0, 0.25, 0.5, 1.0, 2.0)


def features(classes: int, shots: int, images: int) -> tuple[torch.Tensor, Split, Split]:
    """Text features, shots and held-out images around a common direction, as CLIP's features are."""
    torch.manual_seed(1)
    common, centres = unit(torch.randn(1, WIDTH)), unit(torch.randn(classes, WIDTH))

    def around(rows: torch.Tensor, noise: float) -> torch.Tensor:
        return unit(common + 0.6 * unit(rows + noise * unit(torch.randn_like(rows))))

    of_shots, of_images = torch.arange(classes).repeat_interleave(shots), torch.arange(images) % classes
    splits = (Split(around(centres[labels], 6), labels) for labels in (of_shots, of_images))
    return around(centres, 1.2), *splits


def authors_loop(head: tip_adapter.TipAdapter, split: Split, betas, alphas) -> torch.Tensor:
    values, counts = F.one_hot(head.labels, len(head.text_features)).float(), []
    zero_shot, affinity = head.parts(split.features)
    for beta in betas:
        for alpha in alphas:
            logits = zero_shot + alpha * (torch.exp(-beta * (1 - affinity)) @ values)
            counts.append(int((logits.argmax(1) == split.labels).sum()))
    return torch.tensor(counts)


def one_by_one(head, split: Split, weights, criterion: str) -> torch.Tensor:
    """What each weight scores, from logits of all images."""
    scores, (first, second) = [], head.parts(split.features)
    for w in weights:
        logits = first + w * second
        if criterion == "accuracy":
            scores.append(float((logits.argmax(1) == split.labels).sum()))
        else:
            scaled = (k * logits.double() for k in selection.TEMPERATURES)
            scores.append(max(-float(F.cross_entropy(x, split.labels, reduction="sum")) for x in scaled))
    return torch.tensor(scores, dtype=torch.float64)


def memory(kind: str) -> float:
    """MiB of this process: VmRSS, now, or VmHWM, the most since `peak` began."""
    return int(re.search(rf"{kind}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def peak(work: Callable[[], object]) -> float:
    """By how many MiB the most memory of a call is above what there was."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before is not there to be taken without showing
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = memory("VmRSS")
    work()
    return memory("VmHWM") - before


def compare(what: str, fast: Callable[[], torch.Tensor], slow: Callable, some, apart: int = 1) -> list[str]:
    """A row of the table; `slow` scores the candidates in `some`, which are every `apart`-th of the fast side's."""
    loop, theirs = timed(lambda: slow(some))
    (seconds,), (ours,) = fastest(6, [fast])
    ours, theirs, loop = ours[::apart].flatten().double(), theirs.double(), loop * apart
    differ = int(((ours - theirs).abs() > 1e-6 * theirs.abs()).sum())
    numbers = f"{loop:.3f}", f"{seconds:.4f}", f"{loop / seconds:.1f}", f"{differ} of {len(theirs)}"
    return [what, *numbers, f"{peak(lambda: slow(some[:1])):.0f}", f"{peak(fast):.0f}"]


def grid_row(classes: int, shots: int, images: int, apart: int) -> list[str]:
    text, train, held = features(classes, shots, images)
    head = tip_adapter.TipAdapter(train.features, train.labels, text, SCALE, 1.0, 1.0)
    betas, alphas = tip_adapter.grid(13, 13)
    return compare(
        f"Tip-Adapter, {classes} classes, {shots} shots, {images} images",
        lambda: tip_adapter.search([(head, held)], betas, alphas),
        lambda some: authors_loop(head, held, some, alphas),
        betas[::apart],
        apart,
    )


def choice_row(method: str, criterion: str, images: int, classes: int) -> list[str]:
    text, train, held = features(classes, 1, images)
    if method == "GDA":
        head, weights = gda.GDA(train.features, torch.zeros(classes), text, SCALE, 1.0), gda.CANDIDATES
    else:
        network = nn.Linear(WIDTH, classes, bias=False)
        network.weight.data.copy_(10 * train.features)
        head, weights = ConceptInference(nn.Identity(), network, text, SCALE), ALPHAS
    return compare(
        f"{method} by {criterion}, {classes} classes, {images} images",
        lambda: torch.tensor(selection.score([(head, held)], weights, criterion), dtype=torch.float64),
        lambda some: one_by_one(head, held, some, criterion),
        weights,
    )


@torch.no_grad()
@script
@flag("--threads", type=int, default=torch.get_num_threads(), help="of torch")
@flag("--small", action="store_true", help="the smallest of the sizes alone")
def main(args) -> None:
    torch.set_num_threads(args.threads)
    rows = [grid_row(*sizes) for sizes in (GRIDS[:1] if args.small else GRIDS)]
    sizes = (100, 10) if args.small else IMAGES
    for method, criterion in (("CCLI", "accuracy"), ("CCLI", "likelihood"), ("GDA", "accuracy")):
        rows.append(choice_row(method, criterion, *sizes))
    heads = ["", "loop, s", "here, s", "times as fast", "differ", "loop, MiB", "here, MiB"]
    print(f"{torch.get_num_threads()} threads")
    print(table(rows, heads))
