"""CoOp's own checkpoints are read, and nothing in them runs."""

import os
import pickle

import pytest
import torch
from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import save_checkpoint
from torch import nn

from ccli.errors import CcliError
from ccli.inference.coop_checkpoints import read_context


class Learner(nn.Module):
    """The state_dict of CoOp's prompt learner, for 2 classes."""

    def __init__(self, shape=(4, 8), seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.ctx = nn.Parameter(torch.randn(shape, generator=generator))
        self.register_buffer("token_prefix", torch.ones(2, 1, 8))
        self.register_buffer("token_suffix", torch.ones(2, 72, 8))


def schedule(learner, warmup="constant", name="sgd", scheduler="cosine"):
    cfg = get_cfg_default().OPTIM
    cfg.NAME, cfg.LR, cfg.MAX_EPOCH, cfg.LR_SCHEDULER, cfg.STEPSIZE = name, 0.002, 50, scheduler, (10,)
    cfg.WARMUP_EPOCH, cfg.WARMUP_TYPE = 1, warmup
    optim = build_optimizer(learner, cfg)
    sched = build_lr_scheduler(optim, cfg)
    learner.ctx.sum().backward()
    optim.step()
    sched.step()
    return optim, sched


def upstream(sched):
    """The scheduler's state as PyTorch makes it of Dassl's class: all attributes, the successor an object."""
    return {k: v for k, v in vars(sched).items() if k != "optimizer"}


def save(folder, epoch, learner=None, scheduler=None, best=False, **other):
    """A checkpoint as Dassl writes it; returns the context."""
    learner = learner or Learner(seed=epoch)
    optim, sched = schedule(learner)
    content = {
        "state_dict": learner.state_dict(), "epoch": epoch, "optimizer": optim.state_dict(),
        "scheduler": upstream(sched) if scheduler is None else scheduler, "val_result": 81.5,
    }  # fmt: skip
    save_checkpoint(content | other, str(folder), is_best=best)
    return learner.ctx.detach()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "radam"])
@pytest.mark.parametrize("warmup", ["constant", "linear"])
@pytest.mark.parametrize("scheduler", ["cosine", "single_step", "multi_step"])
@pytest.mark.parametrize("kept", ["attributes", "scheduler", "plain"])
def test_every_schedule_that_dassl_pickles_is_read(tmp_path, name, warmup, scheduler, kept):
    learner = Learner()
    optim, sched = schedule(learner, warmup, name, scheduler)
    state = {"attributes": upstream(sched), "scheduler": sched, "plain": sched.state_dict()}[kept]
    ctx = save(tmp_path / "prompt_learner", 50, learner, state, optimizer=optim.state_dict())
    data = (tmp_path / "prompt_learner/model.pth.tar-50").read_bytes()
    assert (b"optim.lr_scheduler" in data) == (kept != "plain")  # the objects are in there
    found = read_context(tmp_path)
    assert torch.equal(found.ctx, ctx) and found.epoch == 50
    assert not found.ctx.requires_grad


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("shape", [(4, 8), (2, 4, 8)])
def test_half_precision_classes_of_their_own_and_the_old_file_format(tmp_path, shape, zipped):
    learner = Learner(shape).half()
    content = {"state_dict": learner.state_dict(), "epoch": 3, "scheduler": upstream(schedule(Learner())[1])}
    torch.save(content, tmp_path / "model.pth.tar-3", _use_new_zipfile_serialization=zipped)
    found = read_context(tmp_path / "model.pth.tar-3")
    assert found.ctx.dtype == torch.float32 and torch.equal(found.ctx, learner.ctx.detach().float())
    assert (found.epoch, found.path) == (3, tmp_path / "model.pth.tar-3")


def test_which_checkpoint_of_a_run_is_read(tmp_path):
    folder = tmp_path / "seed1" / "prompt_learner"
    saved = {epoch: save(folder, epoch) for epoch in (5, 50, 100)}
    for place in (tmp_path / "seed1", str(folder)):
        assert read_context(place).epoch == 100  # the last one, by number
        assert torch.equal(read_context(place, epoch=5).ctx, saved[5])
    save(folder, 60, best=True)
    (folder / "model.pth.tar-60").unlink()
    assert read_context(folder).path.name == "model-best.pth.tar" and read_context(folder).epoch == 60
    assert read_context(folder / "model.pth.tar-50").epoch == 50
    with pytest.raises(CcliError, match="one checkpoint; an epoch can be chosen in a run's folder"):
        read_context(folder / "model.pth.tar-50", epoch=5)


def test_a_missing_checkpoint_lists_what_is_there(tmp_path):
    folder = tmp_path / "prompt_learner"
    save(folder, 50)
    with pytest.raises(CcliError, match=r"no model\.pth\.tar-7; there is checkpoint, model\.pth\.tar-50$"):
        read_context(tmp_path, epoch=7)
    (tmp_path / "other").mkdir()
    with pytest.raises(CcliError, match=r"other: no checkpoint of CoOp; there is nothing$"):
        read_context(tmp_path / "other")
    (tmp_path / "other" / "log.txt").touch()
    with pytest.raises(CcliError, match=r"there is log\.txt$"):
        read_context(tmp_path / "other")
    with pytest.raises(CcliError, match=r"no such file or folder: .*gone"):
        read_context(tmp_path / "gone")


class Hostile:
    """Makes a folder when unpickled, which shows whether its code ran."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("where", ["state_dict", "scheduler", "optimizer", "epoch"])
def test_a_hostile_checkpoint_never_runs(tmp_path, where):
    trap = tmp_path / "trap"
    save(tmp_path, 1, **{where: {"ctx": torch.zeros(4, 8), "x": Hostile(trap)}} if where != "epoch" else {})
    if where == "epoch":
        torch.save({"state_dict": {"ctx": torch.zeros(4, 8)}, "epoch": Hostile(trap)}, tmp_path / "model.pth.tar-1")
    with pytest.raises(CcliError, match=r"model\.pth\.tar-1 is not a readable .*mkdir, which no checkpoint") as e:
        read_context(tmp_path)
    assert "\n" not in str(e.value) and not trap.exists()
    torch.load(tmp_path / "model.pth.tar-1", weights_only=False)  # the trap does work where it is let
    assert trap.exists()


def test_a_class_of_the_allowed_names_does_nothing_with_what_it_is_given(tmp_path):
    """A pickle may call what is let through with anything: an optimizer of hostile state is no optimizer."""
    trap = tmp_path / "trap"
    optim = schedule(Learner())[0]
    optim.defaults["x"] = Hostile(trap)
    torch.save({"state_dict": Learner().state_dict(), "epoch": 1, "scheduler": optim}, tmp_path / "model.pth.tar-1")
    with pytest.raises(CcliError, match="mkdir"):
        read_context(tmp_path)
    assert not trap.exists()


def test_the_allow_list_holds_during_reading_only(tmp_path):
    save(tmp_path, 1)
    read_context(tmp_path)
    with pytest.raises(pickle.UnpicklingError, match="CosineAnnealingLR"):
        torch.load(tmp_path / "model.pth.tar-1", weights_only=True)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_and_other_files(tmp_path):
    file = tmp_path / "model.pth.tar-1"
    save(tmp_path, 1)
    whole = file.read_bytes()
    for content in (b"", b"garbage", whole[:200], pickle.dumps({"state_dict": {"ctx": 1}}), pickle.dumps(open)):
        file.write_bytes(content)
        with pytest.raises(CcliError, match=r"model\.pth\.tar-1") as caught:
            read_context(tmp_path)
        assert "\n" not in str(caught.value)
    for content, holds in (
        ({"state_dict": {"weight": torch.zeros(2)}, "epoch": 1}, r"\(weight\)"),
        ({"state_dict": {"ctx": torch.zeros(3)}}, r"\(ctx\)"),
        ({"state_dict": {"ctx": torch.zeros(3, 3, dtype=torch.long)}}, r"\(ctx\)"),
        ({"state_dict": {}}, r"\(nothing\)"),
        ([1], r"\(no state_dict\)"),
    ):
        torch.save(content, file)
        with pytest.raises(CcliError, match=rf"holds no learned context `ctx` {holds}: it is not of CoOp"):
            read_context(tmp_path)
