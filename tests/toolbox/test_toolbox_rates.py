"""Learning rates written out by hand: a rate of 1, six epochs, each schedule with each kind of warm-up.

With WARMUP_RECOUNT the schedule starts when the warm-up has ended. Without it, the warm-up counts: the schedule goes on
from a rate of 1 as if so many of its epochs were over. single_step: a tenth after every 2 epochs. multi_step: a tenth
at epochs 1 and 4. cosine: (1 + cos(pi * epoch / 6)) / 2, which is 1, 0.933013, 0.75, 0.5, 0.25, 0.066987, 0. The
warm-up takes 3 epochs: constant at 0.01; linear from 0.02, then 1/3 and 2/3.
"""

import pytest
import torch
from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer
from torch import nn

STEPS = {"single_step": (9, 2), "multi_step": (1, 4), "cosine": (-1,)}
CONSTANT, LINEAR = [0.01, 0.01, 0.01], [0.02, 1 / 3, 2 / 3]
WITHOUT = {
    "single_step": [1, 1, 0.1, 0.1, 0.01, 0.01],
    "multi_step": [1, 0.1, 0.1, 0.1, 0.01, 0.01],
    "cosine": [1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873],
}
AFTER = {
    ("single_step", True): [1, 1, 0.1],
    ("multi_step", True): [1, 0.1, 0.1],
    ("cosine", True): [1, 0.9330127, 0.75],
    ("single_step", False): [1, 0.1, 0.1],  # its epochs 3, 4, 5: the step at 4 is left
    ("multi_step", False): [1, 0.1, 0.1],  # the milestone at 1 is over, the one at 4 is left
    ("cosine", False): [1, 0.5, 0.1339746],  # its epochs 3, 4, 5 as parts of epoch 3: 0.25 / 0.5, 0.0669873 / 0.5
}
CASES = [
    *((schedule, 0, "linear", True, rates) for schedule, rates in WITHOUT.items()),
    *((schedule, -1, "constant", False, rates) for schedule, rates in WITHOUT.items()),
    *((schedule, 3, "constant", recount, CONSTANT + rates) for (schedule, recount), rates in AFTER.items()),
    *((schedule, 3, "linear", recount, LINEAR + rates) for (schedule, recount), rates in AFTER.items()),
    # a warm-up as long as the run, and one epoch of it, which is CoOp's
    ("cosine", 6, "linear", True, [0.02, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]),
    ("cosine", 1, "constant", True, [0.01, 1, 0.9330127, 0.75, 0.5, 0.25]),
    ("cosine", 1, "linear", True, [0.02, 1, 0.9330127, 0.75, 0.5, 0.25]),
    ("single_step", 1, "constant", True, [0.01, 1, 1, 0.1, 0.1, 0.01]),
    ("multi_step", 1, "constant", True, [0.01, 1, 0.1, 0.1, 0.1, 0.01]),
]


def configuration(schedule, warmup, kind, recount):
    cfg = get_cfg_default().OPTIM
    cfg.NAME, cfg.LR, cfg.MAX_EPOCH = "sgd", 1.0, 6
    cfg.LR_SCHEDULER, cfg.STEPSIZE, cfg.GAMMA = schedule, STEPS[schedule], 0.1
    cfg.WARMUP_EPOCH, cfg.WARMUP_TYPE, cfg.WARMUP_RECOUNT = warmup, kind, recount
    cfg.WARMUP_CONS_LR, cfg.WARMUP_MIN_LR = 0.01, 0.02
    return cfg


@pytest.mark.parametrize("schedule,warmup,kind,recount,wanted", CASES)
def test_rates(schedule, warmup, kind, recount, wanted):
    cfg = configuration(schedule, warmup, kind, recount)
    a, b = nn.Linear(1, 1), nn.Linear(1, 1)
    optimizer = build_optimizer(None, cfg, [{"params": a.parameters()}, {"params": b.parameters(), "lr": 0.5}])
    scheduler = build_lr_scheduler(optimizer, cfg)
    found = []
    for _ in range(6):
        found.append([group["lr"] for group in optimizer.param_groups])
        assert scheduler.get_last_lr() == found[-1]
        optimizer.step()
        scheduler.step()
    assert [rate for rate, _ in found] == pytest.approx(wanted, rel=1e-6)
    # another group has its own rate: half of the first's, but in a warm-up that names the rate itself
    named = [epoch < warmup and (kind == "constant" or epoch == 0) for epoch in range(6)]
    halves = [rate if whole else rate / 2 for rate, whole in zip(wanted, named)]
    assert [rate for _, rate in found] == pytest.approx(halves, rel=1e-6)


@pytest.mark.parametrize("warmup", [-1, 1])
def test_nothing_is_said_of_their_order(warmup, recwarn):
    """torch warns where a schedule is stepped before its optimizer."""
    cfg = configuration("cosine", warmup, "constant", True)
    optimizer = build_optimizer(nn.Linear(1, 1), cfg)
    scheduler = build_lr_scheduler(optimizer, cfg)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert not recwarn.list and isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
