"""Folders that upstream's Dassl left are gone on with and loaded here, and a folder of ours is read as upstream reads.

Upstream's warm-up keeps the schedule that follows it as a pickled object, which holds the optimizer; it writes no
val_result after the last step, no state of random generators, and one line in the file `checkpoint`.
"""

import os
import re

import pytest
import torch
from dassl.engine import TRAINER_REGISTRY
from dassl.utils import set_random_seed, setup_logger
from torch.optim import lr_scheduler

TINY = TRAINER_REGISTRY.get("ToolboxTiny")
EPOCHS, DONE = 5, 2


def configure(cfg, schedule, warmup, kind="constant"):
    cfg.OPTIM.MAX_EPOCH, cfg.TRAIN.CHECKPOINT_FREQ, cfg.TRAIN.PRINT_FREQ = EPOCHS, 1, 1
    cfg.OPTIM.LR_SCHEDULER, cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_TYPE = schedule, warmup, kind
    cfg.OPTIM.STEPSIZE = (1, 3) if schedule == "multi_step" else (2,)


def first_rates(log):
    """{epoch: the learning rate that its first batch was trained with}."""
    return dict(re.findall(r"^epoch \[(\d)/5\] batch \[1/4\] .* lr (\S+) eta", log, re.M))


def pickled_schedule(optimizer, optim_cfg, steps):
    """The object that stands in a checkpoint of upstream, after so many epochs of its own."""
    schedule = {
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, float(EPOCHS)),
        "single_step": lambda: lr_scheduler.StepLR(optimizer, 2),
        "multi_step": lambda: lr_scheduler.MultiStepLR(optimizer, [1, 3]),
    }[optim_cfg.LR_SCHEDULER]()
    optimizer.zero_grad()
    for _ in range(steps):
        optimizer.step()  # without gradients, for torch not to warn
        schedule.step()
    return schedule


def as_upstream(path, trainer, optim_cfg):
    """Rewrite a checkpoint of ours the way upstream writes it, with torch.save."""
    saved = torch.load(path, weights_only=True)
    optimizer = torch.optim.Adam(trainer.model.parameters(), lr=optim_cfg.LR)
    optimizer.load_state_dict(saved["optimizer"])
    warmup = optim_cfg.WARMUP_EPOCH
    scheduler = pickled_schedule(optimizer, optim_cfg, DONE - max(warmup, 0))
    if warmup > 0:
        extra = {"constant": {"cons_lr": 1e-5}, "linear": {"min_lr": 1e-5}}[optim_cfg.WARMUP_TYPE]
        counts = {"base_lrs": [optim_cfg.LR], "last_epoch": warmup, "verbose": False, "_step_count": warmup + 1}
        state = {"successor": scheduler, "warmup_epoch": warmup, **counts, "_get_lr_called_within_step": False, **extra}
    else:
        state = scheduler.state_dict()
    keys = ("state_dict", "epoch", "optimizer", "val_result")
    torch.save({**{key: saved[key] for key in keys}, "scheduler": state}, path)


CASES = [
    *((schedule, warmup, "constant") for schedule in ("cosine", "single_step", "multi_step") for warmup in (-1, 1)),
    ("cosine", 2, "linear"),
]


@pytest.mark.parametrize("schedule,warmup,kind", CASES)
def test_an_old_run_goes_on(cfg, schedule, warmup, kind, capsys):
    configure(cfg, schedule, warmup, kind)
    set_random_seed(1)
    whole = TINY(cfg)
    whole.train()
    wanted = first_rates(capsys.readouterr().out)
    folder = os.path.join(cfg.OUTPUT_DIR, "tiny")
    path = os.path.join(folder, f"model.pth.tar-{DONE}")
    as_upstream(path, whole, cfg.OPTIM)
    with open(os.path.join(folder, "checkpoint"), "w") as file:
        file.write(f"model.pth.tar-{DONE}\n")
    for epoch in range(DONE + 1, EPOCHS + 1):
        os.remove(os.path.join(folder, f"model.pth.tar-{epoch}"))
    with open(os.path.join(cfg.OUTPUT_DIR, "log.txt"), "w") as file:
        file.write("the old log\n")

    resumed = TINY(cfg)
    setup_logger(cfg.OUTPUT_DIR)
    resumed.train()
    log = capsys.readouterr().out
    assert resumed.start_epoch == DONE and "Loaded scheduler" in log
    assert first_rates(log) == {epoch: rate for epoch, rate in wanted.items() if int(epoch) > DONE}
    logs = sorted(name for name in os.listdir(cfg.OUTPUT_DIR) if name.startswith("log.txt"))
    assert len(logs) == 2
    with open(os.path.join(cfg.OUTPUT_DIR, "log.txt")) as file:
        assert file.read() == "the old log\n"

    weights = torch.load(os.path.join(folder, f"model.pth.tar-{EPOCHS}"), weights_only=True)["state_dict"]
    assert torch.equal(weights["layers.1.weight"], resumed.model.layers[1].weight)


def test_an_old_run_is_loaded(cfg, capsys):
    """By its epoch; or, as it has no best model, the last one."""
    configure(cfg, "cosine", 1)
    trained = TINY(cfg)
    trained.train()
    for epoch in (DONE, EPOCHS):
        as_upstream(os.path.join(cfg.OUTPUT_DIR, "tiny", f"model.pth.tar-{epoch}"), trained, cfg.OPTIM)
    fresh = TINY(cfg)
    fresh.load_model(cfg.OUTPUT_DIR, epoch=DONE)
    assert not torch.equal(fresh.model.layers[1].weight, trained.model.layers[1].weight)
    fresh.load_model(cfg.OUTPUT_DIR)
    assert torch.equal(fresh.model.layers[1].weight, trained.model.layers[1].weight)
    assert f"(epoch={EPOCHS})" in capsys.readouterr().out


@pytest.mark.parametrize("warmup", [-1, 1])
def test_upstream_reads_a_run_of_ours(cfg, warmup):
    """The first line of `checkpoint` names a file; torch.load alone reads it; what is in it loads as it is."""
    configure(cfg, "cosine", warmup)
    cfg.TEST.FINAL_MODEL = "best_val"
    trained = TINY(cfg)
    trained.train()
    folder = os.path.join(cfg.OUTPUT_DIR, "tiny")
    with open(os.path.join(folder, "checkpoint")) as file:
        name = file.readlines()[0].strip("\n")
    assert name == f"model.pth.tar-{EPOCHS}"
    for file in (name, "model-best.pth.tar"):
        saved = torch.load(os.path.join(folder, file), map_location="cpu")
        assert {"state_dict", "epoch", "optimizer", "scheduler", "val_result"} <= set(saved)
        assert list(saved["state_dict"]) == list(trained.model.state_dict())
        fresh = TINY(cfg)
        fresh.model.load_state_dict(saved["state_dict"])
        fresh.optim.load_state_dict(saved["optimizer"])
        schedule = lr_scheduler.CosineAnnealingLR(fresh.optim, float(EPOCHS))
        schedule.load_state_dict(saved["scheduler"]["successor"] if warmup > 0 else saved["scheduler"])
        assert schedule.last_epoch == saved["epoch"] - max(warmup, 0)
    assert f"{saved['val_result']:.1f}" == f"{trained.best_result:.1f}"  # as upstream prints that of the best
