"""The sparse network: which concepts a class gets, and the weights that they are given."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import make_task
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from ccli.errors import SettingError
from ccli.fitting import selection
from ccli.methods import concept_inference
from ccli.methods.ccli import CcliSettings, SparseParts, build, chosen, describe, sparse_scores
from ccli.methods.sparse_inference import SparseLinear, fit_weights, refit, sparse_path

SPARSE = CcliSettings(representation="space", distinctive=1.0, network="sparse", temperature=0.5, text_share=0.5)
BOTTLENECK = CcliSettings(representation="cosine", network="sparse", class_names=False, penalty=0.03)


def problem(images: int = 40, classes: int = 4, concepts: int = 7, width: int = 6):
    g = torch.Generator().manual_seed(0)
    z, c = (F.normalize(torch.randn(n, width, generator=g), dim=-1) for n in (images, concepts))
    return torch.randn(images, classes, generator=g), z, torch.arange(images) % classes, c, torch.arange(concepts)


def by_scipy(offset, values, labels, penalty):
    """Weights [m, N] that minimise the loss, in float64."""
    offset, values, rows = offset.double().numpy(), [v.double().numpy() for v in values], np.arange(len(labels))
    shape = (len(values), offset.shape[1])

    def loss(flat):
        w = flat.reshape(shape)
        logits = offset + sum(v * row for v, row in zip(values, w))
        p = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        value = -np.log(p[rows, labels]).sum() + penalty / 2 * (flat**2).sum()
        p[rows, labels] -= 1
        return value, (np.stack([(p * v).sum(0) for v in values]) + penalty * w).ravel()

    found = minimize(loss, np.zeros(shape).ravel(), jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000})
    return torch.from_numpy(found.x.reshape(shape))


def test_the_weights_are_those_of_an_independent_solver():
    offset, z, labels, concepts, _ = problem()
    columns = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 0], [1, 2, 3, 4]])  # three rounds, a concept for each class
    values = [z @ concepts[column].T for column in columns]
    weight, logits = fit_weights(offset, values, labels, torch.zeros(3, 4), 0.3)
    assert torch.allclose(weight.double(), by_scipy(offset, values, labels, 0.3), atol=1e-4)
    assert torch.allclose(logits, offset + sum(w * v for w, v in zip(weight, values)), atol=1e-5)


def test_with_every_concept_it_is_a_ridge_regression_as_scikit_learn_fits_it():
    _, z, labels, concepts, names = problem()
    *_, last = sparse_path(torch.zeros(len(z), 4), z, labels, concepts, names, 0.5, 7)
    last = refit(last, torch.zeros(len(z), 4), z, labels)
    saga = LogisticRegression(C=2.0, fit_intercept=False, solver="saga", tol=1e-9, max_iter=100_000)
    saga.fit(last.similarities(z).double().numpy(), labels.numpy())
    assert (last.weight != 0).all()
    assert np.abs(saga.coef_ - last.weight.numpy()).max() < 1e-4


def test_each_round_takes_the_candidate_of_the_largest_newton_gain():
    offset, z, labels, concepts, names = problem()
    path = list(sparse_path(offset, z, labels, concepts, names, 0.3, 3))
    taken, logits = [set() for _ in range(4)], offset
    for network in path:
        for n in range(4):
            gains = {}
            for k in set(range(len(concepts))) - taken[n]:
                w = torch.zeros((), dtype=torch.float64, requires_grad=True)
                moved = logits.double() + F.one_hot(torch.tensor(n), 4) * (z @ concepts[k]).double()[:, None] * w
                first = torch.autograd.grad(F.cross_entropy(moved, labels, reduction="sum"), w, create_graph=True)[0]
                gains[k] = (first**2 / (torch.autograd.grad(first, w)[0] + 0.3)).item()
            taken[n].add(max(gains, key=gains.get))
            assert {int(network.chosen[u]) for u in network.weight[n].nonzero()[:, 0]} == taken[n]
        logits = offset + network(z)


def test_a_class_has_at_most_m_concepts_and_none_in_two_sizes():
    offset, z, labels, concepts, _ = problem()
    names = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    path = list(sparse_path(offset, z, labels, concepts, names, 0.3, 5))
    assert len(path) == 3  # as many as there are names
    losses = []
    for m, network in enumerate(path, 1):
        assert ((network.weight != 0).sum(1) <= m).all()
        for row in network.weight:
            used = names[network.chosen[row.nonzero()[:, 0]]].tolist()
            assert len(set(used)) == len(used)
        loss = F.cross_entropy(offset + network(z), labels, reduction="sum") + 0.15 * network.weight.square().sum()
        losses.append(float(loss.detach()))
    assert losses == sorted(losses, reverse=True)


def test_features_that_are_not_finite_are_refused():
    offset, z, labels, concepts, names = problem()
    z[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        next(sparse_path(offset, z, labels, concepts, names, 0.3, 1))


@pytest.mark.parametrize("settings", [SPARSE, BOTTLENECK], ids=["with class names", "bottleneck"])
@pytest.mark.parametrize("source", ["visual", "text", "images", "random"])
def test_a_head_has_its_concepts_and_can_be_rebuilt_from_its_state(settings, source):
    task = make_task()
    s = CcliSettings(**vars(settings) | {"source": source, "concepts_per_class": 2})
    head = build(task, s, 3)
    assert isinstance(head.network, SparseLinear)
    assert ((head.network.weight != 0).sum(1) <= 2).all()
    f = task.test.features
    again = concept_inference.from_state(head.state_dict())
    assert torch.equal(again(f), head(f))
    if not s.class_names:
        assert not head.parts(f)[0].any()


def test_what_is_chosen_has_the_likeliest_labels_on_the_validation_images():
    task = make_task(val=8)
    s = CcliSettings(**vars(SPARSE) | {"text_shares": (0.0, 1.0), "penalties": (0.1, 3.0), "concepts_per_class": 3})
    found = chosen(task, s, "validation", 0)
    best = {}
    for share in (0.0, 1.0):
        for penalty in (0.1, 3.0):
            for m in (1, 2, 3):
                one = CcliSettings(
                    **vars(s) | {"text_share": share, "penalty": penalty, "concepts_per_class": m}
                )  # fmt: skip
                logits = build(task, one, 0)(task.val.features)
                best[share, penalty, m] = float(selection.log_likelihoods(logits, task.val.labels).max())
    scores = sparse_scores([(task, task.val)], s, 0)
    assert scores.keys() == best.keys()
    assert all(abs(scores[key] - best[key]) < 0.05 for key in best)  # weights of rounds before the last are rough
    assert (found.text_share, found.penalty, found.concepts_per_class) == max(scores, key=scores.get)


@pytest.mark.parametrize("how", ["validation", "cross-validation"])
def test_of_many_classes_some_choose_for_all(monkeypatch, how):
    task = make_task(val=8)
    s = replace(SPARSE, text_shares=(0.0, 1.0), penalties=(0.1, 3.0), concepts_per_class=3)
    found = {}
    for most in (3, 4, 6):
        monkeypatch.setattr("ccli.methods.ccli.MOST_CLASSES", most)
        found[most] = chosen(task, s, how, 0)
        part = task.of_classes({k * 6 // most: k for k in range(most)})
        assert found[most] == chosen(part, s, how, 0)
    assert len(set(found.values())) > 1


def test_without_held_out_images_the_settings_stay():
    assert chosen(make_task(shots=1, val=0), SPARSE, "default", 0) is SPARSE


def test_the_concepts_described_are_those_in_use():
    task = make_task()
    head = build(task, SPARSE, 0)
    found = describe(head, task, SPARSE, [f"{k}.png" for k in range(len(task.train))], 0)
    parts = SparseParts(task, SPARSE, 0)
    candidates = parts.candidates(0.5)
    assert len(found.names) == len(head.network.concepts)
    for k, row in enumerate(head.network.chosen.tolist()):
        assert found.names[k] == parts.text.names[candidates.concepts[row]]
        assert found.picks[k] == candidates.picks[row]
        assert torch.equal(found.rows[k], candidates.vectors[row])
    assert set(found.names) & set(task.classnames) <= {
        name for name, kind in zip(found.names, found.kinds) if kind == "class name"
    }
    assert len(found.ranks) == len(found.synonyms) == len(found.names)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"concepts_per_class": 0}, "concepts_per_class must be an integer >= 1, got 0"),
        ({"text_shares": (0.5, 2)}, r"text_shares must be numbers from 0 to 1, got \(0\.5, 2\)"),
        ({"penalties": (0,)}, r"penalties must be numbers > 0, got \(0,\)"),
        ({"sizes": ()}, r"sizes must be integers >= 1, got \(\)"),
        ({"representation": "plain"}, "representation of a sparse network must be space or cosine"),
        ({"class_names": False}, "representation of a sparse network must be cosine"),
        ({"source": "features"}, "source of a sparse network must be one of visual, text, images, random"),
    ],
)
def test_a_sparse_setting_that_cannot_be_used_is_named(setting, message):
    with pytest.raises(SettingError, match=message):
        CcliSettings(**vars(SPARSE) | setting)
