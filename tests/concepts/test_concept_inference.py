import dataclasses

import numpy as np
import pytest
import torch
from helpers import make_task, unit_rows
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import nn

from ccli.concepts import representation as representations
from ccli.concepts.discovery import concept_vectors
from ccli.concepts.representation import ConceptSpace, Similarity, axes
from ccli.methods.concept_inference import ConceptInference, build, fit_convex, from_state, mlp
from ccli.methods.zero_shot import ZeroShot


def head_for(task, network="convex", representation="space", **changes):
    r = representations.build(
        representation, concept_vectors("text", task.concept_features, task.train.features, 3, 0), task, 3.0
    )
    settings = {"network": network, "hidden": 16, "penalty": 0.3, "temperature": 0.5, "alpha": 0.7, "seed": 0}
    return build(r, task, **settings | changes)


@torch.no_grad()
def test_fused_logits_by_hand():
    f = torch.tensor([[0.6, 0.8]])
    text, concepts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.8, 0.6]])
    network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    network[0].weight.copy_(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, -1.0]]))
    network[0].bias.copy_(torch.tensor([0.1, 0.5]))
    network[2].weight.copy_(torch.tensor([[1.0, 5.0], [-2.0, 5.0]]))
    network[2].bias.copy_(torch.tensor([0.0, 1.0]))
    model = ConceptInference(Similarity(concepts, f), network, text, 10.0, temperature=0.5, alpha=2.0)
    # r = (.8, .6, .96); hidden = relu(1.5, -.46) = (1.5, 0); g = (1.5, -2); zero-shot = 5 (.6, .8)
    zero_shot, inferred = model.parts(f)
    assert torch.allclose(zero_shot, torch.tensor([[3.0, 4.0]]), atol=1e-5)
    assert torch.allclose(inferred, torch.tensor([[1.5, -2.0]]), atol=1e-5)
    assert torch.allclose(model(f), torch.tensor([[6.0, 0.0]]), atol=1e-5)


@pytest.mark.parametrize("network", ["mlp", "convex"])
@torch.no_grad()
def test_without_weight_the_network_does_not_count(network):
    task = make_task()
    with torch.enable_grad():
        model = head_for(task, network)
    zero_shot = ZeroShot(task.text_features, task.logit_scale)(task.test.features)
    hand = 20.0 * task.test.features @ task.text_features.T
    assert torch.allclose(zero_shot, hand, atol=1e-5)
    assert not torch.equal(model(task.test.features).argmax(1), hand.argmax(1))
    model.alpha.zero_()
    assert torch.equal(model(task.test.features).argmax(1), hand.argmax(1))


def by_scipy(zero_shot, r, labels, penalty):
    """The same objective in float64 by another optimiser: its minimum and where that is, [N, R]."""
    zero_shot, r = np.asarray(zero_shot, np.float64), np.asarray(r, np.float64)
    shape, rows = (zero_shot.shape[1], r.shape[1]), np.arange(len(r))

    def objective(flat):
        b = flat.reshape(shape)
        log_p = log_softmax(zero_shot + r @ b.T, axis=1)
        residual = np.exp(log_p)
        residual[rows, labels] -= 1
        return -log_p[rows, labels].sum() + penalty / 2 * (b * b).sum(), (residual.T @ r + penalty * b).ravel()

    found = minimize(objective, np.zeros(np.prod(shape)), jac=True, method="BFGS", options={"gtol": 1e-8})
    return found.fun, found.x.reshape(shape)


@pytest.mark.parametrize(("penalty", "alpha"), [(0.3, 1.0), (0.02, 0.5), (10.0, 2.0)])
@torch.no_grad()
def test_the_convex_fit_against_scipy(penalty, alpha):
    task = make_task(classes=4, concepts=9, width=8)
    r = ConceptSpace(task.train.features.mean(0), [axes(task.concept_features)])
    model = ConceptInference(r, nn.Linear(r.width, 4, bias=False), task.text_features, 20.0, 0.5, alpha)
    with torch.enable_grad():
        reached = fit_convex(model, task.train.features, task.train.labels, penalty)
    z = alpha * r(task.train.features)
    least, where = by_scipy(
        10.0 * task.train.features @ task.text_features.T, z, task.train.labels.numpy(), penalty
    )  # fmt: skip
    assert reached == pytest.approx(least, rel=1e-5)
    assert np.allclose(model.network.weight.numpy(), where, atol=2e-3 * np.abs(where).max())
    assert np.abs(where).max() > 0.05  # there was something to find


def test_build_fits_on_the_images_themselves_whatever_views_there_are():
    task = make_task()
    viewed = dataclasses.replace(task, train=dataclasses.replace(task.train, views=unit_rows(24, 32, seed=3)[None]))
    by_hand = head_for(task)
    fit_convex(by_hand, task.train.features, task.train.labels, 0.3)
    assert torch.equal(head_for(viewed).network.weight, by_hand.network.weight)
    assert by_hand.network.weight.abs().max() > 0.05


def test_features_that_are_not_finite_stop_the_fit():
    task = make_task()
    broken = task.train.features.clone()
    broken[0] = float("nan")
    with pytest.raises(FloatingPointError, match="not finite"):
        fit_convex(head_for(task), broken, task.train.labels, 0.3)


@pytest.mark.parametrize("network", ["mlp", "convex"])
@pytest.mark.parametrize("representation", ["plain", "standardised", "affinity", "space"])
@torch.no_grad()
def test_a_head_comes_back_out_of_its_state(network, representation):
    task = make_task()
    with torch.enable_grad():
        model = head_for(task, network, representation, seed=5)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    copy = from_state(state)
    assert torch.equal(copy(task.test.features), model(task.test.features))
    assert copy.state_dict().keys() == state.keys()


def test_the_start_depends_on_the_seed_alone():
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    first = mlp(5, 7, 3, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.randn(10)
    again, other = mlp(5, 7, 3, seed=1), mlp(5, 7, 3, seed=2)
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters()):
        assert torch.equal(a, b) and not torch.equal(a, c)
    assert [tuple(p.shape) for p in first.parameters()] == [(7, 5), (7,), (3, 7), (3,)]
    assert isinstance(first[1], nn.ReLU)
