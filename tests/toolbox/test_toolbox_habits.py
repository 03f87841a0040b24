"""What plugins do with the toolbox beyond its examples: overrides, best models of their own, numpy's numbers."""

import os
import random

import numpy as np
import pytest
import torch
from conftest import ToolboxTiny
from dassl.data import DataManager
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import DatasetBase
from dassl.engine import TRAINER_REGISTRY, TrainerXU, build_trainer
from dassl.evaluation import build_evaluator
from dassl.utils import count_num_param, load_checkpoint, resume_from_checkpoint, save_checkpoint, set_random_seed
from torch import nn


@pytest.fixture
def train(cfg):
    """A function (trainer class, KEY VALUE ...) -> the trainer, trained."""

    def trained(kind, *opts):
        TRAINER_REGISTRY.register(kind, force=True)
        cfg.merge_from_list(["TRAINER.NAME", kind.__name__, *opts])
        trainer = build_trainer(cfg)
        trainer.train()
        return trainer

    return trained


class OwnBest(ToolboxTiny):
    """Keeps the second epoch as its best, without telling `best_result`."""

    def after_epoch(self):
        if self.epoch == 1:
            self.save_model(self.epoch, self.output_dir, val_result=np.float64(12.5), model_name="model-best.pth.tar")
            self.kept = self.model.layers[1].weight.detach().clone()


def test_a_best_model_of_ones_own_is_deployed(train, capsys):
    trainer = train(OwnBest, "TEST.FINAL_MODEL", "best_val")
    assert torch.equal(trainer.model.layers[1].weight, trainer.kept)
    said = capsys.readouterr().out
    assert "Deploy the model with the best val performance" in said and "(epoch=2, val_result=12.5)" in said


class OwnLoading(ToolboxTiny):
    def load_model(self, directory, epoch=None):
        self.asked = (directory, epoch)


def test_an_override_of_load_model_is_called(train, cfg):
    assert train(OwnLoading, "TEST.FINAL_MODEL", "best_val").asked == (cfg.OUTPUT_DIR, None)


def test_a_final_model_of_ones_own(train):
    assert train(ToolboxTiny, "TEST.FINAL_MODEL", "best_test", "OPTIM.MAX_EPOCH", 1).best_result == -np.inf


class Tolerant(ToolboxTiny):
    """As upstream's signature is: a tensor alone."""

    seen = ()

    def detect_anomaly(self, loss):
        assert torch.isfinite(loss).all()
        self.seen = (*self.seen, loss)

    def forward_backward(self, batch):
        return super().forward_backward(batch) | {"loss_extra": float("nan")}


def test_an_override_of_detect_anomaly(train):
    assert len(train(Tolerant, "OPTIM.MAX_EPOCH", 1).seen) == 4  # one a batch, and what it lets pass stays


class Cached(nn.Module):
    """Knows its classes once it is told to evaluate."""

    def __init__(self, classes):
        super().__init__()
        self.fc, self.cache = nn.Linear(192, classes), None

    def train(self, mode=True):
        self.cache = None if mode else self.fc.weight.detach().clone()
        return super().train(mode)

    def eval(self):
        self.called = True
        return super().eval()

    def forward(self, x):
        return x.flatten(1) @ (self.fc.weight if self.training else self.cache).t()


class WithCache(ToolboxTiny):
    def build_model(self):
        super().build_model()
        self.model = self._models["tiny"] = Cached(self.num_classes)


def test_models_that_override_eval(train):
    trainer = train(WithCache, "OPTIM.MAX_EPOCH", 1)
    assert trainer.model.called and not trainer.model.training


class NumpyRates(ToolboxTiny):
    def before_epoch(self):
        for group in self.optim.param_groups:
            group["lr"] = 0.01 * (1 + np.cos(np.pi * self.epoch / self.max_epoch))  # np.float64


def test_numbers_of_numpy_in_a_checkpoint(train, cfg, tmp_path):
    trainer = train(NumpyRates, "OPTIM.LR_SCHEDULER", "single_step", "OPTIM.WARMUP_EPOCH", -1)
    saved = load_checkpoint(os.path.join(cfg.OUTPUT_DIR, "tiny/model.pth.tar-3"))
    rate = saved["optimizer"]["param_groups"][0]["lr"]
    assert type(rate) is float and rate == pytest.approx(0.01 * 0.5 * 0.1)  # and a step of the schedule
    assert resume_from_checkpoint(os.path.join(cfg.OUTPUT_DIR, "tiny"), trainer.model, trainer.optim) == 3
    save_checkpoint({"state_dict": {}, "epoch": np.int64(1), "acc": (np.float32(3), [np.bool_(True)])}, str(tmp_path))
    assert load_checkpoint(str(tmp_path / "model.pth.tar-1"))["acc"] == (3.0, [True])


@pytest.mark.parametrize(
    "number", [np.float64(2.5), np.float32(-1), np.int64(7), np.bool_(True), np.array(3.0, ">f8")[()]]
)
def test_numbers_of_numpy_in_a_checkpoint_of_upstreams(number, tmp_path):
    path = tmp_path / "model.pth.tar-1"
    torch.save({"state_dict": {}, "epoch": 1, "val_result": number}, path)
    found = load_checkpoint(str(path))["val_result"]
    assert found == number and type(found) in (float, int, bool)


def test_what_is_no_number_stays_refused(tmp_path):
    path = tmp_path / "model.pth.tar-1"
    for value in (np.arange(3), np.str_("text"), np.void(b"ab")):
        torch.save({"state_dict": {}, "epoch": 1, "x": value}, path)
        with pytest.raises(ValueError, match="objects other than tensors"):
            load_checkpoint(str(path))


class Shim:
    """A writer of other software: no log_dir."""

    def __init__(self):
        self.tags, self.closed = [], False

    def add_scalar(self, tag, *_):
        self.tags.append(tag)

    def close(self):
        self.closed = True


class Shimmed(ToolboxTiny):
    def init_writer(self, log_dir):
        self._writer = Shim()

    def after_train(self):
        super().after_train()
        self.write_scalar("final/x", 1.0, 1)


def test_a_writer_of_ones_own(train):
    writer = train(Shimmed, "OPTIM.MAX_EPOCH", 1)._writer
    assert writer.closed and writer.tags[0] == "train/loss" and writer.tags[-1] == "final/x"


class WarmStart(ToolboxTiny):
    def resume_model_if_exist(self, directory):
        return 0


def test_an_override_of_resume_that_starts_anew(train, tmp_path):
    assert train(WarmStart, "RESUME", str(tmp_path), "OPTIM.MAX_EPOCH", 1).epoch == 0


class Draws(TrainerXU):
    def build_model(self):
        self.drawn = []

    def forward_backward(self, batch_x, batch_u):
        self.drawn.append((batch_x["index"].tolist(), batch_u["index"].tolist()))
        return {}


def test_both_loaders_begin_before_the_first_batch(train, cfg):
    """The order in which upstream draws: both iterators, then a batch of each, by turns."""
    set_random_seed(3)
    drawn = train(Draws, "OPTIM.MAX_EPOCH", 1, "TEST.NO_TEST", True).drawn
    set_random_seed(3)
    dm = DataManager(cfg)
    x, u = iter(dm.train_loader_x), iter(dm.train_loader_u)
    assert drawn == [(next(x)["index"].tolist(), next(u)["index"].tolist()) for _ in range(len(dm.train_loader_x))]


def test_results_of_each_class(cfg):
    cfg.TEST.PER_CLASS_RESULT = True
    evaluator = build_evaluator(cfg, lab2cname={0: "a", 1: "b"})
    evaluator.process(torch.eye(2)[[0, 1, 1]], torch.tensor([0, 1, 0]))
    assert evaluator._per_class_res == {0: [1, 0], 1: [1]}
    assert evaluator.evaluate()["perclass_accuracy"] == 75.0
    evaluator.reset()
    assert evaluator._per_class_res == {}
    cfg.TEST.PER_CLASS_RESULT = False
    assert build_evaluator(cfg)._per_class_res is None


def test_numbers_of_parameters():
    two = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))]
    assert count_num_param(params=two) == count_num_param(two) == 7
    assert count_num_param(params=[{"params": two}, two[0]]) == 10
    assert count_num_param(nn.Linear(2, 3)) == count_num_param(model=nn.Linear(2, 3)) == 9
    with pytest.raises(ValueError):
        count_num_param()


def test_arrays_of_items(cfg):
    random.seed(0)
    items = DataManager(cfg).dataset.train_x
    array = np.empty(len(items), dtype=object)
    array[:] = items
    assert len(build_data_loader(cfg, data_source=array, batch_size=4, is_train=False)) == 5
    dataset = DatasetBase(train_x=array, test=array)
    assert dataset.num_classes == 3 and DatasetBase.split_dataset_by_label(items)[99] == []
    for empty in (None, [], array[:0]):
        with pytest.raises(ValueError):
            build_data_loader(cfg, data_source=empty)
