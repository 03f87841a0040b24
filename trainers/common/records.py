"""What a record says: of the run that was trained here, or of a finished one that was tested here."""

from dataclasses import asdict

import torch

from ccli.results.records import fingerprint, read_record, versions
from ccli.trainers.common.feature_source import stamp_of_images
from ccli.trainers.common.options import plain_config

OF_THE_RUN = ("trainer", "cfg", "backbone", "shots", "seed", "protocol", "selected_by", "hyper_parameters")


def record_of(trainer) -> dict:
    """The record of the run that this trainer has made."""
    cfg = trainer.cfg
    return {
        "trainer": cfg.TRAINER.NAME, "cfg": cfg.CFG_NAME, "backbone": trainer.source.backbone,
        "shots": cfg.DATASET.NUM_SHOTS, "seed": cfg.SEED, "protocol": cfg.PROTOCOL,
        "selected_by": trainer.selected_by, "hyper_parameters": trainer.hyper_parameters, **_tested(trainer),
        **_images(trainer.images),
    }  # fmt: skip


def evaluation_record(trainer, folder: str) -> dict:
    """The record of the finished run in `folder` on this trainer's data set."""
    run, tested = read_record(folder), _tested(trainer)
    elsewhere = {} if run["dataset"] == tested["dataset"] else {"trained_on": run["dataset"]}
    images = stamp_of_images(trainer.dm.dataset, trainer.cfg, trained=False)
    return {key: run[key] for key in OF_THE_RUN} | tested | elsewhere | {"run": fingerprint(run)} | _images(images)


def _images(stamp: str) -> dict:
    return {"images": stamp} if stamp else {}


def _tested(trainer) -> dict:
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
    }  # fmt: skip


def _ran_on(device: torch.device) -> dict:
    """The device, and whether the same command gives the same bits there at the same number of threads."""
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    same_bits = device.type == "cpu" or torch.are_deterministic_algorithms_enabled()
    return {"device": device.type + name, "deterministic": same_bits}
