"""FeatureTrainer: Dassl's hooks over stored features. A method adds check_cfg, make_head and little else."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
from dassl.data.datasets import build_dataset
from dassl.metrics import compute_accuracy

from ccli.concepts.gallery import Concepts
from ccli.concepts.vocabulary import Vocabulary
from ccli.errors import CcliError, in_one_line, warnings_into
from ccli.features.task import FewShotTask, Split
from ccli.files.atomic import alone, remove_leftovers
from ccli.fitting import selection
from ccli.fitting.calibration import ENOUGH, Calibration, subsample
from ccli.fitting.training import FeatureBatches, at, head_loss, refuse_infinite, step, train
from ccli.results.identity import folder_state
from ccli.results.methods import Method
from ccli.results.records import write_record
from ccli.trainers.common import checkpoints
from ccli.trainers.common.checks import COMMON, check_options, check_trainable, option_names
from ccli.trainers.common.evaluation import EvaluatingTrainer, class_ids_of
from ccli.trainers.common.feature_source import check_has_text, feature_source, stamp_of_images
from ccli.trainers.common.finalize import calibration, record_of, write_classifier
from ccli.trainers.common.options import plain_config


def extend_cfg(cfg) -> None:
    """Add the keys that all feature trainers share."""
    from yacs.config import CfgNode

    cfg.setdefault("PROTOCOL", "validation")  # validation | fixed | paper: what hyper-parameters are chosen on
    cfg.setdefault("CFG_NAME", "")  # the yaml's stem, for the record
    cfg.DATASET.setdefault("SUBSAMPLE_CLASSES", "all")
    cfg.setdefault("FEATURES", CfgNode())
    cfg.FEATURES.setdefault("STORE", "")  # where features are kept; CCLI_STORE or DATA/.ccli_features where empty
    cfg.FEATURES.setdefault("PRECISION", "fp32")  # fp32 | bf16
    cfg.FEATURES.setdefault("VIEWS", 10)  # augmented views of a training image; 0 for none
    cfg.FEATURES.setdefault("CROP", (0.5, 1.0))  # their share of the image's area
    cfg.FEATURES.setdefault("CROPS", 0)  # an image is the mean of this many of its views; 0: its centre crop
    cfg.FEATURES.setdefault("TEMPLATES", "single")  # single | imagenet7 | imagenet80
    cfg.FEATURES.setdefault("VOCABULARY", "")  # a file of text concepts; the packaged one where empty


def options(name: str, **defaults) -> Callable[..., None]:
    """An `extend_cfg` that adds TRAINER.<name> with a method's options, and the keys that all feature trainers share.

    Options that are there already stay as they are.
    """

    def extend(cfg) -> None:
        from yacs.config import CfgNode

        extend_cfg(cfg)
        node = cfg.TRAINER.setdefault(name, CfgNode())
        for key, value in defaults.items():
            node.setdefault(key, value)

    return extend


class FeatureTrainer(EvaluatingTrainer):
    """Trains and tests a head on features that were encoded once.

    A subclass has `method` (its record), `make_head(task)` and `head_module`, whose `from_state(state)` rebuilds a head
    from a checkpoint; a gradient method also `make_optim(head, task)`; a method with something to choose `select(how)`.
    """

    method = Method("")  # what it trains on, and what its authors chose on
    uses_text = True
    uses_concepts = False
    reads_class_names = False  # True where a loaded head is made anew for the classes at hand
    limits: dict[str, str | tuple[str, ...]] = {}  # of its own options, as in checks.COMMON
    option_names = {"the learning rate": "OPTIM.LR"}  # what the library's messages call an option

    def check_cfg(self, cfg) -> None:
        check_options(cfg, COMMON | self.limits)
        if cfg.DATASET.NAME == "FeatureBundle" and self.uses_text:
            check_has_text(cfg.DATASET.BUNDLE, cfg.TRAINER.NAME)
        shots = cfg.DATASET.NUM_SHOTS
        if shots < -1 or (shots == 0 and self.method.uses_shots):
            raise CcliError(f"DATASET.NUM_SHOTS {shots}: {cfg.TRAINER.NAME} needs 1 or more, or -1 for all images")

    def build_data_loader(self) -> None:
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []  # for the record
        with warnings_into(self.warnings):
            dataset = build_dataset(self.cfg)
            self.source = feature_source(self.cfg, dataset, self.device)
        with self._clock("encode"):
            self._test = self.source.test()
            self._val = self.source.val() if self.method.uses_shots else None
        self.test_loader = self._loader(self._test)
        self.val_loader = self._loader(self._val) if self._val is not None else None
        self.train_loader_x = self.train_loader_u = None  # made by before_train, so that evaluation encodes nothing
        self.num_classes = dataset.num_classes
        self.lab2cname = dict(sorted(dataset.lab2cname.items()))  # upstream's is in no order
        self.num_source_domains = len(self.cfg.DATASET.SOURCE_DOMAINS)
        self.dm = SimpleNamespace(
            dataset=dataset, num_classes=self.num_classes, lab2cname=self.lab2cname, train_loader_x=None,
            train_loader_u=None, val_loader=self.val_loader, test_loader=self.test_loader,
        )  # fmt: skip
        self.held: list[tuple[torch.nn.Module, Split]] = []  # heads of folds, for the calibration
        self.calibration = Calibration()

    def build_model(self) -> None:
        """Make no head yet: before_train makes it from the shots, load_model from a checkpoint."""
        self.head = self.optim = self.sched = None

    def train(self) -> None:
        """As in Dassl, under a lock on the output folder: a second process waits, and then goes on from its files."""
        with alone(Path(self.output_dir)), option_names(self.option_names):
            super().train()

    def before_train(self) -> None:
        plain, self.images = plain_config(self.cfg), stamp_of_images(self.dm.dataset, self.cfg)
        options = plain | {"weights": self.source.weights, "images": self.images}
        folder = self.cfg.RESUME or self.output_dir
        checkpoints.refuse_foreign_record(self.output_dir, folder_state(self.output_dir, lambda: plain))
        if checkpoints.has_checkpoint(folder, checkpoints.HEAD):
            checkpoints.check_same_run(folder, options)
        elif self.cfg.RESUME:
            raise CcliError(f"--resume {folder}: no checkpoint there; give the output folder of an unfinished run")
        for place in (self.output_dir, checkpoints.folder_of_checkpoints(self.output_dir)):
            remove_leftovers(Path(place))
        self._set_up()
        checkpoints.write_run(self.output_dir, list(self.lab2cname.values()), class_ids_of(self.dm.dataset), options)
        gone_or_foreign = (FileNotFoundError, *checkpoints.ODD)  # the checkpoint, or of another trainer
        with in_one_line(gone_or_foreign, f"cannot resume from {folder}", "remove that folder to start anew"):
            super().before_train()
            if self.start_epoch < 0:
                raise ValueError(f"the checkpoint is of epoch {self.start_epoch}")
        self._started = time.time()

    def init_writer(self, log_dir: str) -> None:
        """As in Dassl, but without epochs there is no curve, and TensorBoard is not imported."""
        if self.max_epoch:
            super().init_writer(log_dir)

    def _set_up(self) -> None:
        check_trainable(self.cfg.DATASET.NAME, self.dm.dataset, self)
        with self._clock("encode"), warnings_into(self.warnings):
            self.task = self.make_task()
        self.train_loader_x = self.dm.train_loader_x = self._loader(self.task.train, train=True)
        with self._clock("fit"):
            self.head = self.make_head(self.task).to(self.device)
            self.optim, self.sched = self.make_optim(self.head, self.task)
        if self.optim is None:
            self.max_epoch = 0
        self.register_model(checkpoints.HEAD, self.head, self.optim, self.sched)

    def make_task(self) -> FewShotTask:
        """The shots, texts and concepts that the head is made from; what the method does not use is left out."""
        source, method, none = self.source, self.method, torch.tensor([], dtype=torch.long)
        text, norms = source.text() if self.uses_text else (None, None)
        vocabulary, concepts = source.concepts() if self.uses_concepts else (Vocabulary((), ()), None)
        train = source.train(method.uses_views) if method.uses_shots else self._test.take(none)
        return FewShotTask(
            source.classnames, text, norms, source.logit_scale, train, self._val, self._test, vocabulary.names,
            concepts, vocabulary.kinds,
        )  # fmt: skip

    def make_head(self, task: FewShotTask) -> torch.nn.Module:
        """A module f [B, D] -> logits [B, N], already fitted if the method needs no epochs."""
        raise NotImplementedError

    def make_optim(self, head: torch.nn.Module, task: FewShotTask):
        """(optimiser, scheduler per step) for a gradient method."""
        return None, None

    def loss(self, head: torch.nn.Module, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of a training step, on all shots and in folds: the head's own, or the cross-entropy."""
        return head_loss(head, logits, labels)

    def fit(self, task: FewShotTask, epochs: int | None = None, watch=None) -> torch.nn.Module:
        """A head fitted on part of the shots as `train()` fits it on all; `watch(epoch, head)` follows each epoch."""
        head = self.make_head(task).to(self.device)
        optim, sched = self.make_optim(head, task)
        if optim is None:
            return head
        batches = FeatureBatches(task.train, self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE, True, self.cfg.SEED)
        with at(f"{self.cfg.TRAINER.NAME}, on a part of the shots"):
            epochs = self.planned_epochs() if epochs is None else epochs
            return train(head, batches, optim, sched, epochs, watch, self.loss)

    def planned_epochs(self) -> int:
        return self.cfg.OPTIM.MAX_EPOCH

    def batches_per_epoch(self, task: FewShotTask) -> int:
        return -(-len(task.train) // self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE)

    def chosen_on(self) -> str:
        """The images that hyper-parameters are chosen on: one of ccli.results.schema.SelectedBy."""
        protocol = self.cfg.PROTOCOL
        if protocol == "paper":
            protocol = {"validation": "validation", "nothing": "fixed", "test": "paper"}[self.method.authors_chose_on]
        return selection.selected_by(protocol, self.task)

    def held_out(self, how: str, fit=None) -> Iterator[tuple[torch.nn.Module, Split]]:
        """Heads and images to choose on; the calibration later uses those of folds, with what `set_chosen` sets."""
        pairs = selection.held_out(how, self.task, self.head, fit or self.fit, self.cfg.SEED)
        return self.keep(pairs) if how == "cross-validation" else pairs

    def keep(self, pairs: Iterable[tuple[torch.nn.Module, Split]]) -> Iterator[tuple[torch.nn.Module, Split]]:
        """Pass heads of folds and their held-out images on, and keep them in `held`, with a subsample of the images."""
        for head, images in pairs:
            self.held.append((head, subsample(images, ENOUGH // selection.MAX_FOLDS)))
            yield head, images

    def set_chosen(self, **values: float) -> dict[str, float]:
        """Set hyper-parameters that are buffers of the head, in it and in the heads of folds."""
        for head in (self.head, *(head for head, _ in self.held)):
            for name, value in values.items():
                getattr(head, name).fill_(value)
        return values

    def select(self, how: str) -> dict[str, float]:
        """Choose hyper-parameters by `how`, which is `chosen_on()`, set them in the head, and name them."""
        return {}

    def describe(self, images: list[str]) -> Concepts | None:
        """The head's concepts for people, or None; `images` are files of the training images, or "" for each."""
        return None

    def before_epoch(self) -> None:
        self.train_loader_x.epoch = self.epoch

    def forward_backward(self, batch: dict) -> dict[str, float]:
        with at(f"{self.cfg.TRAINER.NAME}, epoch {self.epoch + 1}, batch {self.batch_idx + 1}"):
            loss, logits = step(self.head, batch, self.optim, self.loss)
            self.update_lr()
            both = torch.cat([loss.reshape(1), *compute_accuracy(logits, batch["label"])])
            loss, accuracy = both.tolist()  # the only time in a step that a GPU is waited for
            refuse_infinite(loss)
        return {"loss": loss, "acc": accuracy}

    def after_train(self) -> None:
        self.seconds["fit"] += time.time() - self._started
        with self._clock("select"), at(f"{self.cfg.TRAINER.NAME}, after training"):
            how = self.chosen_on()
            self.hyper_parameters = self.select(how)
            self.selected_by = how if self.hyper_parameters else "none"
            self.calibration = calibration(self)
        self.save_model(max(self.max_epoch - 1, 0), self.output_dir)
        for name, value in self.hyper_parameters.items():
            print(f"{name} = {value} (selected by: {self.selected_by})")
        with self._clock("test"):
            super().after_train()
        write_classifier(self)
        if not self.cfg.TEST.NO_TEST and self.cfg.TEST.SPLIT == "test":  # records are of test images
            write_record(self.output_dir, record_of(self))

    def _loader(self, split: Split, train: bool = False) -> FeatureBatches:
        node = self.cfg.DATALOADER.TRAIN_X if train else self.cfg.DATALOADER.TEST
        return FeatureBatches(split, node.BATCH_SIZE, shuffle=train, seed=self.cfg.SEED)
