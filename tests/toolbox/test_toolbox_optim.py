"""Optimizers by name; learning rates against values computed by hand."""

import math

import pytest
import torch
from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils.torchtools import fast_forward
from torch import nn

LR, EPOCHS = 2e-3, 6
SCHEDULES = {
    "single_step": lambda e: 0.1 ** (e // 2),
    "multi_step": lambda e: 0.1 ** sum(m <= e for m in (1, 4)),
    "cosine": lambda e: (1 + math.cos(math.pi * e / EPOCHS)) / 2,
}
STEPSIZES = {"single_step": (9, 2), "multi_step": (1, 4), "cosine": (-1,)}


def optim_cfg(**keys):
    cfg = get_cfg_default().OPTIM
    cfg.merge_from_list([x for pair in {"NAME": "sgd", "LR": LR, "MAX_EPOCH": EPOCHS, **keys}.items() for x in pair])
    return cfg


def build(cfg, model=None):
    optimizer = build_optimizer(model or nn.Linear(2, 2), cfg)
    return optimizer, build_lr_scheduler(optimizer, cfg)


def run(optimizer, scheduler, epochs=EPOCHS):
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def expected(schedule, warmup, kind, recount):
    factor = SCHEDULES[schedule]
    rates = []
    for e in range(EPOCHS):
        if e < warmup:
            rates.append(1e-5 if kind == "constant" or e == 0 else LR * e / warmup)
        elif recount:
            rates.append(LR * factor(e - max(warmup, 0)))
        else:
            rates.append(LR * factor(e) / factor(warmup))
    return rates


@pytest.mark.parametrize("recount", [True, False])
@pytest.mark.parametrize("warmup,kind", [(1, "constant"), (3, "constant"), (1, "linear"), (3, "linear")])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_then_schedule(schedule, warmup, kind, recount):
    cfg = optim_cfg(
        LR_SCHEDULER=schedule,
        STEPSIZE=STEPSIZES[schedule],
        WARMUP_EPOCH=warmup,
        WARMUP_TYPE=kind,
        WARMUP_RECOUNT=recount,
    )
    assert run(*build(cfg)) == pytest.approx(expected(schedule, warmup, kind, recount), rel=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_warmup(schedule):
    cfg = optim_cfg(LR_SCHEDULER=schedule, STEPSIZE=STEPSIZES[schedule])
    assert run(*build(cfg)) == pytest.approx([LR * SCHEDULES[schedule](e) for e in range(EPOCHS)], rel=1e-9)


def test_coop_sequence():
    cfg = optim_cfg(LR_SCHEDULER="cosine", WARMUP_EPOCH=1, WARMUP_TYPE="constant")
    optimizer, scheduler = build(cfg)
    assert run(optimizer, scheduler) == pytest.approx([1e-5, 2e-3, 1.866e-3, 1.5e-3, 1e-3, 5e-4], rel=1e-4)
    assert scheduler.last_epoch == EPOCHS


def test_single_step_without_stepsize_never_decays():
    assert run(*build(optim_cfg())) == [LR] * EPOCHS


def test_schedules_survive_runs_of_zero_and_one_epoch():
    for epochs in (0, 1):
        optimizer, scheduler = build(optim_cfg(LR_SCHEDULER="cosine", MAX_EPOCH=epochs, WARMUP_EPOCH=1))
        assert run(optimizer, scheduler, 2) == [1e-5, LR]


def flatten(value):
    if isinstance(value, dict):
        return [x for k, v in value.items() for x in (k, *flatten(v))]
    if isinstance(value, (list, tuple)):
        return [x for v in value for x in flatten(v)]
    return [value]


@pytest.mark.parametrize("done", range(EPOCHS))
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_state_is_plain_and_goes_on_exactly(schedule, done, tmp_path):
    cfg = optim_cfg(LR_SCHEDULER=schedule, STEPSIZE=STEPSIZES[schedule], WARMUP_EPOCH=2, WARMUP_TYPE="linear")
    undisturbed = run(*build(cfg), epochs=EPOCHS + 2)

    optimizer, scheduler = build(cfg)
    run(optimizer, scheduler, done)
    state = scheduler.state_dict()
    assert {type(x) for x in flatten(state)} <= {int, float, str, bool, type(None)}
    torch.save([optimizer.state_dict(), state], tmp_path / "state")

    optimizer, scheduler = build(cfg)
    optimizer_state, state = torch.load(tmp_path / "state", weights_only=True)
    optimizer.load_state_dict(optimizer_state)
    scheduler.load_state_dict(state)
    assert run(optimizer, scheduler, EPOCHS + 2 - done) == undisturbed[done:]


@pytest.mark.parametrize("warmup", [-1, 1])
def test_fast_forward_ignores_what_the_optimizer_was_given(warmup):
    cfg = optim_cfg(LR_SCHEDULER="cosine", WARMUP_EPOCH=warmup, WARMUP_TYPE="constant")
    undisturbed = run(*build(cfg))
    optimizer, scheduler = build(cfg)
    optimizer.param_groups[0]["lr"] = 123.0
    fast_forward(scheduler, 3)
    assert run(optimizer, scheduler, 3) == undisturbed[3:]


def test_staged_lr():
    model = nn.ModuleDict({"backbone": nn.Linear(2, 3), "classifier": nn.Linear(3, 2)})
    cfg = optim_cfg(STAGED_LR=True, NEW_LAYERS=("classifier",), BASE_LR_MULT=0.1)
    base, new = build_optimizer(model, cfg).param_groups
    assert (base["lr"], new["lr"]) == pytest.approx((LR * 0.1, LR))
    assert [p is q for p, q in zip(base["params"], model["backbone"].parameters())] == [True, True]
    assert [p is q for p, q in zip(new["params"], model["classifier"].parameters())] == [True, True]
    # the schedule keeps the ratio
    optimizer, scheduler = build(optim_cfg(STAGED_LR=True, NEW_LAYERS=("classifier",), LR_SCHEDULER="cosine"), model)
    run(optimizer, scheduler, 3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(optimizer.param_groups[1]["lr"] * 0.1)
    assert optimizer.param_groups[1]["lr"] == pytest.approx(LR * 0.5)


@pytest.mark.parametrize("layers", [(), ("classifer",)])
def test_staged_lr_needs_layers_that_exist(layers):
    model = nn.ModuleDict({"classifier": nn.Linear(3, 2)})
    with pytest.raises(ValueError, match=r"NEW_LAYERS|classifier"):
        build_optimizer(model, optim_cfg(STAGED_LR=True, NEW_LAYERS=layers))


@pytest.mark.parametrize(
    "name,kind,options",
    [
        ("adam", torch.optim.Adam, {"betas": (0.8, 0.95), "amsgrad": False}),
        ("amsgrad", torch.optim.Adam, {"betas": (0.8, 0.95), "amsgrad": True}),
        ("sgd", torch.optim.SGD, {"momentum": 0.7, "dampening": 0, "nesterov": True}),
        ("rmsprop", torch.optim.RMSprop, {"momentum": 0.7, "alpha": 0.5}),
        ("radam", torch.optim.RAdam, {"betas": (0.8, 0.95)}),
        ("adamw", torch.optim.AdamW, {"betas": (0.8, 0.95)}),
    ],
)
def test_optimizers(name, kind, options):
    cfg = optim_cfg(
        NAME=name,
        WEIGHT_DECAY=0.03,
        MOMENTUM=0.7,
        SGD_NESTEROV=True,
        RMSPROP_ALPHA=0.5,
        ADAM_BETA1=0.8,
        ADAM_BETA2=0.95,
    )
    optimizer = build_optimizer(nn.Linear(2, 2), cfg)
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    wanted = {"lr": LR, "weight_decay": 0.03, **options}
    assert {key: group[key] for key in wanted} == wanted


def test_parameters_and_groups_instead_of_a_module():
    model = nn.Linear(2, 2)
    assert build_optimizer([model.bias], optim_cfg()).param_groups[0]["params"][0] is model.bias
    groups = build_optimizer(model, optim_cfg(), [{"params": [model.weight], "lr": 0.5}]).param_groups
    assert len(groups) == 1 and groups[0]["lr"] == 0.5 and groups[0]["params"][0] is model.weight


@pytest.mark.parametrize(
    "keys,hint",
    [
        ({"NAME": "adma"}, "'adam'"),
        ({"LR_SCHEDULER": "cosin"}, "'cosine'"),
        ({"WARMUP_EPOCH": 1, "WARMUP_TYPE": "linaer"}, "'linear'"),
    ],
)
def test_unknown_names_suggest_the_nearest(keys, hint):
    with pytest.raises(ValueError, match=f"Did you mean {hint}"):
        build(optim_cfg(**keys))


def test_stepsize_of_the_wrong_kind():
    optimizer = build_optimizer(nn.Linear(2, 2), optim_cfg())
    with pytest.raises(TypeError, match="STEPSIZE"):
        build_lr_scheduler(optimizer, optim_cfg(STEPSIZE=(1.5,)))
    cfg = optim_cfg(LR_SCHEDULER="multi_step")
    cfg.STEPSIZE = 3
    with pytest.raises(TypeError, match="STEPSIZE"):
        build_lr_scheduler(optimizer, cfg)
