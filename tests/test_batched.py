"""Runs trained as one: sweep.py --batched, and its steps against separate ones."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from ccli.sweeps import together as groups
from ccli.sweeps.plan import Grid, runs_of
from helpers import build, bundle_args, bundle_file, make_task, script
from test_sweep import children, start, wait_for
from torch.nn import functional as F

from ccli.batches import FeatureBatches
from ccli.methods import clip_adapter, concept_inference, task_residual, tip_adapter
from ccli.methods.together import Together, is_worth_it, why_not
from ccli.methods.training import correct, train, warm_cosine
from ccli.runs import FAILURE, find_records, same_record
from ccli.selection import fold_tasks
from ccli.task import Split

EPOCHS = ("OPTIM.MAX_EPOCH", "6")
SEEDS = (1, 2, 3)


def run_all(folder, output, trainers=("TaskRes",), batched=True, seeds=SEEDS, shots=(4,), cfg="rn50", opts=EPOCHS):
    """A sweep on the bundle in `folder`, in this process: its outcomes, and the groups it was in."""
    runs = runs_of(Grid([str(folder / "tiny.npz")], trainers, shots, seeds, cfg, output=output, options=opts))
    found = groups.grouped(runs) if batched else [(run,) for run in runs]
    outcomes = [outcome for group in found for ended in groups.execute_group(group) for outcome in ended]
    return outcomes, [len(group) for group in found]


def records(folder):
    found, problems = find_records(folder)
    return {str(path.parent.relative_to(folder)): record for path, record in found}, problems


def checkpoint(folder):
    (last,) = (folder / "head").glob("model.pth.tar-*")
    return torch.load(last, weights_only=True)


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-5, rtol=0)


def assert_same(alone, batched, marked):
    (before, _), (after, problems) = records(alone), records(batched)
    assert not problems and before.keys() == after.keys() and len(before) == len(marked)
    for place in before:
        assert same_record(before[place], after[place]) == []
        assert "batched" not in before[place]
        one, other = checkpoint(alone / place), checkpoint(batched / place)
        assert_close(one["state_dict"], other["state_dict"])
        assert one["optimizer"]["param_groups"] == other["optimizer"]["param_groups"]
        assert one["scheduler"].keys() == other["scheduler"].keys()
        for k, state in one["optimizer"]["state"].items():
            assert_close(state, other["optimizer"]["state"][k])
    assert [after[place].get("batched") for place in sorted(after)] == marked


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batched")
    bundle_file(folder)
    return folder


# through a sweep


def test_sweep_py_gives_the_same_records_but_for_the_mark(place, capsys):
    sweep, said = script("sweep"), []
    for flags in ((), ("--batched",)):
        argv = ["sweep.py", "--datasets", str(place / "tiny.npz"), "--trainers", "TaskRes", "GDA", "--shots", "4"]
        argv += ["--seeds", "1", "2", "--output", str(place / f"swept{len(flags)}"), *flags, *EPOCHS]
        with mock.patch.object(sys, "argv", argv):
            assert sweep.main() == 0
        said.append(capsys.readouterr())
    (before, _), (after, _) = records(place / "swept0"), records(place / "swept1")
    assert {key: same_record(before[key], after[key]) for key in before} == {key: [] for key in after}
    assert said[0].out == said[1].out and "2 runs in 1 groups may be trained as one" in said[1].err
    assert said[1].err.splitlines()[-1] == "0 done before, 4 done now, 2 of them trained together with others, 0 failed"
    assert sorted(record.get("batched", 0) for record in after.values()) == [0, 0, 2, 2]


@pytest.mark.parametrize("trainer", ["CLIPAdapter", "TaskRes", "TipAdapterF", "CCLI"])
def test_records_and_parameters_of_each_trainer(place, tmp_path, trainer):
    cfg = "rn50_plain" if trainer == "CCLI" else "rn50"
    for name in (False, True):
        opts = (*EPOCHS, "DATALOADER.TRAIN_X.BATCH_SIZE", "10", "TRAIN.CHECKPOINT_FREQ", "0")
        outcomes, sizes = run_all(place, tmp_path / str(name), [trainer], name, cfg=cfg, opts=opts)
        assert not any(outcome.error for outcome in outcomes) and sizes == ([3] if name else [1, 1, 1])
    assert_same(tmp_path / "False", tmp_path / "True", [3, 3, 3])
    alone, batched = (sorted((tmp_path / name).rglob("log.txt")) for name in ("False", "True"))
    words = [[line.split(" time ")[0] for line in path.read_text().splitlines() if "epoch [" in line] for path in alone]
    assert words == [
        [line.split(" time ")[0] for line in path.read_text().splitlines() if "epoch [" in line] for path in batched
    ]
    assert len(words[0]) == 6 * 3  # 24 images in batches of 10
    assert len(list((tmp_path / "True").rglob("best.safetensors"))) == len(
        list((tmp_path / "False").rglob("best.safetensors"))
    )


def test_numbers_of_epochs_may_differ(tmp_path):
    """Without validation images each seed has its own, by cross-validation."""
    bundle_file(tmp_path, val=0)
    opts = ("OPTIM.MAX_EPOCH", "5", "OPTIM.LR", "0.05", "TRAIN.CHECKPOINT_FREQ", "0")
    for name in (False, True):
        run_all(tmp_path, tmp_path / str(name), batched=name, seeds=range(1, 6), opts=opts)
    assert_same(tmp_path / "False", tmp_path / "True", [5] * 5)
    chosen = {record["hyper_parameters"]["epochs"] for record in records(tmp_path / "True")[0].values()}
    assert len(chosen) > 1


def test_folds_are_trained_as_one_where_they_are_of_one_size(tmp_path):
    from ccli.trainers.together import count_by_folds

    bundle_file(tmp_path, val=0)
    counts = []
    for shots in (4, 5):
        trainer = build(*bundle_args(tmp_path / "tiny.npz", tmp_path, *EPOCHS, trainer="TaskRes", shots=shots))
        trainer._set_up()
        folds = list(fold_tasks(trainer.task, 1))
        counts.append(count_by_folds(trainer, folds))
    alone = [0] * 6
    trainer = build(*bundle_args(tmp_path / "tiny.npz", tmp_path, *EPOCHS, trainer="TaskRes", shots=4))
    trainer._set_up()
    for part, rest in fold_tasks(trainer.task, 1):
        trainer.fit(part, watch=lambda epoch, head, rest=rest: add(alone, epoch, correct(head, rest)))
    assert counts == [alone, None]


def add(counts, epoch, count):
    counts[epoch] += count


def test_values_may_differ_and_shapes_may_not(place, tmp_path):
    opts = (*EPOCHS, "TRAINER.TASKRES.RESIDUAL_SCALE", "0.5,2.0", "TRAIN.CHECKPOINT_FREQ", "0")
    for name in (False, True):
        _, sizes = run_all(place, tmp_path / str(name), batched=name, opts=opts)
    assert sizes == [6]
    assert_same(tmp_path / "False", tmp_path / "True", [6] * 6)
    _, sizes = run_all(place, tmp_path / "s", ["CLIPAdapter"], opts=(*EPOCHS, "TRAINER.CLIPADAPTER.REDUCTION", "2,4"))
    assert sizes == [3, 3]
    _, sizes = run_all(place, tmp_path / "t", shots=(1, 4), opts=(*EPOCHS, "OPTIM.LR", "0.1,0.2"))
    assert sizes == [3, 3, 3, 3]


def test_what_does_not_train_by_gradient_or_is_large_goes_one_at_a_time(place, tmp_path, monkeypatch):
    trainers = ["ZeroshotCLIP", "CCLI", "GDA", "LPPlusPlus", "LinearProbe"]
    runs = runs_of(Grid([str(place / "tiny.npz")], trainers, [4], SEEDS, output=tmp_path))
    assert {len(group) for group in groups.grouped(runs)} == {1}
    monkeypatch.setattr("ccli.methods.together.MOST_PRODUCTS", 100)
    opts = (*EPOCHS, "TRAIN.CHECKPOINT_FREQ", "0")
    outcomes, sizes = run_all(place, tmp_path / "large", opts=opts)
    assert sizes == [3] and not any(outcome.error or outcome.batched for outcome in outcomes)
    run_all(place, tmp_path / "alone", batched=False, opts=opts)
    assert not list((tmp_path / "large").rglob("log.txt-*"))
    (large, _), (alone, _) = records(tmp_path / "large"), records(tmp_path / "alone")
    for where, record in alone.items():
        assert same_record(record, large[where]) == [] and "batched" not in large[where]
        states = [checkpoint(tmp_path / side / where)["state_dict"] for side in ("large", "alone")]
        assert all(torch.equal(states[0][name], value) for name, value in states[1].items())  # to the bit


def test_one_that_fails_does_not_take_the_others_down(place, tmp_path, monkeypatch, capsys):
    from ccli.trainers.taskres import TaskRes

    make_head = TaskRes.make_head

    def poisoned(self, task):
        head = make_head(self, task)
        if self.cfg.SEED == 2:
            head.text_norms.fill_(float("nan"))
        return head

    monkeypatch.setattr(TaskRes, "make_head", poisoned)
    outcomes, sizes = run_all(place, tmp_path)
    assert sizes == [3] and [bool(outcome.error) for outcome in outcomes] == [False, True, False]
    assert "the loss is not finite" in outcomes[1].error and (outcomes[1].folder / FAILURE).exists()
    assert "the loss of head 2 of 3 is not finite" in capsys.readouterr().err
    found, problems = records(tmp_path)
    assert len(found) == 2 and len(problems) == 1 and not any("batched" in record for record in found.values())
    assert not list(tmp_path.rglob("log.txt-*"))  # nothing is left of the attempt


def test_what_is_done_or_begun_is_left_out(place, tmp_path):
    def runs(*seeds):
        return runs_of(
            Grid([str(place / "tiny.npz")], ["TaskRes"], [4], seeds, "rn50", output=tmp_path, options=EPOCHS)
        )

    groups.execute_group(runs(2))
    ended = groups.execute_group(runs(1, 2, 3))  # as where another sweep was faster
    assert [outcome.batched for (outcome,) in ended] == [True, False, True]
    (begun,) = runs(7)
    (begun.folder / "head").mkdir(parents=True)
    (begun.folder / "head" / "checkpoint").write_text("model.pth.tar-1")
    assert groups.grouped(runs(7, 8, 9)) == [(begun,), tuple(runs(8, 9))]


def test_evaluations_follow_and_traces_go(place, tmp_path):
    bundle_file(tmp_path, "other.npz")
    grid = ([str(place / "tiny.npz")], ["TaskRes"], [4], (1, 2), "rn50")
    runs = runs_of(Grid(*grid, output=tmp_path / "runs", targets=[str(tmp_path / "other.npz")], options=EPOCHS))
    for run in runs:
        run.folder.mkdir(parents=True)
        (run.folder / FAILURE).write_text("of another day")
    ended = groups.execute_group(runs)
    assert [[outcome.batched for outcome in outcomes] for outcomes in ended] == [[True, False]] * 2
    found, problems = records(tmp_path / "runs")
    assert not problems and [record.get("batched", 0) for _, record in sorted(found.items())] == [0, 0, 2, 2]
    assert not list((tmp_path / "runs").rglob(FAILURE))


def test_a_group_that_ends_its_process_is_carried_out_one_at_a_time(tmp_path):
    bundle_file(tmp_path)
    argv = ("--datasets", "tiny.npz", "--trainers", "TaskRes", "--shots", 4, "--seeds", 1, 2, "--output", "runs")
    process = start(*argv, "--threads", 1, "--batched", "OPTIM.MAX_EPOCH", 600, cwd=tmp_path)
    log = tmp_path / "runs/tiny/TaskRes/rn50_4shots/MAX_EPOCH-600/seed2/log.txt"
    wait_for(lambda: log.exists() and "epoch [2/" in log.read_text())
    (worker,) = [pid for pid in children(process.pid) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(worker, signal.SIGKILL)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0 and stderr.splitlines()[-1] == "0 done before, 2 done now, 0 failed", stderr
    assert not any("batched" in record for record in records(tmp_path / "runs")[0].values())


# by hand


def heads_of(kind, tasks):
    if kind == "TaskRes":
        return [task_residual.build(task) for task in tasks]
    if kind == "CLIPAdapter":
        return [clip_adapter.build(task, seed=k) for k, task in enumerate(tasks)]
    if kind == "TipAdapterF":
        return [tip_adapter.build(task, 1.0, 1.0, True) for task in tasks]
    from ccli.concepts.representation import ConceptSpace

    return [
        concept_inference.build(
            ConceptSpace(task.train.features.mean(0), [task.concept_features[:8].T, task.concept_features[8:20].T]),
            task, "mlp", 16, 0.3, 1.0, 1.0, seed,
        )
        for seed, task in enumerate(tasks)
    ]  # fmt: skip


OPTIMS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, eps=1e-4),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.001, momentum=0.5),
}


def tasks_of(count):
    """The same classes with other images each."""
    task = make_task(shots=5)
    for k in range(count):
        turn = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(k)))[0]
        features = F.normalize(task.train.features + 0.1 * task.train.features @ turn, dim=-1)
        yield replace(task, train=Split(features, task.train.labels))


@pytest.mark.parametrize(
    "kind, optim", [("TaskRes", "sgd"), ("CLIPAdapter", "adamw"), ("TipAdapterF", "adam"), ("CCLI", "rmsprop")]
)
def test_stacked_steps_are_those_of_separate_optimisers(kind, optim):
    tasks = list(tasks_of(3))
    loaders = [FeatureBatches(task.train, 12, True, seed) for seed, task in enumerate(tasks)]
    sides = []
    for together in (False, True):
        heads = heads_of(kind, tasks)
        optims = [OPTIMS[optim](head.parameters()) for head in heads]
        scheds = [warm_cosine(o, len(loaders[0]), 4) for o in optims]
        sides.append((heads, optims, scheds))
        if not together:
            for head, loader, o, sched in zip(heads, loaders, optims, scheds):
                train(head, loader, o, sched, 4)
            continue
        assert why_not(heads, optims, [[30, 12]] * 3) == ""
        for some in (2, 4):  # in two parts, the second on the states of the first
            stack = Together(heads, optims, scheds)
            for epoch in range(some - 2, some):
                for loader in loaders:
                    loader.epoch = epoch
                for batches in zip(*loaders):
                    stack.step(batches)
            stack.write_back()
        assert stack.correct([task.test for task in tasks]) == [correct(h, t.test) for h, t in zip(heads, tasks)]
    for head, other in zip(sides[0][0], sides[1][0]):
        assert_close(head.state_dict(), other.state_dict())
        torch.testing.assert_close(head(tasks[0].test.features), other(tasks[0].test.features), atol=1e-5, rtol=0)
    for one, other in zip(sides[0][1], sides[1][1]):
        assert one.state_dict()["param_groups"] == other.state_dict()["param_groups"]
    assert [sched.state_dict()["last_epoch"] for sched in sides[0][2]] == [12] * 3
    assert [sched.get_last_lr() for sched in sides[0][2]] == [sched.get_last_lr() for sched in sides[1][2]]


def test_why_heads_do_not_go_together():
    tasks = list(tasks_of(2))
    heads = heads_of("CLIPAdapter", tasks)
    optims = [OPTIMS["sgd"](head.parameters()) for head in heads]
    assert why_not(heads, optims, [[8, 4], [9, 4]]) == "their batches are of different sizes"
    assert why_not([heads[0], clip_adapter.build(tasks[0], 0.2, 2)], optims, [[8], [8]]) == "their shapes differ"
    optims[1].param_groups[0]["lr"] = 1.0
    assert why_not(heads, optims, [[8], [8]]) == "options of their optimisers differ"
    assert why_not(heads, [torch.optim.Adagrad(heads[0].parameters())] * 2, [[8], [8]]).startswith("their optimiser")
    assert is_worth_it(heads[0], 32) and not is_worth_it(heads[0], 10**6)
