"""The classification evaluator. Its log lines are a format that scripts parse: do not reword them."""

from __future__ import annotations

import os
from collections import OrderedDict, defaultdict
from typing import Any

import numpy as np
import torch
from yacs.config import CfgNode

from dassl.utils import atomic_path

from .build import EVALUATOR_REGISTRY


class EvaluatorBase:
    """reset(), then process() per batch, then evaluate()."""

    def __init__(self, cfg: CfgNode) -> None:
        self.cfg = cfg

    def reset(self) -> None:
        raise NotImplementedError

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        raise NotImplementedError

    def evaluate(self) -> dict[str, float]:
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Accuracy, error rate and macro F1 in percent; per class and as a confusion matrix on request."""

    def __init__(self, cfg: CfgNode, lab2cname: dict[int, str] | None = None, **_: Any) -> None:
        super().__init__(cfg)
        if cfg.TEST.PER_CLASS_RESULT and lab2cname is None:
            raise ValueError("TEST.PER_CLASS_RESULT needs the class names: pass lab2cname")
        self._lab2cname = lab2cname
        self.reset()

    def reset(self) -> None:
        self._correct = 0
        self._total = 0
        self._y_true: list[int] = []
        self._y_pred: list[int] = []
        # label -> for each of its images whether it was recognised, 1 or 0; None where not asked for
        self._per_class_res = defaultdict(list) if self.cfg.TEST.PER_CLASS_RESULT else None

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """Add a batch.

        Args:
            mo: model outputs [batch, classes]; the highest is the prediction.
            gt: labels [batch].
        """
        if mo.ndim != 2 or gt.shape != mo.shape[:1]:
            raise ValueError(f"Outputs [batch, classes] and labels [batch] do not fit: {[*mo.shape]}, {[*gt.shape]}")
        gt = gt.cpu()
        if torch.isnan(mo).any():
            raise FloatingPointError(f"The model's output holds NaN in the batch after sample {self._total}")
        if gt.numel() and not 0 <= int(gt.min()) <= int(gt.max()) < mo.shape[1]:
            raise ValueError(f"A label is outside the {mo.shape[1]} classes: {gt.tolist()}")
        pred = mo.argmax(dim=1).cpu()
        self._correct += int((pred == gt).sum())
        self._total += gt.shape[0]
        self._y_true.extend(gt.tolist())
        self._y_pred.extend(pred.tolist())
        if self._per_class_res is not None:
            for label, right in zip(gt.tolist(), (pred == gt).int().tolist()):
                self._per_class_res[label].append(right)

    def evaluate(self) -> dict[str, float]:
        """Print and return the results; the first value, accuracy, is what `trainer.test()` returns."""
        if self._total == 0:
            raise ValueError("Nothing to evaluate: no sample was processed")
        accuracy = 100.0 * self._correct / self._total
        error = 100.0 - accuracy
        macro_f1 = 100.0 * _macro_f1(np.array(self._y_true), np.array(self._y_pred))
        results = OrderedDict(accuracy=accuracy, error_rate=error, macro_f1=macro_f1)
        print(
            "=> result\n"
            f"* total: {self._total:,}\n"
            f"* correct: {self._correct:,}\n"
            f"* accuracy: {accuracy:.1f}%\n"
            f"* error: {error:.1f}%\n"
            f"* macro_f1: {macro_f1:.1f}%"
        )
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._report_classes()
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_confusion_matrix()
        return results

    def _report_classes(self) -> float:
        """Print a line per class that occurs; return the mean of their accuracies."""
        print("=> per-class result")
        accuracies = []
        for label, found in sorted(self._per_class_res.items()):
            total, correct = len(found), sum(found)
            accuracies.append(100.0 * correct / total)
            print(
                f"* class: {label} ({self._lab2cname[label]})\t"
                f"total: {total:,}\tcorrect: {correct:,}\tacc: {accuracies[-1]:.1f}%"
            )
        mean = float(np.mean(accuracies))
        print(f"* average: {mean:.1f}%")
        return mean

    def _save_confusion_matrix(self) -> None:
        """Save a tensor [true class, predicted class], each row divided by the class's number of images."""
        from sklearn.metrics import confusion_matrix

        labels = sorted({*(self._lab2cname or ()), *self._y_true, *self._y_pred})
        matrix = confusion_matrix(self._y_true, self._y_pred, labels=labels, normalize="true")
        path = os.path.join(self.cfg.OUTPUT_DIR, "cmat.pt")
        with atomic_path(path) as temporary:
            torch.save(torch.from_numpy(matrix), temporary)
        print(f"Confusion matrix is saved to {path}")


def _macro_f1(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """Mean F1 of the labels that occur: a class without test images has none. As scikit-learn's, whose import is slow.

    F1 of a class is 2 TP / (images of it + images taken for it).
    """
    size = 1 + max(y_true.max(), y_pred.max())
    there, guessed, right = (np.bincount(y, minlength=size) for y in (y_true, y_pred, y_true[y_true == y_pred]))
    occurs = there > 0
    return float(np.mean(2.0 * right[occurs] / (there + guessed)[occurs]))
