"""(d) A training step of CoOp, with the shared prefix computed once and with all prompts at full length."""

from collections.abc import Callable

import torch

from benchmarks.coop import AtFullLength, one_step, random_batch
from ccli.clip.model import FrozenClip
from ccli.concepts.vocabulary import read_vocabulary
from ccli.methods.context_optimization import build
from gpu_check.figures import Figures
from gpu_check.models import random_model
from gpu_check.setting import Setting


def run(setting: Setting, figures: Figures) -> None:
    clip = FrozenClip(random_model(setting, "RN50"), setting.device)
    for classes in setting.size((100, 1000), (4, 8)):
        try:
            _compare(setting, figures, clip, classes)
        except torch.cuda.OutOfMemoryError as error:
            figures.fail(f"{classes} classes", error)
            torch.cuda.empty_cache()


def _compare(setting: Setting, figures: Figures, clip: FrozenClip, classes: int) -> None:
    """Both ways from the same context; the one with the shared prefix first, which needs less memory."""
    names, batch, what = list(read_vocabulary().names[:classes]), random_batch(clip, classes), f"{classes} classes"
    fast, start = (build(clip.text_tower, clip.tokenize, names, 100.0, seed=1) for _ in range(2))
    logits = one_step(fast, batch)[0]
    seconds = _step(setting, figures, f"{what}, shared prefix", lambda: one_step(fast, batch))
    slow = AtFullLength(start, clip, names, "end")
    expected = one_step(slow, batch)[0]
    full = _step(setting, figures, f"{what}, full length", lambda: one_step(slow, batch))
    figures.add(f"{what}: times as fast with the shared prefix", full / seconds, at_least=setting.size(1, None))
    apart = (logits - expected).abs().max() / expected.abs().max()
    figures.add(f"{what}: difference of the logits, relative", apart, at_most=1e-3)


def _step(setting: Setting, figures: Figures, name: str, work: Callable) -> float:
    memory = setting.memory()
    seconds = setting.seconds(work, setting.size(5, 1))
    figures.add(f"{name}: a step", 1000 * seconds, "ms")
    figures.add(f"{name}: peak memory", memory.peak(), "MB")
    return seconds
