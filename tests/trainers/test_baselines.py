"""Every method as a trainer: one rule for what is chosen, nothing of validation or test in a fit, errors in words."""

import json
import math
import shutil

import pytest
import torch
from dassl.engine import TRAINER_REGISTRY
from helpers import ROOT, build, bundle_args, bundle_file, make_bundle, run_here

from ccli.features.bundles import write_bundle
from ccli.features.task import FewShotTask, Split
from ccli.fitting.training import FeatureBatches, correct, step, warm_cosine
from ccli.results.records import read_record, same_record
from ccli.trainers.common.gradient import BEST

FITTED = ("LinearProbe", "TipAdapter", "LPPlusPlus", "GDA")
TRAINED = ("CLIPAdapter", "TipAdapterF", "TaskRes")
FEW = {name: ("OPTIM.MAX_EPOCH", 6) for name in TRAINED} | {"LPPlusPlus": ("TRAINER.LPPLUSPLUS.STEPS", 20)}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Bundles with and without validation images."""
    folder = tmp_path_factory.mktemp("bundles")
    return {"val": bundle_file(folder), "none": bundle_file(folder, "none.npz", val=0)}


def args(bundle, out, trainer, *opts, **kinds):
    return bundle_args(bundle, out, *FEW.get(trainer, ()), *opts, trainer=trainer, **kinds)


def evaluating(run, argv):
    """The same arguments with --eval-only and --model-dir, which come before the options."""
    k = argv.index("DATASET.BUNDLE")
    return [*argv[:k], "--eval-only", "--model-dir", run, *argv[k:]]


def poisoned(split: Split | None) -> Split | None:
    return split and Split(torch.full_like(split.features, math.nan), split.labels)


@pytest.mark.parametrize("trainer", [*FITTED, *TRAINED, "CCLI"])
def test_nothing_of_validation_or_test_reaches_a_fit(bundles, tmp_path, trainer):
    """A fit on a task whose other images are not numbers is finite, and the same as on the clean task."""
    built = build(*args(bundles["val"], tmp_path / "o", trainer))
    built._set_up()
    clean = built.task
    dirty = FewShotTask(**vars(clean) | {"val": poisoned(clean.val), "test": poisoned(clean.test)})
    heads = [built.fit(task) for task in (clean, dirty)]
    for name, x in heads[0].state_dict().items():
        assert torch.isfinite(x).all() and torch.equal(x, heads[1].state_dict()[name]), name


@pytest.mark.parametrize("trainer", [*FITTED, *TRAINED])
@pytest.mark.parametrize(
    ("bundle", "shots", "protocol", "by"),
    [
        ("val", 4, "validation", "validation"), ("none", 4, "validation", "cross-validation"),
        ("none", 1, "validation", "default"), ("val", 4, "fixed", "fixed"), ("val", 4, "paper", None),
    ],
)  # fmt: skip
def test_what_each_method_chooses_on(bundles, tmp_path, trainer, bundle, shots, protocol, by):
    run_here(*args(bundles[bundle], tmp_path / "o", trainer, "PROTOCOL", protocol, shots=shots))
    record = read_record(tmp_path / "o")
    authors = {"TipAdapter": "test", "TipAdapterF": "test", "CLIPAdapter": "fixed", "TaskRes": "fixed"}
    assert record["selected_by"] == (by or authors.get(trainer, "validation"))
    names = {
        "LinearProbe": {"C"}, "TipAdapter": {"beta", "alpha"}, "LPPlusPlus": {"steps"}, "GDA": {"a"},
        "CLIPAdapter": {"epochs"}, "TaskRes": {"epochs"}, "TipAdapterF": {"epochs", "beta", "alpha"},
    }  # fmt: skip
    assert set(record["hyper_parameters"]) == names[trainer]
    if record["selected_by"] in ("default", "fixed"):
        assert record["hyper_parameters"].get("epochs", 6) == 6


@pytest.mark.parametrize("trainer", [*FITTED, *TRAINED])
def test_a_finished_run_is_evaluated_to_the_same_answers(bundles, tmp_path, trainer):
    run_here(*args(bundles["val"], tmp_path / "run", trainer))
    run_here(*evaluating(tmp_path / "run", args(bundles["val"], tmp_path / "again", trainer)))
    assert read_record(tmp_path / "again")["predictions"] == read_record(tmp_path / "run")["predictions"]


def train_by_hand(trainer, task, watched, epochs=6):
    """Heads' answers on `watched` after each epoch, in a loop of its own."""
    head = trainer.make_head(task)
    optim, sched = trainer.make_optim(head, task)
    counts, states = [], []
    for epoch in range(epochs):
        batches = FeatureBatches(task.train, trainer.cfg.DATALOADER.TRAIN_X.BATCH_SIZE, True, 1)
        batches.epoch = epoch
        head.train()
        for batch in batches:
            step(head, batch, optim)
            sched.step()
        counts.append(correct(head.eval(), watched))
        states.append({name: x.clone() for name, x in head.state_dict().items()})
    return counts, states


@pytest.mark.parametrize("trainer", ["CLIPAdapter", "TaskRes"])
def test_the_epoch_with_the_best_validation_is_kept(bundles, tmp_path, trainer):
    argv = args(bundles["val"], tmp_path / "o", trainer, "OPTIM.LR", 0.3)  # a rate that overshoots
    other, ours = build(*argv), build(*argv)
    other._set_up()
    counts, states = train_by_hand(other, other.task, other.task.val)
    best = counts.index(max(counts))
    ours.train()
    assert ours.hyper_parameters == {"epochs": best + 1}
    assert all(torch.equal(x, states[best][name]) for name, x in ours.head.state_dict().items())


@pytest.mark.parametrize("trainer", ["CLIPAdapter", "TaskRes"])
def test_without_validation_the_folds_say_when_to_stop(bundles, tmp_path, trainer):
    from ccli.fitting import selection

    argv = args(bundles["none"], tmp_path / "o", trainer, "OPTIM.LR", 0.3)
    other, ours = build(*argv), build(*argv)
    other._set_up()
    counts = [train_by_hand(other, part, rest)[0] for part, rest in selection.splits("cross-validation", other.task, 1)]
    total = [sum(of_epoch) for of_epoch in zip(*counts)]
    best = total.index(max(total))
    _, states = train_by_hand(other, other.task, other.task.train)
    ours.train()
    assert ours.hyper_parameters == {"epochs": best + 1} and ours.epoch == best
    assert all(torch.equal(x, states[best][name]) for name, x in ours.head.state_dict().items())


def test_a_resumed_run_remembers_the_best_epoch(bundles, tmp_path, monkeypatch):
    """Stopped after epoch 4 of 6, with the best before: the same record as undisturbed."""
    opts = ("OPTIM.LR", 0.3, "TRAIN.CHECKPOINT_FREQ", 1)
    run_here(*args(bundles["val"], tmp_path / "whole", "TaskRes", *opts))
    cut = build(*args(bundles["val"], tmp_path / "cut", "TaskRes", *opts))
    after = type(cut).after_epoch

    def stop(self):
        after(self)
        if self.epoch == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(type(cut), "after_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    assert (tmp_path / "cut/head" / BEST).exists()
    monkeypatch.undo()
    run_here(*args(bundles["val"], tmp_path / "cut", "TaskRes", *opts))
    whole, resumed = read_record(tmp_path / "whole"), read_record(tmp_path / "cut")
    assert whole["predictions"] == resumed["predictions"]
    assert whole["hyper_parameters"] == resumed["hyper_parameters"]
    for damage in ("none", "record", "last bit of the best"):  # made again, with what it knows of its best epoch
        if damage == "record":
            (tmp_path / "cut/result.json").unlink()
        if damage == "last bit of the best":
            content = bytearray((tmp_path / "cut/head" / BEST).read_bytes())
            content[-1] ^= 1
            (tmp_path / "cut/head" / BEST).write_bytes(content)
            with pytest.raises(
                SystemExit, match=r"best.safetensors is damaged \(another digest\); remove .*cut to start"
            ):
                run_here(*args(bundles["val"], tmp_path / "cut", "TaskRes", *opts))
            continue
        run_here(*args(bundles["val"], tmp_path / "cut", "TaskRes", *opts))
        assert same_record(read_record(tmp_path / "cut"), resumed) == []


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("bundle", ["val", "none"])
@pytest.mark.parametrize("trainer", [*FITTED, *TRAINED, "CCLI"])
def test_a_run_that_is_cut_off_after_training_ends_as_it_would_have(bundles, tmp_path, monkeypatch, trainer, bundle):
    """Before anything is chosen, before the head, the classifier and the record are kept: each time the same record."""
    from ccli.trainers.common import base

    argv = args(bundles[bundle], tmp_path / "run", trainer, "TRAIN.CHECKPOINT_FREQ", 0)
    run_here(*args(bundles[bundle], tmp_path / "whole", trainer, "TRAIN.CHECKPOINT_FREQ", 0))
    for step_of_the_end in ("select", "save_model", "write_classifier", "write_record"):
        cut = build(*argv)
        owner = base if hasattr(base, step_of_the_end) else type(cut)
        original = getattr(owner, step_of_the_end)

        def stop(self, *given, original=original, name=step_of_the_end, **named):
            if name != "save_model" or hasattr(self, "selected_by"):
                raise KeyboardInterrupt
            return original(self, *given, **named)

        monkeypatch.setattr(owner, step_of_the_end, stop)
        with pytest.raises(KeyboardInterrupt):
            cut.train()
        monkeypatch.undo()
    run_here(*argv)
    assert same_record(read_record(tmp_path / "whole"), read_record(tmp_path / "run")) == []
    for name in ("classifier.json", "classifier.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_coops_schedule():
    """The learning rates of Dassl's documentation: one warm-up epoch, then a cosine that starts at its top."""
    optim = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-3)
    sched = warm_cosine(optim, batches=3, epochs=6)
    rates = []
    for _ in range(6):
        rates.append(optim.param_groups[0]["lr"])
        for _ in range(3):
            optim.step()
            assert optim.param_groups[0]["lr"] == rates[-1]
            sched.step()
    assert rates == pytest.approx([1e-5, 2e-3, 1.8660e-3, 1.5e-3, 1e-3, 5e-4], rel=1e-4)


def test_authors_epochs(tmp_path, bundles):
    def planned(trainer, shots, name):
        built = build(*bundle_args(bundles["val"], tmp_path / "o", trainer=trainer, shots=shots))
        built.dm.dataset.short_name = name
        return built.planned_epochs()

    assert [planned("TaskRes", n, "dtd") for n in (1, 2, 4, 8, 16)] == [100, 100, 100, 200, 200]
    assert [planned("TipAdapterF", 4, name) for name in ("dtd", "eurosat", "tiny")] == [20, 100, 20]
    assert planned("CLIPAdapter", 1, "dtd") == 200


def test_taskres_learns_at_a_tenth_on_imagenet(tmp_path, bundles):
    rates = {}
    for name in ("tiny", "imagenet"):
        built = build(*args(bundles["val"], tmp_path / "o", "TaskRes"))
        built.dm.dataset.short_name = name
        built._set_up()
        rates[name] = built.optim.param_groups[0]["initial_lr"]
    assert rates == pytest.approx({"tiny": 2e-3, "imagenet": 2e-4})


def refused(*argv) -> str:
    with pytest.raises(SystemExit) as caught:
        run_here(*argv)
    message = str(caught.value)
    assert message.startswith("error: ") and "\n" not in message
    return message


@pytest.mark.parametrize(
    "trainer", ["CLIPAdapter", "TipAdapter", "TipAdapterF", "TaskRes", "LPPlusPlus", "GDA", "CCLI"]
)
def test_a_bundle_without_text_is_refused_before_anything_is_read(tmp_path, trainer, monkeypatch):
    bundle = make_bundle()
    path = write_bundle(tmp_path / "t.npz", FewShotTask(**vars(bundle) | {"text_features": None, "text_norms": None}))
    monkeypatch.setattr("ccli.datasets.feature_bundle.read_bundle", None)  # check_cfg comes before
    assert f"has no text_features, and {trainer} needs them" in refused(*args(path, tmp_path / "o", trainer))


def test_a_linear_probe_needs_no_text(tmp_path):
    bundle = make_bundle()
    path = write_bundle(tmp_path / "t.npz", FewShotTask(**vars(bundle) | {"text_features": None, "text_norms": None}))
    run_here(*args(path, tmp_path / "o", "LinearProbe"))
    assert read_record(tmp_path / "o")["total"] == 120


def test_coop_on_a_bundle_is_refused(tmp_path, bundles):
    assert "a text tower, which a feature bundle has not" in refused(*args(bundles["val"], tmp_path / "o", "CoOp"))


@pytest.mark.parametrize(
    ("trainer", "opts", "words"),
    [
        ("GDA", ("TRAINER.GDA.WEIGHT", 0.0), "TRAINER.GDA.WEIGHT must be a number > 0, got 0.0"),
        ("LinearProbe", ("TRAINER.LINEARPROBE.C", -1.0), "TRAINER.LINEARPROBE.C must be a number > 0, got -1.0"),
        ("LPPlusPlus", ("TRAINER.LPPLUSPLUS.STEPS", 0), "TRAINER.LPPLUSPLUS.STEPS must be an integer >= 1, got 0"),
        ("CLIPAdapter", ("TRAINER.CLIPADAPTER.RATIO", 1.5), "RATIO must be a number from 0 to 1, got 1.5"),
        ("TaskRes", ("TRAINER.TASKRES.RESIDUAL_SCALE", -1.0), "RESIDUAL_SCALE must be a number >= 0, got -1.0"),
        ("TipAdapterF", ("OPTIM.MAX_EPOCH", -3), "OPTIM.MAX_EPOCH must be an integer >= 0, got -3"),
    ],
)
def test_bad_settings(bundles, tmp_path, trainer, opts, words):
    assert words in refused(*bundle_args(bundles["val"], tmp_path / "o", *opts, trainer=trainer))


@pytest.mark.parametrize("trainer", [*FITTED, *TRAINED])
def test_a_head_that_knows_base_classes_refuses_the_new_ones(bundles, tmp_path, trainer):
    run_here(*args(bundles["val"], tmp_path / "base", trainer, "DATASET.SUBSAMPLE_CLASSES", "base"))
    new = args(bundles["val"], tmp_path / "new", trainer, "DATASET.SUBSAMPLE_CLASSES", "new")
    message = refused(*evaluating(tmp_path / "base", new))
    assert "the model knows 3 classes, but not 'class 3'" in message and "reads class names" in message


def test_every_method_has_the_same_yamls_and_a_script():
    scripts = {path.read_text().split("run.sh")[1].split()[1]: path for path in ROOT.glob("scripts/*/main.sh")}
    ours = {name for name in TRAINER_REGISTRY.registered_names() if (ROOT / "configs/trainers" / name).is_dir()}
    assert set(scripts) == ours and len(ours) == 10
    for name in ours:
        stems = {path.stem for path in (ROOT / "configs/trainers" / name).glob("*.yaml")}
        assert {"demo_clip", "rn50", "rn101", "vit_b32", "vit_b16"} <= stems


def test_the_record_is_plain(bundles, tmp_path):
    run_here(*args(bundles["val"], tmp_path / "o", "TipAdapterF"))
    json.loads((tmp_path / "o/result.json").read_text())
    shutil.rmtree(tmp_path / "o")


def test_tensorboards_scalars_are_dassls(bundles, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_here(*args(bundles["val"], tmp_path / "run", "TaskRes", "DATALOADER.TRAIN_X.BATCH_SIZE", 12))
    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    tags = {"train/loss", "train/acc", "train/lr", "test/accuracy", "test/error_rate", "test/macro_f1"}
    assert set(events.Tags()["scalars"]) == tags
    assert [event.step for event in events.Scalars("train/loss")] == list(range(12))  # 6 epochs of 2 batches
    assert events.Scalars("train/lr")[0].value == pytest.approx(1e-5)  # the epoch of warm-up
    (tested,) = events.Scalars("test/accuracy")
    assert tested.value == pytest.approx(read_record(tmp_path / "run")["accuracy"], rel=1e-6)


@pytest.mark.parametrize("bundle", ["val", "none"])
def test_a_trainers_own_loss_is_that_of_all_training(bundles, tmp_path, monkeypatch, bundle):
    """In Dassl's loop and, where there are no validation images, in the folds before it."""
    from ccli.trainers.taskres import TaskRes

    plain, own = (build(*args(bundles[bundle], tmp_path / name, "TaskRes")) for name in ("plain", "own"))
    plain.train()
    seen = []

    def loss(self, head, logits, labels):
        seen.append(len(labels))
        return torch.nn.functional.cross_entropy(logits, labels) + 0 * head.residual.sum()

    monkeypatch.setattr(TaskRes, "loss", loss)
    own.train()
    per_epoch = -(-24 // own.cfg.DATALOADER.TRAIN_X.BATCH_SIZE)
    assert len(seen) >= own.epochs * per_epoch + (4 * 6 if bundle == "none" else 0)
    assert torch.equal(own.head.residual, plain.head.residual)
