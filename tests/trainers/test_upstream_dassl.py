"""Our trainers where upstream's Dassl 0.6.3 is installed in place of the toolbox: its known faults are not met.

The faults are put into the toolbox here: the warm-up raises (as on torch 2.7 and later), a checkpoint without a
val_result or a best model cannot be loaded, a learning rate needs an optimizer, nothing registered cannot be resumed,
and class names come in no order.
"""

import json

import dassl.optim.lr_scheduler
import pytest
from dassl.data.datasets import DatasetBase
from dassl.engine import TrainerBase
from dassl.engine.trainer import SimpleTrainer
from helpers import bundle_args, bundle_file, run_here

ON_BUNDLES = (
    "CCLI", "CLIPAdapter", "GDA", "LPPlusPlus", "LinearProbe", "TaskRes", "TipAdapter", "TipAdapterF", "ZeroshotCLIP",
)  # fmt: skip


def no_warmup(*args, **kwargs):
    raise TypeError("LRScheduler.__init__() takes from 2 to 3 positional arguments but 4 were given")


def no_loading(self, directory, epoch=None):
    raise AssertionError("upstream's load_model fails without a val_result and a best model")


def first_learning_rate(self, names=None):
    return self._optims[self.get_model_names(names)[0]].param_groups[0]["lr"]


def unordered(data_source):
    mapping = {item.label: item.classname for item in data_source}
    return dict(sorted(mapping.items(), reverse=True)), [name for _, name in sorted(mapping.items())]


@pytest.fixture
def upstream(monkeypatch):
    resume = TrainerBase.resume_model_if_exist

    def resume_something(self, directory):
        assert self.get_model_names(), "upstream's start epoch is undefined where no model is registered"
        return resume(self, directory)

    monkeypatch.setattr(dassl.optim.lr_scheduler.WarmupScheduler, "__init__", no_warmup)
    monkeypatch.setattr(TrainerBase, "load_model", no_loading)
    monkeypatch.setattr(TrainerBase, "resume_model_if_exist", resume_something)
    monkeypatch.setattr(SimpleTrainer, "get_current_lr", first_learning_rate)
    monkeypatch.setattr(DatasetBase, "get_lab2cname", staticmethod(unordered))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return bundle_file(tmp_path_factory.mktemp("upstream"))


@pytest.mark.parametrize("trainer", ON_BUNDLES)
def test_a_run_and_its_evaluation(trainer, bundle, tmp_path, upstream):
    options = ("OPTIM.MAX_EPOCH", 0 if trainer == "ZeroshotCLIP" else 2)
    run_here(*bundle_args(bundle, tmp_path / "run", *options, trainer=trainer))
    flags = ("--eval-only", "--model-dir", tmp_path / "run")
    run_here(*flags, *bundle_args(bundle, tmp_path / "again", *options, trainer=trainer))
    first, again = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("run", "again"))
    assert [row["name"] for row in first["per_class"]] == [f"class {k}" for k in range(6)]
    assert first["per_class"] == again["per_class"] and first["correct"] == again["correct"]
