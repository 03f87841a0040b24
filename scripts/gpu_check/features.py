"""(a) Features on the GPU against those on the CPU."""

import torch
from torch.nn import functional as F

from benchmarks.generated import few_shot
from ccli.clip.model import FrozenClip
from ccli.clip.weights import DEMO
from ccli.datasets.concept_shapes import ConceptShapes
from ccli.features.encoder import FeatureEncoder
from gpu_check.figures import Figures
from gpu_check.models import FULL, random_model
from gpu_check.setting import Setting

CHUNK = 16


def run(setting: Setting, figures: Figures) -> None:
    for name in FULL:
        try:
            _random(setting, figures, name)
        except Exception as error:
            figures.fail(name, error)
    _demo(setting, figures)


def _random(setting: Setting, figures: Figures, name: str) -> None:
    """A model with random weights on random images and a few texts."""
    backbone = random_model(setting, name)
    on_cpu, on_gpu = FrozenClip(backbone), FrozenClip(backbone, setting.device)
    size = on_cpu.facts.image_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(setting.size(64, 4), 3, size, size, generator=generator)
    expected = _encoded(on_cpu, images)
    compare(figures, f"{name}, float32", _encoded(on_gpu, images), expected, 0.99999)
    short = FrozenClip(backbone, setting.device, "bf16")
    compare(figures, f"{name}, bfloat16", _encoded(short, images), expected, 0.99)
    texts = ["a photo of a cat.", "a photo of a very long red fire engine.", "stripes"]
    compare(figures, f"{name}, texts in float32", on_gpu.encode_text(texts).cpu(), on_cpu.encode_text(texts), 0.99999)


def _encoded(clip: FrozenClip, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([clip.encode_image(part).cpu() for part in images.split(CHUNK)])


def _demo(setting: Setting, figures: Figures) -> None:
    """demo-clip on the test images of concept_shapes, and how many of them it gives another class."""
    data = few_shot(ConceptShapes, setting.data, 1)
    paths = [item.impath for item in data.test]
    prompts = [f"a photo of a {name}." for name in data.classnames]

    def encoded(device: str, precision: str) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = FeatureEncoder(FrozenClip(DEMO, device, precision), None, setting.data)
        images = encoder.images(paths)
        return images, (images @ F.normalize(encoder.texts(prompts), dim=-1).T).argmax(1)

    expected, classes = encoded("cpu", "fp32")
    for precision, name, least in (("fp32", "float32", 0.9999), ("bf16", "bfloat16", 0.99)):
        found, labels = encoded(setting.device, precision)
        compare(figures, f"demo-clip, {name}", found, expected, least)
        figures.add(f"demo-clip, {name}: other zero-shot classes", (labels != classes).sum(), f"of {len(paths)}")


def compare(figures: Figures, name: str, found: torch.Tensor, expected: torch.Tensor, least: float) -> None:
    """The lowest cosine, and the greatest difference of unit rows; both tensors are on the CPU."""
    ours, theirs = F.normalize(found.double(), dim=-1), F.normalize(expected.double(), dim=-1)
    figures.add(f"{name}: lowest cosine", (ours * theirs).sum(-1).min(), at_least=least)
    figures.add(f"{name}: greatest difference", (ours - theirs).abs().max())
