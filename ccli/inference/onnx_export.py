"""A trained classifier as ONNX, from features and from the pixels of pictures. The extra "onnx" has the packages.

    features [images, D] float32           -> logits [images, N], probabilities [images, N]
    pixels [images, crops, S, S, 3] uint8  -> the same, through the image tower

Rows of `features` may have any length but zero. `pixels` are what `Classifier.pixels` gives: resizing and cropping
stay outside, scaling, mean and deviation are inside. Everything is in float32, on the CPU; the number of images is
free. What is written is first run by onnxruntime and compared with PyTorch.
"""

import copy
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.nn import functional as F

from ccli import __version__
from ccli.clip.model import FrozenClip
from ccli.clip.weights import quiet
from ccli.errors import CcliError, first_line, os_errors
from ccli.features.crops import normalised
from ccli.features.encoder import encoder_of
from ccli.features.task import unit
from ccli.inference.classifier import Classifier

TOLERANCE = 1e-4
OPSET = 18
ONE_FILE = 2_000_000_000  # bytes of weights; protobuf ends at 2 GiB


@dataclass(frozen=True)
class Exported:
    """What was written: the classifier of features, the whole (None where there is none), the largest difference."""

    features: Path
    whole: Path | None
    difference: float

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self.features,) if self.whole is None else (self.whole, self.features)


def export(classifier: Classifier, path: str | Path, image_tower: bool | None = None) -> Exported:
    """Write a classifier as ONNX, all of it or nothing; files that are there are replaced.

    With the image tower, `path` is the whole, and the classifier of features lies beside it: model.features.onnx beside
    model.onnx. Without, `path` is the classifier of features. Weights above 2 GB lie beside their model, with ".data"
    after its name. The tower is exported in float32. The classifier keeps features as half floats, and may encode them
    in bf16: its probabilities differ by that rounding.

    A model's metadata, all of it strings: ccli (the version), method, input ("features" or "pixels"), width, classnames
    (a JSON list), temperature; where the classifier knows how pictures become features also backbone, weights, crops,
    crop (a JSON list), decoding; of a whole also image_size and interpolation.

    The difference is the largest found on made-up inputs: of a logit, as a part of the largest absolute logit of its
    batch where that is above 1, or of a probability. Of a whole, PyTorch's tower in float32 is compared with.

    Args:
        classifier: from `load_run`.
        path: ends in ".onnx"; its folder is made if absent.
        image_tower: whether with it; by default where the classifier knows how pictures become features.

    Raises:
        CcliError: a package is missing, the difference is above 1e-4, a part has no form in ONNX, the backbone is not
            the classifier's or not there, the classifier has none, or the disk refuses.
    """
    path = Path(path)
    if path.suffix != ".onnx" or path.is_dir():
        raise CcliError(f"{path}: an exported model is a file whose name ends in .onnx, such as model.onnx")
    _refuse_without_packages()
    with_tower = classifier.images is not None if image_tower is None else image_tower
    clip = encoder_of(replace(classifier.image_spec, precision="fp32"), "cpu").clip if with_tower else None
    beside = path.with_suffix(".features.onnx") if with_tower else path
    with os_errors(f"cannot write {path}", "choose another place"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{path.name[:24]}.", dir=path.parent) as scratch:
            difference = _write_features(classifier, Path(scratch) / beside.name)
            if clip is not None:
                difference = max(difference, _write_whole(classifier, clip, Path(scratch) / path.name))
            for file in sorted(Path(scratch).iterdir(), key=lambda file: file.suffix == ".onnx"):  # weights first
                os.replace(file, path.parent / file.name)
    return Exported(beside, path if with_tower else None, difference)


class OfFeatures(nn.Module):
    """features [images, D] -> logits and probabilities [images, N]."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.head = copy.deepcopy(classifier.head).cpu().float().requires_grad_(False)
        self.temperature = classifier.temperature

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.head(F.normalize(features, dim=-1))
        return logits, (logits / self.temperature).softmax(-1)


class OfPixels(nn.Module):
    """pixels uint8 [images, crops, S, S, 3] -> logits and probabilities [images, N]."""

    def __init__(self, classifier: Classifier, clip: FrozenClip):
        super().__init__()
        self.model, self.of_features = clip.model, OfFeatures(classifier)
        self.register_buffer("mean", torch.tensor(clip.facts.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(clip.facts.std).view(3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = pixels.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
        f = F.normalize(self.model.encode_image((x - self.mean) / self.std), dim=-1)
        return self.of_features(f.unflatten(0, (-1, pixels.shape[1])).mean(1))


def _write_features(classifier: Classifier, path: Path) -> float:
    """The difference found."""
    example = torch.eye(2, classifier.width)
    _write(OfFeatures(classifier), example, "features", _metadata(classifier, "features"), path)
    return _difference(path, classifier, _some_features(classifier), classifier.logits)


def _write_whole(classifier: Classifier, clip: FrozenClip, path: Path) -> float:
    """The difference found."""
    facts, crops = clip.facts, max(1, classifier.image_spec.crops)
    pixels = _some_pixels(3 * crops, facts.image_size).unflatten(0, (3, crops))

    def logits(pixels: torch.Tensor) -> torch.Tensor:
        batch = normalised(list(pixels.flatten(0, 1).numpy()), facts.mean, facts.std, "cpu")
        features = unit(clip.encode_image(batch)).unflatten(0, (len(pixels), -1))
        return classifier.logits(features.mean(1))

    metadata = _metadata(classifier, "pixels") | {
        "image_size": str(facts.image_size), "interpolation": facts.interpolation,
    }  # fmt: skip
    _write(OfPixels(classifier, clip), pixels[:2], "pixels", metadata, path)
    return _difference(path, classifier, [pixels[:1], pixels[1:]], logits)


def _write(module: nn.Module, example: torch.Tensor, name: str, metadata: dict[str, str], path: Path) -> None:
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(), (example,), dynamo=True, verbose=False, opset_version=OPSET, input_names=[name],
                output_names=["logits", "probabilities"], dynamic_shapes=({0: torch.export.Dim("images")},),
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        part, remedy = ("image tower", "; export it without the tower") if name == "pixels" else ("head", "")
        why = f"this {part} cannot be exported ({first_line(error.__cause__ or error, 160)}){remedy}"
        raise CcliError(f"torch finds no form in ONNX: {why}") from error
    for node in program.model.graph:
        node.metadata_props.clear()  # lines of source, with the places of files on this machine
    program.model.metadata_props.update(metadata)
    size = sum(x.const_value.nbytes for x in program.model.graph.initializers.values())
    program.save(path, external_data=size > ONE_FILE)


def _difference(
    path: Path, classifier: Classifier, batches: list[torch.Tensor], logits: Callable[[torch.Tensor], torch.Tensor]
) -> float:
    """The largest difference between a model and PyTorch, as `export` counts it.

    Raises:
        CcliError: it is above the tolerance, or the model does not run.
    """
    worst = 0.0
    for batch, found in zip(batches, _run(path, batches)):
        expected = logits(batch)
        scale = expected.abs().max().clamp(min=1)
        of_logits = (found[0] - expected).abs().max() / scale
        of_probabilities = (found[1] - classifier.calibration.probabilities(expected.double())).abs().max()
        difference = float(torch.maximum(of_logits, of_probabilities))  # nan where either is
        if not difference <= TOLERANCE:
            why = f"onnxruntime and PyTorch differ by {difference:.1e} on it, and {TOLERANCE:g} is allowed"
            raise CcliError(f"{path.name} was not written: {why}; try other versions of torch and onnxruntime")
        worst = max(worst, difference)
    return worst


def _run(path: Path, batches: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Logits and probabilities of each batch, by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        for batch in batches:
            yield [torch.from_numpy(x) for x in session.run(["logits", "probabilities"], {name: batch.numpy()})]
    except Exception as error:  # onnxruntime has a dozen types of its own
        raise CcliError(f"{path.name} was not written: onnxruntime cannot run it ({first_line(error, 160)})") from error


def _metadata(classifier: Classifier, name: str) -> dict[str, str]:
    found = {
        "ccli": __version__, "method": classifier.method, "input": name, "width": str(classifier.width),
        "classnames": json.dumps(classifier.classnames), "temperature": repr(float(classifier.temperature)),
    }  # fmt: skip
    if (spec := classifier.images) is None:
        return found
    return found | {
        "backbone": _without_folder(spec.backbone), "weights": spec.weights, "crops": str(spec.crops),
        "crop": json.dumps(spec.crop), "decoding": spec.decoding,
    }  # fmt: skip


def _without_folder(backbone: str) -> str:
    """A backbone's name; of a place on this machine only its last part."""
    name, at, place = backbone.rpartition("@")
    return name + at + Path(place).name if Path(place).is_absolute() else backbone


def _some_features(classifier: Classifier) -> list[torch.Tensor]:
    """1, 2 and 61 rows [n, D] of any length: some random, some near the directions that the head knows."""
    generator = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(64, classifier.width, generator=generator), dim=-1)
    tensors = (x for x in classifier.head.state_dict().values() if x.ndim == 2 and x.shape[1] == classifier.width)
    known = torch.cat([F.normalize(x.float().cpu(), dim=-1) for x in tensors] or [rows])
    picks = torch.randint(len(known), (64,), generator=generator)
    rows += (torch.arange(64) % 4)[:, None] * known[picks]
    return list((rows * (0.1 + 10 * torch.rand(64, 1, generator=generator))).split([1, 2, 61]))


def _some_pixels(count: int, size: int) -> torch.Tensor:
    """Smooth pictures with noise on them, uint8 [count, size, size, 3]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    fine = 0.2 * torch.rand(count, 3, size, size, generator=generator) - 0.1
    smooth = F.interpolate(coarse, size=(size, size), mode="bilinear")
    return ((smooth + fine).clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).contiguous()


def _refuse_without_packages() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            import_module(name)
        except ImportError as error:
            raise CcliError(f'{name} is not installed here: pip install -e ".[onnx]"') from error


@contextmanager
def _quiet():
    """Nothing of what the exporter has to say of its own workings."""
    silent = io.StringIO()
    with quiet(logging.WARNING), warnings.catch_warnings(), redirect_stdout(silent), redirect_stderr(silent):
        warnings.simplefilter("ignore")
        yield
