import dataclasses
import math

import numpy as np
import pytest
import torch
from helpers import build, bundle_args, bundle_file, make_task
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from ccli.concepts.discovery import discover
from ccli.errors import CcliError
from ccli.features.task import Split
from ccli.fitting import selection
from ccli.inference.saving import load_run
from ccli.trainers.common.feature_source import BundleSource


@pytest.mark.parametrize("shots", [2, 3, 4, 16])
def test_folds_are_stratified_disjoint_and_complete(shots):
    labels = make_task(shots).train.labels[torch.randperm(6 * shots, generator=torch.Generator().manual_seed(0))]
    count = min(shots, selection.MAX_FOLDS)
    pairs = selection.folds(labels, count, seed=3)
    assert len(pairs) == count == min(shots, 4)
    for kept, held in pairs:
        assert sorted([*kept.tolist(), *held.tolist()]) == list(range(6 * shots))
        per_class = torch.bincount(labels[held], minlength=6)
        assert per_class.min() >= shots // count and per_class.max() <= math.ceil(shots / count)
    assert sorted(row for _, held in pairs for row in held.tolist()) == list(range(6 * shots))


def test_folds_follow_the_seed():
    labels = make_task(16).train.labels

    def held(seed):
        return [rows.tolist() for _, rows in selection.folds(labels, 4, seed)]

    assert held(1) == held(1) != held(2)
    assert held(-1) == held(0)  # an unseeded run has folds too


@pytest.mark.parametrize("shots", [1, 2, 16])
@pytest.mark.parametrize("val", [0, 4])
def test_what_each_protocol_chooses_on(shots, val):
    task = make_task(shots, val)
    assert selection.selected_by("fixed", task) == "fixed"
    assert selection.selected_by("paper", task) == "test"
    without = "cross-validation" if shots >= 2 else "default"
    assert selection.selected_by("validation", task) == ("validation" if val else without)


def test_the_smallest_class_decides_on_cross_validation():
    task = make_task(4, 0)
    lone = dataclasses.replace(task, train=task.train.take(torch.arange(3, 24)))  # class 0 keeps one image
    assert lone.shots == 1 and selection.selected_by("validation", lone) == "default"


def test_an_unknown_protocol_is_refused():
    with pytest.raises(CcliError, match=r"'validatoin'.*Did you mean 'validation'\?"):
        selection.selected_by("validatoin", make_task())


def test_ties_go_to_the_smallest():
    assert selection.choose([0.0, 0.5, 1.0, 2.0], [7, 9, 9, 8]) == 0.5
    assert selection.choose([2.0, 1.0, 0.0], [5, 5, 5]) == 0.0
    assert selection.choose([0.0, 1.0], [4, 5]) == 1.0


def test_held_out_pairs_have_not_been_seen():
    task = make_task(4, 4)
    seen = []

    def fit(part):
        seen.append(part)
        return "refitted"

    assert list(selection.held_out("validation", task, "whole", fit, 1)) == [("whole", task.val)]
    assert list(selection.held_out("test", task, "whole", fit, 1)) == [("whole", task.test)]
    for how in ("fixed", "default"):
        assert list(selection.held_out(how, task, "whole", fit, 1)) == []
    assert seen == []
    pairs = list(selection.held_out("cross-validation", task, "whole", fit, 1))
    assert len(pairs) == 4 and all(model == "refitted" for model, _ in pairs)
    for part, (_, rest) in zip(seen, pairs):
        assert part.val is None and len(part.train) == 18 and len(rest) == 6
        used = {tuple(row) for row in part.train.features.tolist()}
        assert not used & {tuple(row) for row in rest.features.tolist()}


@pytest.mark.parametrize("enough, count", [(1, 1), (6, 1), (7, 2), (18, 3), (19, 4), (100, 4)])
def test_no_fold_comes_after_enough_images(monkeypatch, enough, count):
    whole = list(selection.splits("cross-validation", make_task(4, 0), 1))
    monkeypatch.setattr(selection, "ENOUGH_HELD", enough)  # folds hold 6 of 24 images
    some = list(selection.splits("cross-validation", make_task(4, 0), 1))
    assert len(some) == count
    assert all(torch.equal(a.features, b.features) for (_, a), (_, b) in zip(some, whole))


def test_a_fold_takes_the_views_along():
    task = make_task(2, 0)
    views = torch.arange(3.0)[:, None, None] + task.train.features
    task = dataclasses.replace(task, train=dataclasses.replace(task.train, views=views))
    part, rest = task.fold(torch.tensor([0, 3]), torch.tensor([5]))
    assert torch.equal(part.train.views, views[:, [0, 3]]) and torch.equal(rest.views, views[:, [5]])


def trained(folder, *opts, poison=(), monkeypatch=None, val=8, **run):
    """A finished CCLI run on a bundle; the named parts hold NaN instead of features, or the opposite of them: "val",
    which the temperature of its probabilities is fitted on."""
    for part in poison:
        clean = getattr(BundleSource, part)

        def broken(self, clean=clean, part=part):
            split = clean(self)
            nothing = -split.features if part == "val" else torch.full_like(split.features, float("nan"))
            return Split(nothing, split.labels)

        monkeypatch.setattr(BundleSource, part, broken)
    folder.mkdir(exist_ok=True)
    trainer = build(*bundle_args(bundle_file(folder, val=val), folder / "run", *opts, "TEST.NO_TEST", True, **run))
    trainer.train()
    monkeypatch.undo()
    return trainer


def same_heads(a, b) -> bool:
    ours, theirs = a.head.state_dict(), b.head.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


MLP = ("TRAINER.CCLI.HIDDEN", 32, "OPTIM.MAX_EPOCH", 20, "OPTIM.LR", 0.02)


@pytest.mark.parametrize(("cfg", "opts"), [("rn50", ()), ("rn50_dense", ()), ("rn50_plain", MLP)])
def test_nothing_of_the_test_set_reaches_a_run(tmp_path, monkeypatch, cfg, opts):
    clean = trained(tmp_path / "a", *opts, cfg=cfg, monkeypatch=monkeypatch)
    poisoned = trained(tmp_path / "b", *opts, cfg=cfg, monkeypatch=monkeypatch, poison=["test"])
    assert clean.selected_by == poisoned.selected_by == "validation"
    assert clean.hyper_parameters == poisoned.hyper_parameters
    assert same_heads(clean, poisoned)


BY_ACCURACY = ("TRAINER.CCLI.CRITERION", "accuracy")


def test_the_poison_works_where_the_test_set_is_asked(tmp_path, monkeypatch):
    paper = ("PROTOCOL", "paper")
    dense = {"cfg": "rn50_dense", "monkeypatch": monkeypatch}
    clean = trained(tmp_path / "a", *paper, *BY_ACCURACY, **dense)
    poisoned = trained(tmp_path / "b", *paper, *BY_ACCURACY, **dense, poison=["test"])
    for cfg in ("rn50", "rn50_dense"):
        with pytest.raises(FloatingPointError, match="held-out images are not finite"):
            trained(tmp_path / cfg, *paper, cfg=cfg, monkeypatch=monkeypatch, poison=["test"])
    assert clean.selected_by == "test" and clean.hyper_parameters["alpha"] > 0
    assert poisoned.hyper_parameters != clean.hyper_parameters


def test_validation_images_choose_alpha_and_nothing_else(tmp_path, monkeypatch):
    dense = {"cfg": "rn50_dense", "monkeypatch": monkeypatch}
    clean = trained(tmp_path / "a", *BY_ACCURACY, **dense)
    poisoned = trained(tmp_path / "b", *BY_ACCURACY, **dense, poison=["val"])
    assert clean.hyper_parameters["alpha"] > 0 and poisoned.hyper_parameters["alpha"] != clean.hyper_parameters["alpha"]
    assert torch.equal(clean.head.network.weight, poisoned.head.network.weight)
    fixed = trained(tmp_path / "c", "PROTOCOL", "fixed", **dense, poison=["val", "test"])
    assert fixed.selected_by == "fixed" and fixed.hyper_parameters == {"alpha": 1.0}
    assert torch.equal(fixed.head.network.weight, clean.head.network.weight)


def by_likelihood(logits, labels):
    """Log-likelihood at the best scale, with scipy's search in place of the grid."""
    logits, rows = np.asarray(logits, np.float64), np.arange(len(labels))
    loss = lambda k: -log_softmax(np.exp(k) * logits, axis=1)[rows, labels].sum()  # noqa: E731
    return -minimize_scalar(loss, bounds=(-1.6, 1.6), method="bounded").fun


def by_count(logits, labels):
    return int((logits.argmax(1) == labels).sum())


ALPHAS = ("TRAINER.CCLI.ALPHAS", "(0.0, 0.05, 0.3, 1.0, 4.0)")


@pytest.mark.parametrize(
    ("cfg", "opts", "score"),
    [
        ("rn50", ALPHAS, by_likelihood),
        ("rn50_dense", ALPHAS, by_likelihood),
        ("rn50_dense", (*ALPHAS, *BY_ACCURACY), by_count),
        ("rn50_plain", MLP, by_count),
        ("rn50_plain", (*MLP, "TRAINER.CCLI.CRITERION", "likelihood"), by_likelihood),
    ],
)
def test_alpha_by_cross_validation_recounted(tmp_path, monkeypatch, cfg, opts, score):
    trainer = trained(tmp_path, *opts, cfg=cfg, val=0, monkeypatch=monkeypatch, poison=["test"])
    task, node = trainer.task, trainer.cfg.TRAINER.CCLI
    assert trainer.selected_by == "cross-validation" and task.val is None
    alphas = [node.ALPHA * a for a in node.ALPHAS]
    logits, labels = {alpha: [] for alpha in alphas}, []
    for kept, held in selection.folds(task.train.labels, 4, 1):
        head = trainer.fit(dataclasses.replace(task, train=task.train.take(kept)))
        labels.append(task.train.labels[held])
        with torch.no_grad():
            for alpha in alphas:
                head.alpha.fill_(alpha)
                logits[alpha].append(head(task.train.features[held]))
    scores = {alpha: score(torch.cat(of), torch.cat(labels)) for alpha, of in logits.items()}
    best = max(scores.values())
    assert trainer.hyper_parameters["alpha"] == min(a for a in alphas if scores[a] == best)
    assert len(set(scores.values())) > 1  # there was something to choose


def test_likelihood_by_hand_and_its_scale():
    # the better of two classes by 2 and by -1: at scale k log-likelihood -log(1 + e^-2k) - log(1 + e^k)
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    expected = max(-math.log1p(math.exp(-2 * k)) - math.log1p(math.exp(k)) for k in selection.TEMPERATURES)

    def best(logits, labels):
        return float(selection.log_likelihoods(logits, labels).max())

    assert best(logits, labels) == pytest.approx(expected)
    assert best(1.1 * logits, labels) == pytest.approx(expected, rel=1e-3)  # the scale is its own
    assert best(logits, torch.tensor([0, 1])) > expected  # both right
    assert best(torch.tensor([[2.0, 0.0], [0.0, 0.2]]), labels) > expected  # less sure of the error


def test_each_fold_discovers_concepts_in_its_own_images(tmp_path, monkeypatch):
    import ccli.methods.ccli as module

    calls, original = [], module.concept_vectors

    def spy(source, concepts, features, *rest):
        found = original(source, concepts, features, *rest)
        calls.append((features, found.vectors))
        return found

    monkeypatch.setattr(module, "concept_vectors", spy)
    args = bundle_args(bundle_file(tmp_path, val=0), tmp_path / "run", "TRAINER.CCLI.TEXT_SHARE", 0.0, cfg="rn50_dense")
    trainer = build(*args)
    trainer.train()
    train = trainer.task.train
    (whole, _), *of_folds, (described, _) = calls
    assert torch.equal(whole, train.features) and torch.equal(described, train.features) and len(of_folds) == 4
    for (kept, _), (features, vectors) in zip(selection.folds(train.labels, 4, 1), of_folds):
        assert torch.equal(features, train.features[kept])
        assert torch.equal(vectors, discover(trainer.task.concept_features, train.features[kept], 3)[0])
    # what is written for people to look at comes from the whole fit, not from the last fold
    written = load_run(tmp_path / "run").concepts
    _, picks = discover(trainer.task.concept_features, train.features, 3)
    assert written.picks == picks.tolist() and written.labels == train.labels.tolist()
    assert written.names == trainer.task.concepts and written.images == [""] * 24


def test_one_shot_without_validation_takes_the_constants(tmp_path, monkeypatch):
    trainer = trained(tmp_path, "TRAINER.CCLI.ALPHA", 0.7, shots=1, val=0, monkeypatch=monkeypatch, poison=["test"])
    assert trainer.selected_by == "default" and trainer.hyper_parameters["alpha"] == 0.7
    assert float(trainer.head.alpha) == pytest.approx(0.7)
