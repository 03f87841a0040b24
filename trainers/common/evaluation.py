"""Testing a head: the one just trained, or one loaded from the folder of a finished run."""

import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from dassl.engine import TrainerX

from ccli.errors import CcliError
from ccli.fitting.calibration import NOT_FINITE
from ccli.results.records import write_record
from ccli.trainers.common import checkpoints
from ccli.trainers.common.finalize import Confidence, calibration_in, evaluation_record


class EvaluatingTrainer(TrainerX):
    """Answers test images with `self.head`, at the temperature of `self.calibration`."""

    head_module: ModuleType  # the module of ccli.methods whose heads it trains
    subset: torch.Tensor | None = None  # columns of the logits that are classes of this data set; None: all
    loaded: tuple[str, int | None] | None = None  # load_model's arguments: a run's folder, an epoch

    def head_from_state(self, state: dict[str, torch.Tensor]) -> torch.nn.Module:
        """A head out of a checkpoint's tensors, whatever its number of classes."""
        return self.head_module.from_state(state)

    def test(self, split: str | None = None) -> float:
        """As in Dassl. After load_model it writes a record of the evaluation, or prints why there is none."""
        self.confidence = Confidence()
        if self.loaded is None:
            return super().test(split)
        with self._clock("test"):
            result = super().test(split)
        reason = checkpoints.why_no_record(*self.loaded, self.output_dir, split or self.cfg.TEST.SPLIT)
        if reason:
            print(f"No record is written: {reason}")
        else:
            record = evaluation_record(self, self.loaded[0])
            checkpoints.refuse_another_record(self.output_dir, record)
            write_record(self.output_dir, record)
        return result

    def model_inference(self, input: torch.Tensor) -> torch.Tensor:
        logits = self.head(input)
        logits = logits if self.subset is None else logits[:, self.subset]
        if not torch.isfinite(logits).all():
            raise FloatingPointError(f"{self.cfg.TRAINER.NAME}: logits of test images are {NOT_FINITE}")
        self.confidence.add(logits, self.calibration.temperature)
        return logits

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load a finished run's head; where this data set has a subset of its classes, restrict the logits to them."""
        self.loaded = (directory, epoch)
        if not directory:
            if self.head is None:
                raise CcliError(f"{self.cfg.TRAINER.NAME} has nothing to evaluate: give --model-dir RUN")
            return
        state = checkpoints.read_checkpoint(Path(directory) / checkpoints.HEAD, epoch)
        checkpoints.check_evaluation(directory, self.cfg)
        if checkpoints.read_options(directory).get("weights") != self.source.weights:
            raise CcliError(f"the run in {directory} was trained on other features; evaluate it with its own backbone")
        self.head = checkpoints.head_of(self, state, directory, self._test.features[:1])
        if checkpoints.HEAD in self._models:
            self._models[checkpoints.HEAD] = self.head
        known, wanted = checkpoints.read_classes(directory), class_ids_of(self.dm.dataset)
        self.calibration = calibration_in(directory)
        same = self.reads_class_names or known == wanted
        self.subset = None if same else class_subset(known, wanted).to(self.device)

    @contextmanager
    def _clock(self, phase: str):
        start = time.time()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.time() - start


def class_subset(known: list[str], wanted: list[str]) -> torch.Tensor:
    """Columns [n] of `known` class ids that are the `wanted` ones, in the order of the latter.

    Raises:
        CcliError: a wanted class is unknown, or two classes share its name.
    """
    counts = Counter(known), Counter(wanted)
    for name in wanted:
        if max(count[name] for count in counts) > 1:
            raise CcliError(
                f"two classes are called {name!r}, so that those of the model and of this data set, which differ in "
                "number or order, cannot be told apart; give them names of their own"
            )
    where = {name: k for k, name in enumerate(known)}
    missing = [name for name in wanted if name not in where]
    if missing:
        raise CcliError(
            f"the model knows {len(known)} classes, but not {missing[0]!r}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + " of this data set; train it on this one, or take a method that reads class names (CoOp, ZeroshotCLIP)"
        )  # fmt: skip
    return torch.tensor([where[name] for name in wanted])


def class_ids_of(dataset) -> list[str]:
    return list(getattr(dataset, "class_ids", None) or dataset.classnames)
