"""Runs that are killed and go on, models that are loaded again, and the best model on validation data."""

import os

import pytest
import torch
from dassl.engine import TRAINER_REGISTRY
from dassl.utils import load_checkpoint, set_random_seed
from torch import nn

TINY = TRAINER_REGISTRY.get("ToolboxTiny")


def run(cfg, trainer_class=TINY):
    set_random_seed(1)
    trainer = trainer_class(cfg)
    trainer.train()
    return trainer


def learning_state(trainer):
    """Everything that training changes, as bytes."""
    folder = os.path.join(trainer.output_dir, "tiny")
    checkpoint = load_checkpoint(os.path.join(folder, f"model.pth.tar-{trainer.max_epoch}"))
    flat = []

    def visit(value):
        if isinstance(value, dict):
            for key in value:
                flat.append(str(key))
                visit(value[key])
        elif isinstance(value, (list, tuple)):
            for item in value:
                visit(item)
        else:
            flat.append(value.numpy().tobytes() if isinstance(value, torch.Tensor) else value)

    visit({key: checkpoint[key] for key in ("state_dict", "optimizer", "scheduler", "rng_state")})
    return flat


class Killed(Exception):
    pass


@pytest.mark.parametrize("final_model", ["last_step", "best_val"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_resumed_run_equals_an_undisturbed_one(cfg, tmp_path, final_model, elsewhere, capsys):
    cfg.OPTIM.MAX_EPOCH = 4
    cfg.TRAIN.CHECKPOINT_FREQ = 1
    cfg.TEST.FINAL_MODEL = final_model
    undisturbed = run(cfg)
    wanted = learning_state(undisturbed)

    class Dies(TINY):
        def before_epoch(self):
            if self.epoch == 2:
                raise Killed

    cfg.OUTPUT_DIR = str(tmp_path / "killed")
    with pytest.raises(Killed):
        run(cfg, Dies)
    if elsewhere:
        cfg.RESUME, cfg.OUTPUT_DIR = cfg.OUTPUT_DIR, str(tmp_path / "resumed")
    set_random_seed(99)  # what the new process starts from must not matter
    resumed = TINY(cfg)
    resumed.train()
    assert resumed.start_epoch == 2
    assert learning_state(resumed) == wanted
    assert resumed.best_result == undisturbed.best_result
    # both deploy the same model
    for a, b in zip(resumed.model.parameters(), undisturbed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_resume_a_finished_run_only_tests(cfg, capsys):
    first = run(cfg)
    capsys.readouterr()
    again = run(cfg)
    out = capsys.readouterr().out
    assert "epoch [" not in out and "* total: 18" in out
    assert torch.equal(first.model.layers[1].weight, again.model.layers[1].weight)


def test_resume_from_an_empty_folder_is_refused(cfg, tmp_path):
    cfg.RESUME = str(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="RESUME"):
        run(cfg)


def test_resume_from_two_epochs_is_refused(cfg):
    class Two(TINY):
        def build_model(self):
            super().build_model()
            self.register_model("second", nn.Linear(1, 1))

    cfg.TRAIN.CHECKPOINT_FREQ = 1
    run(cfg, Two)
    with open(os.path.join(cfg.OUTPUT_DIR, "second", "checkpoint"), "w") as file:
        file.write("model.pth.tar-2\n")
    with pytest.raises(ValueError, match=r"'tiny': 3, 'second': 2"):
        run(cfg, Two)


def test_load_model(cfg, capsys):
    cfg.TRAIN.CHECKPOINT_FREQ = 1
    trained = run(cfg)
    weight = trained.model.layers[1].weight.detach().clone()
    folder = os.path.join(cfg.OUTPUT_DIR, "tiny")

    fresh = TINY(cfg)
    assert not torch.equal(fresh.model.layers[1].weight, weight)
    fresh.load_model("")
    assert not torch.equal(fresh.model.layers[1].weight, weight)
    fresh.load_model(cfg.OUTPUT_DIR)  # no best model: the last one, whose val_result is None
    assert torch.equal(fresh.model.layers[1].weight, weight)
    assert fresh.test() == trained.test()

    first = load_checkpoint(os.path.join(folder, "model.pth.tar-1"))["state_dict"]["layers.1.weight"]
    fresh.load_model(cfg.OUTPUT_DIR, epoch=1)
    assert torch.equal(fresh.model.layers[1].weight, first)
    with pytest.raises(FileNotFoundError, match=r"model\.pth\.tar-9"):
        fresh.load_model(cfg.OUTPUT_DIR, epoch=9)

    os.replace(os.path.join(folder, "model.pth.tar-2"), os.path.join(folder, "model-best.pth.tar"))
    fresh.load_model(cfg.OUTPUT_DIR)
    assert not torch.equal(fresh.model.layers[1].weight, weight)
    with pytest.raises(FileNotFoundError, match="model-best"):
        fresh.load_model(cfg.OUTPUT_DIR + "/none")


def test_best_val(cfg, capsys):
    """The validation results are scripted: 10, 50, 40 percent. The second epoch is kept."""

    class Scripted(TINY):
        def test(self, split=None):
            if split == "val":
                return [10.0, 50.0, 40.0][self.epoch]
            return super().test(split)

        def after_epoch(self):
            super().after_epoch()
            weights.append(self.model.layers[1].weight.detach().clone())

    weights = []
    cfg.TEST.FINAL_MODEL = "best_val"
    trainer = run(cfg, Scripted)
    best = load_checkpoint(os.path.join(cfg.OUTPUT_DIR, "tiny", "model-best.pth.tar"))
    assert (best["epoch"], best["val_result"], trainer.best_result) == (2, 50.0, 50.0)
    assert torch.equal(trainer.model.layers[1].weight, weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert "(epoch=2, val_result=50.0)" in capsys.readouterr().out


def test_best_val_never_uses_the_test_set(cfg):
    class NoVal(TINY):
        def build_data_loader(self):
            super().build_data_loader()
            self.val_loader = None

    cfg.TEST.FINAL_MODEL = "best_val"
    with pytest.raises(ValueError, match="validation set"):
        run(cfg, NoVal)
