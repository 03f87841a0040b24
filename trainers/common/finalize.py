"""What a finished run has beside its record's counts: probabilities that are calibrated, and a classifier to use."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator

import torch

from ccli.clip.weights import absolute_backbone
from ccli.concepts.vocabulary import vocabulary_facts
from ccli.features.decoding import BENCHMARK
from ccli.features.encoder import ImageSpec
from ccli.features.task import Split
from ccli.fitting.calibration import ENOUGH, Calibration, calibrate, calibration_error, subsample
from ccli.fitting.selection import MAX_FOLDS
from ccli.inference import saving
from ccli.inference.classifier import Classifier, Examples
from ccli.results.identity import folder_state

EXAMPLES, MISTAKES = 200, 150  # test images that are kept to be explained, and how many of them may be mistakes


class Held:
    """Heads of folds, with images that they have not seen, kept as a choice of hyper-parameters goes through them."""

    def __init__(self) -> None:
        self.pairs: list[tuple[torch.nn.Module, Split]] = []

    def through(self, pairs: Iterable[tuple[torch.nn.Module, Split]]) -> Iterator[tuple[torch.nn.Module, Split]]:
        """The pairs as they are; of the images some are kept."""
        for head, split in pairs:
            self.pairs.append((head, subsample(split, ENOUGH // MAX_FOLDS)))
            yield head, split

    def keep(self, pairs: Iterable[tuple[torch.nn.Module, Split]]) -> None:
        """Those of heads that are fitted for this alone."""
        for _ in self.through(pairs):
            pass


def calibration(trainer) -> Calibration:
    """From the validation images; without any from the folds that hyper-parameters were chosen on; else none."""
    val = trainer.task.val
    if val is not None and len(val):
        return calibrate([(trainer.head.eval(), val)], "validation")
    return calibrate(trainer.held.pairs, "cross-validation")


def calibration_in(folder: str) -> Calibration:
    """That of the finished run in a folder, as its record has it."""
    said = (folder_state(folder).record or {}).get("calibration")
    return Calibration(said["temperature"], said["fitted_on"]) if said else Calibration()


class Confidence:
    """Logits of test images as they come, and how far off their probabilities are."""

    def __init__(self) -> None:
        # numbers, not a small tensor for each batch: between the batches' large ones those keep freed memory in pieces
        self.plain, self.calibrated = array("d"), array("d")

    def add(self, logits: torch.Tensor, temperature: float) -> None:
        """Keep the probability of the predicted class, at temperature 1 and at this one."""
        logits = logits.double()
        for found, t in ((self.plain, 1.0), (self.calibrated, temperature)):
            found.frombytes((logits / t).softmax(1).amax(1).cpu().numpy().tobytes())

    def errors(self, right: list[bool]) -> dict[str, float]:
        """ECE of the calibrated probabilities and of those at temperature 1, to three decimals."""
        plain, calibrated = (torch.frombuffer(x, dtype=torch.float64) for x in (self.plain, self.calibrated))
        right = torch.tensor(right)
        found = {"ece": calibrated, "ece_uncalibrated": plain}
        return {name: round(calibration_error(x, right), 3) for name, x in found.items()}


def write_classifier(trainer) -> None:
    """Leave what `ccli.load_run` reads, or say why not."""
    if not saving.module_of(trainer.head):
        kind = type(trainer.head).__name__
        print(f"No classifier is written: the head, a {kind}, is neither of ccli.methods nor of a plugin")
        return
    source, dataset, task = trainer.source, trainer.dm.dataset, trainer.task
    saving.save(
        Classifier(
            trainer.head, trainer.cfg.TRAINER.NAME, tuple(source.classnames), task.test.features.shape[1],
            trainer.calibration, source.templates(), _image_spec(trainer.cfg, source, dataset),
            device=trainer.device, **_concepts(trainer),
        ),
        trainer.output_dir,
    )  # fmt: skip


def _image_spec(cfg, source, dataset) -> ImageSpec | None:
    if source.backbone == "bundle":
        return None
    node = cfg.FEATURES
    return ImageSpec(
        absolute_backbone(source.backbone), source.weights, node.PRECISION, node.CROPS, tuple(node.CROP),
        getattr(dataset, "decoding", BENCHMARK),
    )  # fmt: skip


def _concepts(trainer) -> dict:
    """For a head with named concepts: these, the mean images of the classes, and test images to explain."""
    task = trainer.task
    if not trainer.uses_concepts:
        return {}
    found = {"vocabulary": vocabulary_facts(task.concepts)}
    concepts = trainer.describe(_files(trainer, trainer.dm.dataset.train_x))
    if concepts is None:
        return found
    prototypes, examples = task.train.class_means(task.num_classes).cpu(), _examples(trainer)
    return found | {"concepts": concepts, "prototypes": prototypes, "examples": examples}


def _files(trainer, items) -> list[str]:
    """The pictures of Dassl's items as absolute paths; "" for each row of a bundle."""
    return ["" if trainer.source.backbone == "bundle" else os.path.abspath(item.impath) for item in items]


def _examples(trainer) -> Examples:
    """Test images, mistakes first, each kind from all over the test set; none where there was no test."""
    test, options = trainer.task.test, trainer.cfg.TEST
    if options.NO_TEST or options.SPLIT != "test":
        return Examples([], [], [], test.features[:0].cpu())
    predictions, labels = trainer.evaluator._y_pred, trainer.evaluator._y_true
    wrong = [k for k, (a, b) in enumerate(zip(predictions, labels)) if a != b]
    right = [k for k, (a, b) in enumerate(zip(predictions, labels)) if a == b]
    wrong = _spread(wrong, max(MISTAKES, EXAMPLES - len(right)))
    rows = wrong + _spread(right, EXAMPLES - len(wrong))
    items = trainer.dm.dataset.test
    return Examples(
        _files(trainer, [items[k] for k in rows]), [labels[k] for k in rows], [predictions[k] for k in rows],
        test.features[rows].cpu(),
    )  # fmt: skip


def _spread(rows: list[int], most: int) -> list[int]:
    return rows if len(rows) <= most else [rows[k * len(rows) // most] for k in range(most)]
