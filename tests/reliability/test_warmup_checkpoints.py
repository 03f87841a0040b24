"""Checkpoints with the pickled objects of upstream Dassl's warm-up are read by an allow-list, and nothing else is."""

import dassl.optim.lr_scheduler as module
import pytest
import torch
from dassl.utils import load_checkpoint
from helpers import bundle_args, bundle_file
from hostile import Trap, refused, told

from ccli.trainers.common.checkpoints import read_checkpoint


def upstream_class(name: str, monkeypatch) -> type:
    """A class of upstream's under its own module path; unpickling it would raise."""

    def raises(self, state):
        raise AssertionError("an object of the file was made")

    found = type(
        name, (), {"__module__": module.__name__, "__setstate__": raises, "__getstate__": lambda self: {"a": 1}}
    )
    monkeypatch.setattr(module, name, found, raising=False)
    return found


def with_scheduler(path, **more) -> None:
    """Upstream's: the state of the warm-up holds itself and its successor, and that its optimizer, as objects."""
    optim = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=0.1, momentum=0.9)
    content = torch.load(path, weights_only=True)
    state = {"successor": torch.optim.lr_scheduler.CosineAnnealingLR(optim, 5), "warmup_epoch": 1, "last_epoch": 3}
    torch.save(content | {"scheduler": state | more}, path)


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run, and its last checkpoint."""
    args = bundle_args(bundle_file(tmp_path), tmp_path / "run", "OPTIM.MAX_EPOCH", 2, cfg="rn50_plain")
    assert told("train", *args)[1] == ""
    pointer = tmp_path / "run/head/checkpoint"
    path = pointer.parent / pointer.read_text().split()[0]
    pointer.write_text(f"{path.name}\n")  # without a checksum, as upstream's
    return tmp_path / "run", path


def evaluate(run, tmp_path) -> str:
    args = bundle_args(tmp_path / "tiny.npz", tmp_path / "again", cfg="rn50_plain")
    return told("train", "--eval-only", "--model-dir", run, *args)[1]


@pytest.mark.parametrize("name", ["ConstantWarmupScheduler", "LinearWarmupScheduler"])
def test_warm_up_schedulers_are_read_and_not_made(run, tmp_path, monkeypatch, name):
    folder, path = run
    before = read_checkpoint(folder / "head")
    kind = upstream_class(name, monkeypatch)
    with_scheduler(path, itself=kind())
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(path, weights_only=True)  # torch alone lets none of them through
    assert all(torch.equal(x, before[key]) for key, x in read_checkpoint(folder / "head").items())
    assert load_checkpoint(str(path))["scheduler"]["warmup_epoch"] == 1
    assert evaluate(folder, tmp_path) == ""


@pytest.mark.parametrize("name", ["ConstantWarmupSchedulers", "os"])
def test_anything_else_is_refused(run, tmp_path, monkeypatch, name):
    folder, path = run
    trap = tmp_path / "trap"
    with_scheduler(path, itself=Trap(trap) if name == "os" else upstream_class(name, monkeypatch)())
    with pytest.raises(ValueError, match="objects other than tensors"):
        load_checkpoint(str(path))
    refused(evaluate(folder, tmp_path), path.name, "mkdir" if name == "os" else name)
    assert not trap.exists()
