"""The end of a run: calibrated probabilities, and a classifier to use."""

import os
from array import array

import torch

from ccli.clip.weights import absolute_backbone
from ccli.concepts.vocabulary import vocabulary_facts
from ccli.features.decoding import BENCHMARK
from ccli.features.encoder import ImageSpec
from ccli.fitting.calibration import Calibration, calibrate, calibration_error
from ccli.inference import saving
from ccli.inference.classifier import Classifier, Examples
from ccli.results.identity import folder_state

EXAMPLES, MISTAKES = 200, 150  # test images kept for explanations, and the most mistakes among them


def calibration(trainer) -> Calibration:
    """On the validation images, or else on the folds that hyper-parameters were chosen on, or else none."""
    val = trainer.task.val
    if val is not None and len(val):
        return calibrate([(trainer.head.eval(), val)], "validation")
    return calibrate(trainer.held, "cross-validation")


def calibration_in(folder: str) -> Calibration:
    """The calibration in the record of a finished run."""
    said = (folder_state(folder).record or {}).get("calibration")
    return Calibration(said["temperature"], said["fitted_on"]) if said else Calibration()


class Confidence:
    """Confidence of predictions, batch by batch, and its calibration error."""

    def __init__(self) -> None:
        # plain numbers: small tensors between the large ones of the batches would fragment memory
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
    """Write the files that `ccli.load_run` reads, or print the reason why not."""
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
    """Test images, mistakes first, evenly spaced over the test set; none without a test."""
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
