"""Checkpoints: what is written, what is read, and what is never run."""

import os
import pickle

import pytest
import torch
from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import (
    count_num_param,
    load_checkpoint,
    load_pretrained_weights,
    resume_from_checkpoint,
    save_checkpoint,
)
from torch import nn


def state(epoch=1, value=1.0):
    return {"state_dict": {"weight": torch.tensor([value])}, "epoch": epoch, "optimizer": None, "scheduler": None}


def test_layout(tmp_path):
    save_checkpoint(state(1), str(tmp_path / "net"))
    save_checkpoint(state(2, 2.0), str(tmp_path / "net"), is_best=True)
    assert sorted(os.listdir(tmp_path / "net")) == [
        "checkpoint",
        "model-best.pth.tar",
        "model.pth.tar-1",
        "model.pth.tar-2",
    ]
    assert (tmp_path / "net" / "checkpoint").read_text().split("\n")[0] == "model.pth.tar-2"
    assert load_checkpoint(str(tmp_path / "net" / "model-best.pth.tar"))["state_dict"]["weight"].item() == 2.0
    assert load_checkpoint(str(tmp_path / "net" / "model.pth.tar-1"))["epoch"] == 1
    save_checkpoint(state(3), str(tmp_path / "net"), model_name="model-best.pth.tar")
    assert (tmp_path / "net" / "checkpoint").read_text().split("\n")[0] == "model-best.pth.tar"
    assert not (tmp_path / "net" / "model.pth.tar-3").exists()


def test_others_may_read_a_checkpoint(tmp_path):
    previous = os.umask(0o022)
    try:
        save_checkpoint(state(), str(tmp_path))
    finally:
        os.umask(previous)
    assert os.stat(tmp_path / "model.pth.tar-1").st_mode & 0o777 == 0o644


def test_an_interrupted_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(state(1, 1.0), str(tmp_path))

    def half_a_write(obj, file):
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", half_a_write)
        save_checkpoint(state(1, 2.0), str(tmp_path))
    assert load_checkpoint(str(tmp_path / "model.pth.tar-1"))["state_dict"]["weight"].item() == 1.0
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "model.pth.tar-1"]


def test_data_parallel_prefix(tmp_path):
    prefixed = {"module.a": torch.zeros(1), "module.b": torch.zeros(1)}
    save_checkpoint({"state_dict": prefixed, "epoch": 1}, str(tmp_path))
    assert list(load_checkpoint(str(tmp_path / "model.pth.tar-1"))["state_dict"]) == ["a", "b"]
    # a layer that is really called `module` keeps its name
    save_checkpoint({"state_dict": {"module.a": torch.zeros(1), "b": torch.zeros(1)}, "epoch": 2}, str(tmp_path))
    assert list(load_checkpoint(str(tmp_path / "model.pth.tar-2"))["state_dict"]) == ["module.a", "b"]


class Hostile:
    """Makes a folder when unpickled, which shows whether its code ran."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("where", ["state_dict", "optimizer", "scheduler"])
def test_a_hostile_checkpoint_never_runs(tmp_path, where):
    trap = str(tmp_path / "trap")
    bad = state()
    bad[where] = {"x": Hostile(trap)}
    torch.save(bad, tmp_path / "model.pth.tar-1")
    (tmp_path / "checkpoint").write_text("model.pth.tar-1\n")
    with pytest.raises(ValueError, match=r"model\.pth\.tar-1.*mkdir"):
        load_checkpoint(str(tmp_path / "model.pth.tar-1"))
    with pytest.raises(ValueError, match="mkdir"):
        resume_from_checkpoint(str(tmp_path), nn.Linear(1, 1))
    assert not os.path.exists(trap)
    # the trap does work where it is let
    torch.load(tmp_path / "model.pth.tar-1", weights_only=False)
    assert os.path.exists(trap)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_hostile_plain_pickle_and_damage(tmp_path):
    trap = str(tmp_path / "trap")
    (tmp_path / "plain").write_bytes(pickle.dumps({"state_dict": Hostile(trap)}))
    (tmp_path / "garbage").write_bytes(b"garbage")
    (tmp_path / "empty").write_bytes(b"")
    torch.save(state(), tmp_path / "whole")
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:200])
    for name in ("plain", "garbage", "empty", "cut"):
        with pytest.raises(ValueError, match=f'"{tmp_path / name}"'):
            load_checkpoint(str(tmp_path / name))
    assert not os.path.exists(trap)
    with pytest.raises(FileNotFoundError, match="none"):
        load_checkpoint(str(tmp_path / "none"))


def test_the_pointer_stays_in_its_folder(tmp_path):
    (tmp_path / "net").mkdir()
    torch.save(state(), tmp_path / "elsewhere")
    (tmp_path / "net" / "checkpoint").write_text("../elsewhere\n")
    with pytest.raises(ValueError, match="beside it"):
        resume_from_checkpoint(str(tmp_path / "net"), nn.Linear(1, 1))


def build(name="sgd"):
    torch.manual_seed(0)
    cfg = get_cfg_default().OPTIM
    cfg.NAME, cfg.LR, cfg.LR_SCHEDULER, cfg.MAX_EPOCH = name, 0.1, "cosine", 6
    cfg.WARMUP_EPOCH, cfg.WARMUP_TYPE = 1, "constant"
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, cfg)
    return model, optimizer, build_lr_scheduler(optimizer, cfg)


def train(model, optimizer, scheduler, epochs, start=0):
    rates = []
    for epoch in range(start, start + epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        model(torch.full((4, 3), 1.0 + epoch)).pow(2).mean().backward()
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "radam", "amsgrad"])
@pytest.mark.parametrize("upstream", [False, True])
def test_resume_goes_on_exactly(tmp_path, name, upstream):
    """With `upstream`, the checkpoint holds pickled scheduler and optimizer objects, as upstream's warm-up leaves."""
    whole = build(name)
    rates = train(*whole, 6)

    half = build(name)
    train(*half, 3)
    scheduler = half[2].state_dict()
    if upstream:
        scheduler = {**scheduler, "last_epoch": 1, "successor": half[2].successor}
    torch.save(
        {"state_dict": half[0].state_dict(), "epoch": 3, "optimizer": half[1].state_dict(), "scheduler": scheduler},
        tmp_path / "model.pth.tar-3",
    )
    (tmp_path / "checkpoint").write_text("model.pth.tar-3\n")

    fresh = build(name)
    with torch.no_grad():
        fresh[0].weight.zero_()
    assert resume_from_checkpoint(str(tmp_path), *fresh) == 3
    assert train(*fresh, 3, start=3) == rates[3:]
    assert torch.equal(fresh[0].weight, whole[0].weight)


def test_upstream_objects_are_not_rebuilt(tmp_path):
    _, _, scheduler = build()
    torch.save({"scheduler": {"successor": scheduler.successor}}, tmp_path / "old")
    successor = load_checkpoint(str(tmp_path / "old"))["scheduler"]["successor"]
    assert not isinstance(successor, torch.optim.lr_scheduler.LRScheduler)
    assert vars(successor) == {}
    # and the allow-list is gone once the file is read
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "old", weights_only=True)


def test_pretrained_weights(tmp_path, capsys):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    weights = {"module.weight": source.weight.detach(), "bias": torch.zeros(5), "other": torch.zeros(1)}
    torch.save({"state_dict": weights}, tmp_path / "weights")
    bias = target.bias.detach().clone()
    load_pretrained_weights(target, str(tmp_path / "weights"))
    assert torch.equal(target.weight, source.weight) and torch.equal(target.bias, bias)
    assert "['bias', 'other']" in capsys.readouterr().out
    torch.save({"bias": torch.zeros(5)}, tmp_path / "bare")
    with pytest.raises(ValueError, match="No weight in"):
        load_pretrained_weights(target, str(tmp_path / "bare"))


def test_count_num_param():
    model = nn.Linear(3, 2)
    assert count_num_param(model) == 8
    assert count_num_param([model.bias]) == 2
