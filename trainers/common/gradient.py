"""Methods that train a head by gradient, and choose after how many epochs to stop by the run's protocol."""

import hashlib
from pathlib import Path

import torch
from dassl.optim import build_optimizer

from ccli.errors import CcliError, first_line, in_one_line
from ccli.features.task import FewShotTask, Split
from ccli.files.atomic import moved_into_place
from ccli.fitting import selection
from ccli.fitting.training import correct, warm_cosine
from ccli.results.methods import Method
from ccli.trainers.common.base import FeatureTrainer
from ccli.trainers.common.checkpoints import HEAD

BEST = "best.safetensors"  # the best epoch so far, beside the checkpoints, for a run that is resumed or repeated


class GradientTrainer(FeatureTrainer):
    """A subclass has `make_head(task)` and, where it chooses more than the epochs, `select_more(how)`.

    With a validation set, the best epoch on it (of ties the first) is kept. Without one, each fold of the shots is
    trained for all epochs, and training on all shots stops after the best. Either way the learning rate follows the
    schedule of all planned epochs.
    """

    method = Method("", "views", authors_chose_on="nothing")
    default_epochs = 50

    def planned_epochs(self) -> int:
        """OPTIM.MAX_EPOCH, or the authors' number where that is 0."""
        return self.cfg.OPTIM.MAX_EPOCH or self.authors_epochs()

    def authors_epochs(self) -> int:
        return self.default_epochs

    def make_optim(self, head: torch.nn.Module, task: FewShotTask):
        """The yaml's optimiser, on CoOp's schedule: one epoch at WARMUP_CONS_LR, then a cosine per epoch."""
        with in_one_line(ValueError, "OPTIM cannot be used", "fix the option"):
            optim = build_optimizer(head, self.cfg.OPTIM)
        for group in optim.param_groups:
            group["lr"] *= self.rate_share()
        warmup_lr = self.cfg.OPTIM.WARMUP_CONS_LR
        return optim, warm_cosine(optim, self.batches_per_epoch(task), self.planned_epochs(), warmup_lr)

    def rate_share(self) -> float:
        """The authors' learning rate on this data set, relative to OPTIM.LR."""
        return 1.0

    def _set_up(self) -> None:
        super()._set_up()
        self.max_epoch = self.epochs = self.planned_epochs()
        self.how, self.best = self.chosen_on(), None
        if self.how == "cross-validation":
            with self._clock("select"):
                self.max_epoch = self.epochs = self._epochs_by_cross_validation()

    def _epochs_by_cross_validation(self) -> int:
        counts = [0] * self.planned_epochs()
        for part, rest in selection.splits(self.how, self.task, self.cfg.SEED):

            def watch(epoch: int, head: torch.nn.Module, rest=rest) -> None:
                counts[epoch] += correct(head, rest)

            self.fit(part, watch=watch)
        return 1 + counts.index(max(counts))

    def before_train(self) -> None:
        super().before_train()
        path = Path(self.cfg.RESUME or self.output_dir) / HEAD / BEST
        if self.start_epoch and self.watched() is not None:
            self.best = _read_best(path)
            if self.best[1] >= self.start_epoch:  # that epoch is trained again
                self.best = None

    def after_epoch(self) -> None:
        split = self.watched()
        if split is not None:
            self.head.eval()
            count = correct(self.head, split)
            if self.best is None or count > self.best[0]:  # ties keep the first
                state = {name: x.detach().clone() for name, x in self.head.state_dict().items()}
                self.best = (count, self.epoch, state)
                _write_best(Path(self.output_dir) / HEAD / BEST, self.best)
        super().after_epoch()

    def watched(self) -> Split | None:
        """The images that the best epoch is chosen on; None without."""
        return {"validation": self.task.val, "test": self.task.test}.get(self.how)

    def select(self, how: str) -> dict[str, float]:
        if self.best is not None:
            self.head.load_state_dict(self.best[2])
            self.epochs = self.best[1] + 1
        self.head.eval()
        return {"epochs": self.epochs} | self.select_more(how)

    def after_train(self) -> None:
        if self.best is not None:  # before the last checkpoint becomes the chosen head
            _write_best(Path(self.output_dir) / HEAD / BEST, self.best)
        super().after_train()

    def select_more(self, how: str) -> dict:
        """Choose the hyper-parameters besides the epochs, set them in the head, and name them."""
        return {}

    def fit_chosen(self, task: FewShotTask) -> torch.nn.Module:
        """A head fitted on a part of the shots for the chosen number of epochs."""
        return self.fit(task, epochs=self.epochs)


def _write_best(path: Path, best: tuple[int, int, dict[str, torch.Tensor]]) -> None:
    from safetensors.torch import save

    state = {name: x.contiguous().cpu() for name, x in best[2].items()}
    said = {"correct": str(best[0]), "epoch": str(best[1]), "digest": _digest(*best[:2], state)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with moved_into_place(path) as scratch:
        scratch.write_bytes(save(state, said))


def _read_best(path: Path) -> tuple[int, int, dict[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            said, state = file.metadata(), {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        best = int(said["correct"]), int(said["epoch"]), state
        if said["digest"] != _digest(*best):
            raise ValueError("another digest")
        return best
    except FileNotFoundError:
        why = f"{path}, which holds the best epoch, is missing"
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        why = f"{path} is damaged ({first_line(error, 100)})"
    raise CcliError(f"cannot go on: {why}; remove {path.parent.parent} to start again")


def _digest(correct: int, epoch: int, state: dict[str, torch.Tensor]) -> str:
    found = hashlib.sha256(f"{correct} {epoch}".encode())
    for name in sorted(state):
        found.update(f"{name} {state[name].dtype} {tuple(state[name].shape)}".encode())
        found.update(state[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
