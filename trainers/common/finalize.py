"""The end of a run: calibrated probabilities, a classifier to use, and the record, also that of an evaluation."""

import os
from array import array
from dataclasses import asdict

import torch

from ccli.clip.weights import absolute_backbone
from ccli.concepts.vocabulary import vocabulary_facts
from ccli.features.decoding import BENCHMARK
from ccli.features.encoder import ImageSpec
from ccli.fitting.calibration import Calibration, calibrate, calibration_error
from ccli.inference import saving
from ccli.inference.classifier import Classifier, Examples
from ccli.results.identity import folder_state
from ccli.results.records import fingerprint, read_record, versions
from ccli.trainers.common.feature_source import stamp_of_images
from ccli.trainers.common.options import plain_config

EXAMPLES, MISTAKES = 200, 150  # test images kept for explanations, and the most mistakes among them
OF_THE_RUN = ("trainer", "cfg", "backbone", "shots", "seed", "protocol", "selected_by", "hyper_parameters")


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


def record_of(trainer) -> dict:
    """The record of the run that this trainer has made."""
    cfg = trainer.cfg
    return {
        "trainer": cfg.TRAINER.NAME, "cfg": cfg.CFG_NAME, "backbone": trainer.source.backbone,
        "shots": cfg.DATASET.NUM_SHOTS, "seed": cfg.SEED, "protocol": cfg.PROTOCOL,
        "selected_by": trainer.selected_by, "hyper_parameters": trainer.hyper_parameters,
        **_tested(trainer, trainer.images),
    }  # fmt: skip


def evaluation_record(trainer, folder: str) -> dict:
    """The record of the finished run in `folder` on this trainer's data set."""
    images = stamp_of_images(trainer.dm.dataset, trainer.cfg, trained=False)
    run, tested = read_record(folder), _tested(trainer, images)
    elsewhere = {} if run["dataset"] == tested["dataset"] else {"trained_on": run["dataset"]}
    return {key: run[key] for key in OF_THE_RUN} | tested | elsewhere | {"run": fingerprint(run)}


def _tested(trainer, images: str) -> dict:
    """What a record says of the test images and of this process, from the evaluator's counts."""
    true, predicted = trainer.evaluator._y_true, trainer.evaluator._y_pred
    correct, total = [0] * trainer.num_classes, [0] * trainer.num_classes
    for label, guess in zip(true, predicted):
        total[label] += 1
        correct[label] += label == guess
    errors = trainer.confidence.errors([a == b for a, b in zip(true, predicted)])
    return {
        "dataset": getattr(trainer.dm.dataset, "short_name", "") or trainer.cfg.DATASET.NAME,
        "correct": sum(correct), "total": sum(total), "accuracy": 100 * sum(correct) / sum(total),
        "per_class": [
            {"name": name, "correct": correct[k], "total": total[k]} for k, name in trainer.lab2cname.items()
        ],
        "predictions": list(predicted), "labels": list(true), "calibration": asdict(trainer.calibration) | errors,
        "seconds": {k: round(v, 3) for k, v in trainer.seconds.items()},
        "versions": versions() | _ran_on(trainer.device), "config": plain_config(trainer.cfg),
        **({"images": images} if images else {}),
        **({"warnings": trainer.warnings} if trainer.warnings else {}),
    }  # fmt: skip


def _ran_on(device: torch.device) -> dict:
    """The device, and whether the same command gives the same bits there at the same number of threads."""
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    same_bits = device.type == "cpu" or torch.are_deterministic_algorithms_enabled()
    return {"device": device.type + name, "deterministic": same_bits}
