"""Concepts taken out of a classifier with a sparse network."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import make_task
from scipy.optimize import minimize
from torch.nn import functional as F

from ccli.errors import CcliError
from ccli.features.task import Split
from ccli.fitting.calibration import Calibration
from ccli.inference.classifier import Classifier, Examples
from ccli.inference.editing import class_weights, concepts_of, stored_shots, without
from ccli.inference.saving import load_run, save
from ccli.methods.ccli import CcliSettings, build, describe
from ccli.methods.sparse_inference import refit
from ccli.methods.zero_shot import ZeroShot

SPARSE = {
    "representation": "space", "distinctive": 1.0, "network": "sparse", "temperature": 0.5, "text_share": 0.67,
    "concepts_per_class": 4, "penalty": 0.3,
}  # fmt: skip


def task_with_duplicates():
    """The first concept has another name, too."""
    task = make_task()
    names, features = (*task.concepts, "another name"), torch.cat([task.concept_features, task.concept_features[:1]])
    return replace(task, concepts=names, concept_features=features)


def classifier(task=None, **settings) -> Classifier:
    task, s = task or task_with_duplicates(), CcliSettings(**SPARSE | settings)
    head = build(task, s, seed=0)
    concepts = describe(head, task, s, [""] * len(task.train)) if head.network else None
    f, labels = task.test.features[::9], task.test.labels[::9].tolist()
    examples = Examples([""] * len(f), labels, head(f).argmax(1).tolist(), f)
    return Classifier(
        head, "CCLI", task.classnames, f.shape[1], Calibration(1.5, "validation"), concepts=concepts,
        prototypes=task.train.class_means(task.num_classes), examples=examples,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> Classifier:
    return classifier()


@pytest.fixture(scope="module")
def task():
    return task_with_duplicates()


def most_used(run: Classifier, count: int = 3) -> list[str]:
    """The names of the concepts with the largest weights."""
    order = run.head.network.weight.abs().amax(0).argsort(descending=True).tolist()
    return list(dict.fromkeys(run.concepts.names[row] for row in order))[:count]


def zeroed(run: Classifier, rows: list[int]) -> torch.nn.Module:
    head = copy.deepcopy(run.head)
    head.network.weight[:, rows] = 0
    return head


def rows_named(run: Classifier, names) -> list[int]:
    return [row for row, name in enumerate(run.concepts.names) if name in names]


def test_without_a_refit_the_logits_are_those_of_weights_of_0(whole, task):
    names = most_used(whole)
    new, rows = without(whole, names, refit=False), rows_named(whole, names)
    f = task.test.features
    by_hand = zeroed(whole, rows)
    assert (whole.head(f) - by_hand(f)).abs().max() > 0.1 and torch.allclose(new.head(f), by_hand(f), atol=1e-5)
    assert new.edited == {"dropped": names, "refitted": False}
    kept = [row for row in range(len(whole.concepts.names)) if row not in rows]
    assert torch.equal(new.head.network.weight, whole.head.network.weight[:, kept])
    assert new.calibration == whole.calibration and new.predict(f) == [task.classnames[k] for k in by_hand(f).argmax(1)]
    assert new.examples.predictions == by_hand(whole.examples.features).argmax(1).tolist()


def test_the_given_classifier_stays_as_it_is(whole, task):
    before = {name: x.clone() for name, x in whole.head.state_dict().items()}
    names, examples = whole.concepts.names, whole.examples
    without(whole, most_used(whole), task.train)
    assert all(torch.equal(x, before[name]) for name, x in whole.head.state_dict().items())
    assert (whole.edited, whole.concepts.names, whole.examples) == (None, names, examples)


@pytest.mark.parametrize("settings", [{}, {"class_names": False, "representation": "cosine", "penalty": 1.0}])
def test_a_refit_is_the_solution_of_another_solver(task, settings):
    run = classifier(task, **settings)
    names = most_used(run)
    new = without(run, names, task.train)
    assert new.edited == {"dropped": names, "refitted": True}
    f, labels = task.train.features.double(), task.train.labels
    head = zeroed(run, rows_named(run, names)).double()
    offset, r = head.parts(f)[0], head.network.similarities(head.representation(f))
    assert bool(offset.any()) == settings.get("class_names", True)
    used, penalty = head.network.weight != 0, settings.get("penalty", 0.3)

    def objective(values):
        weight = torch.zeros_like(head.network.weight)
        weight[used] = torch.as_tensor(values)
        weight.requires_grad_()
        loss = F.cross_entropy(offset + r @ weight.T, labels, reduction="sum") + penalty / 2 * weight.square().sum()
        loss.backward()
        return float(loss.detach()), weight.grad[used].numpy()

    found = minimize(
        objective, np.zeros(int(used.sum())), jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 1e-15}
    )
    kept = [row for row in range(len(run.concepts.names)) if row not in rows_named(run, names)]
    weight, used = new.head.network.weight, used[:, kept]
    assert not weight[~used].any() and np.abs(weight[used].numpy() - found.x).max() < 1e-4
    assert np.abs(found.x - run.head.network.weight[:, kept][used].numpy()).max() > 0.01  # the fit had something to do


def test_a_refit_of_all_concepts_changes_nothing(whole, task):
    f, labels = task.train.features, task.train.labels
    again = refit(whole.head.network, whole.head.parts(f)[0], whole.head.representation(f), labels)
    assert torch.allclose(again.weight, whole.head.network.weight, atol=2e-3)  # which float32 allows the training
    assert float(again.penalty) == pytest.approx(0.3) and again.penalty.shape == ()


@pytest.mark.parametrize("refits", [True, False])
def test_explanations_of_an_edited_classifier_add_up(whole, task, refits):
    new, f = without(whole, most_used(whole), task.train, refit=refits), task.test.features
    for why, logits in zip(new.explain(f), new.logits(f)):
        terms = why.zero_shot + why.class_texts + why.others + sum(one.part for one in why.concepts)
        assert terms == pytest.approx(why.total, abs=1e-5) and why.total == pytest.approx(float(logits.max()), abs=1e-5)
    assert {one.concept for why in new.explain(f) for one in why.concepts} <= {
        new.concepts.title(row) for row in range(len(new.concepts.names))
    }


def test_row_i_of_the_gallery_is_concept_i_of_the_network(whole, task):
    new = without(whole, most_used(whole), task.train)
    concepts, head = new.concepts, new.head
    places = head.representation(concepts.rows + head.representation.mean)
    assert torch.allclose(places, head.network.concepts, atol=1e-5)
    old = {row: k for k, row in enumerate(whole.head.network.chosen.tolist())}
    for k, row in enumerate(head.network.chosen.tolist()):
        for name in ("names", "kinds", "picks", "ranks", "synonyms", "distinctiveness"):
            assert getattr(concepts, name)[k] == getattr(whole.concepts, name)[old[row]]
    assert concepts.images == whole.concepts.images and concepts.labels == whole.concepts.labels


def test_a_name_means_all_its_candidates_by_name_synonym_or_title(whole):
    concepts = whole.concepts
    counts = {name: concepts.names.count(name) for name in concepts.names}
    name = max(counts, key=counts.get)
    assert counts[name] > 1 and concepts_of(whole, name) == {name: rows_named(whole, [name])}
    row = next(row for row, one in enumerate(concepts.kinds) if one == "class name")
    assert row in concepts_of(whole, [concepts.title(row)])[f"looks like {concepts.names[row]}"]
    other = replace(concepts, synonyms=[["brick"] if one == name else [] for one in concepts.names])
    assert concepts_of(replace(whole, concepts=other), ["brick"]) == {"brick": rows_named(whole, [name])}
    assert without(whole, [name, name], refit=False).edited["dropped"] == [name]


def test_merged_duplicates_are_found_by_the_name_they_lost(task):
    run = classifier(task, concepts_per_class=20)
    assert ["another name"] in run.concepts.synonyms and "another name" not in run.concepts.names
    assert concepts_of(run, "another name")["another name"] == rows_named(run, ["concept 0"])


def test_saved_and_loaded_and_edited_once_more(whole, task, tmp_path):
    first, second, third = most_used(whole)
    save(without(whole, [second, first], task.train), tmp_path / "new")
    new = load_run(tmp_path / "new")
    assert new.edited == {"dropped": [second, first], "refitted": True}
    f = task.test.features
    assert torch.equal(new.logits(f), without(whole, [second, first], task.train).logits(f))
    assert torch.equal(new.head.network.penalty, whole.head.network.penalty)
    twice = without(new, third, task.train)
    assert twice.edited == {"dropped": [second, first, third], "refitted": True}
    at_once = without(whole, [first, second, third], task.train)
    assert torch.allclose(twice.logits(f), at_once.logits(f), atol=1e-3)
    with pytest.raises(CcliError, match=f"^'{first}': taken out of this classifier before; name others$"):
        without(new, first)
    save(whole, tmp_path / "whole")
    assert load_run(tmp_path / "whole").edited is None


@pytest.mark.parametrize("edited", [{"dropped": "red", "refitted": True}, {"dropped": ["red"]}, ["red"]])
def test_a_damaged_note_of_an_edit_is_refused(whole, tmp_path, edited):
    save(replace(whole, edited=edited), tmp_path / "new")
    with pytest.raises(CcliError, match=r"classifier.json is damaged .*edited.*; make the run again"):
        load_run(tmp_path / "new")


def test_a_gallery_that_is_not_the_networks_is_refused(whole, tmp_path):
    rows = list(range(1, len(whole.concepts.names)))
    save(replace(whole, concepts=whole.concepts.take(rows)), tmp_path / "new")
    with pytest.raises(CcliError, match=f"the network has {len(rows) + 1} concepts, and {len(rows)} are named"):
        load_run(tmp_path / "new")


def test_without_any_concept_only_zero_shot_is_left(whole, task, tmp_path):
    save(without(whole, whole.concepts.names, task.train), tmp_path / "new")
    new, f = load_run(tmp_path / "new"), task.test.features
    assert torch.allclose(new.logits(f), whole.head.parts(f)[0], atol=1e-5)
    assert new.explain(f)[0].concepts == [] and new.edited["refitted"]


def test_weights_stay_where_the_shots_are_features_that_are_not_at_hand(whole):
    name = most_used(whole)[0]
    assert stored_shots(whole) == (None, "it was trained on features, which a classifier does not keep")
    assert without(whole, name).edited == {"dropped": [name], "refitted": False}
    images = replace(whole.concepts, images=["/no/such.png"] * len(whole.concepts.images))
    why = stored_shots(replace(whole, concepts=images))[1]
    assert why == "this classifier was trained on features, not on pictures; give it features"


def test_the_classes_that_a_concept_counts_for(whole, task):
    row = int(whole.head.network.weight.abs().amax(0).argmax())
    found, weight = class_weights(whole, [row]), whole.head.network.weight[:, row]
    assert found == {task.classnames[k]: pytest.approx(float(weight[k])) for k in weight.nonzero()[:, 0].tolist()}
    assert list(map(abs, found.values())) == sorted(map(abs, found.values()), reverse=True)


def test_other_heads_and_unknown_names_are_refused_in_one_line(whole, task):
    dense = CcliSettings(representation="space", network="convex")
    head = build(task, dense, 0)
    for method, run in (
        ("CCLI", replace(whole, head=head, concepts=describe(head, task, dense, [""] * len(task.train)))),
        ("ZeroshotCLIP", Classifier(ZeroShot(task.text_features, 9.0), "ZeroshotCLIP", task.classnames, 32)),
    ):
        message = f"this classifier of {method} has no sparse network, .*; train CCLI with a sparse network$"
        with pytest.raises(CcliError, match=message):
            without(run, "concept 1")
    with pytest.raises(CcliError, match="concepts have no names; train CCLI on visual or text concepts"):
        without(classifier(task, source="random"), "concept 1")
    name = most_used(whole)[0]
    with pytest.raises(
        CcliError, match=f"no concept '{name}x', '%'. Did you mean '{name}'.* The classifier has .* more"
    ):
        without(whole, [f"{name}x", "%", name])
    with pytest.raises(CcliError, match="no concept to take out; give one or more names"):
        without(whole, [])
    f, labels = task.train.features, task.train.labels
    for wrong, message in (
        (
            (f, labels[1:]),
            r"23 labels and features of shape \(24, 32\); give one or more labels, and as many features of",
        ),
        ((f, labels + 3), "labels from 3 to 8; give 0 to 5"),
        ((f[:, 1:], labels), r"24 labels and features of shape \(24, 31\)"),
        ((f[:0], labels[:0]), "0 labels"),
    ):
        with pytest.raises(CcliError, match=message):
            without(whole, name, Split(*wrong))
