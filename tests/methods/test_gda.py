import dataclasses

import numpy as np
import pytest
import torch
from helpers import make_task, unit_rows
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ccli.errors import CcliError
from ccli.features.task import Split
from ccli.methods.gda import CANDIDATES, GDA, build, discriminant, from_state
from ccli.methods.zero_shot import ZeroShot


def with_views(task, count=3, seed=3):
    noise = unit_rows(count, *task.train.features.shape, seed=seed)
    views = torch.nn.functional.normalize(task.train.features + 0.5 * noise, dim=-1)
    return dataclasses.replace(task, train=dataclasses.replace(task.train, views=views))


def with_labels(task, labels):
    return dataclasses.replace(task, train=Split(task.train.features[: len(labels)], torch.tensor(labels)))


def by_formula(x, labels, classes):
    """The module's formula in NumPy, from vectors [n, D] one after another."""
    x, n, width = np.asarray(x, np.float64), len(x), x.shape[1]
    mu = np.stack([x[labels == k].mean(0) for k in range(classes)])
    s = np.cov((x - mu[labels]).T)
    p = width * np.linalg.pinv((n - 1) * s + np.trace(s) * np.eye(width))
    return mu @ p, -np.diag(mu @ p @ mu.T) / 2


def test_two_dimensions_by_hand():
    """Class 0 at (.6, +-.8), class 1 at (-1, 0) and (-.6, .8): the scatter is [[.08, .16], [.16, 1.6]] by hand.

    Means (.6, 0) and (-.8, .4); residuals +-(0, .8) and +-(-.2, -.4). n = 4: (n - 1) S is the scatter, tr(S) = 1.68 / 3
    = .56. So P^-1 = [[.64, .16], [.16, 2.16]] / 2, determinant of the inner matrix 1.3568,
    P = 2 / 1.3568 [[2.16, -.16], [-.16, .64]].
    """
    x = torch.tensor([[0.6, 0.8], [0.6, -0.8], [-1.0, 0.0], [-0.6, 0.8]])
    weight, bias = discriminant(Split(x, torch.tensor([0, 0, 1, 1])), 2)
    p = 2 / 1.3568 * torch.tensor([[2.16, -0.16], [-0.16, 0.64]])
    mu = torch.tensor([[0.6, 0.0], [-0.8, 0.4]])
    assert torch.allclose(weight.float(), mu @ p, atol=1e-5)
    assert torch.allclose(bias.float(), -torch.stack([m @ p @ m for m in mu]) / 2, atol=1e-5)


@pytest.mark.parametrize("viewed", [False, True])
def test_the_formula_over_all_vectors(viewed):
    task = with_views(make_task()) if viewed else make_task()
    views = task.train.views if viewed else task.train.features[None]
    labels = task.train.labels.repeat(len(views)).numpy()
    weight, bias = by_formula(views.flatten(0, 1).numpy(), labels, 6)
    model = build(task, 0.5)
    assert np.allclose(model.weight, weight, rtol=1e-5, atol=1e-5 * np.abs(weight).max())
    assert np.allclose(model.bias, bias, rtol=1e-5)
    f = task.test.features
    zero_shot, inferred = model.parts(f)
    assert torch.equal(zero_shot, ZeroShot(task.text_features, task.logit_scale)(f))
    assert torch.allclose(inferred, f @ model.weight.T + model.bias, rtol=1e-5, atol=1e-4)
    assert torch.equal(model(f), zero_shot + 0.5 * inferred)


def test_classes_of_different_sizes():
    """Each vector counts once in S, whatever its class, and the prior is the same for all."""
    task = with_labels(make_task(), [0, 0, 0, 0, 0, 1, 1, 2, 3, 3, 3, 4, 4, 5])
    weight, bias = by_formula(task.train.features.numpy(), task.train.labels.numpy(), 6)
    model = build(task, 1.0)
    assert np.allclose(model.weight, weight, rtol=1e-5, atol=1e-5 * np.abs(weight).max())
    assert np.allclose(model.bias, bias, rtol=1e-5)


@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
@pytest.mark.parametrize("viewed", [False, True])
def test_against_linear_discriminant_analysis(solver, viewed):
    """scikit-learn's shrunk LDA is the same classifier, where classes have the same size.

    With Q the scatter, the sum of (x - mu)(x - mu)^T: S = Q / (n - 1), so that P^-1 = (Q + tr(Q) / (n - 1) I) / D.
    scikit-learn's covariance is (1 - s) Q / n + s tr(Q) / (n D) I = (1 - s) / n (Q + s / (1 - s) tr(Q) / D I). They are
    proportional where s / (1 - s) = D / (n - 1), that is, s = D / (D + n - 1); then P = c inv(covariance) with
    c = D (1 - s) / n. Its scores are mu inv x - mu inv mu / 2 + log(1/N): ours are c (scores - log(1/N)).
    """
    task = with_views(make_task(), 10) if viewed else make_task()
    views = task.train.views if viewed else task.train.features[None]
    x, labels = views.flatten(0, 1).double().numpy(), task.train.labels.repeat(len(views)).numpy()
    n, width = x.shape
    shrinkage = width / (width + n - 1)
    other = LinearDiscriminantAnalysis(solver=solver, shrinkage=shrinkage, priors=np.full(6, 1 / 6)).fit(x, labels)
    f = task.test.features.double()
    scores = other.decision_function(f.numpy()) - np.log(1 / 6)
    weight, bias = discriminant(task.train, 6)
    ours = (f @ weight.T + bias).numpy()
    assert np.allclose(ours, width * (1 - shrinkage) / n * scores, rtol=1e-6, atol=1e-6 * np.abs(ours).max())
    assert (build(task, 1.0).parts(task.test.features)[1].argmax(1).numpy() == other.predict(f.numpy())).all()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_without_covariance_it_is_zero_shot(count):
    """One shot has none, with views that differ by float32's rounding either."""
    task = make_task(shots=1)
    if count:
        views = task.train.features * (1 + torch.finfo().eps * torch.arange(count)[:, None, None])
        task = dataclasses.replace(task, train=dataclasses.replace(task.train, views=views))
    f = task.test.features
    for a in CANDIDATES:
        model = build(task, a)
        assert not model.parts(f)[1].any()
        assert torch.equal(model(f), ZeroShot(task.text_features, task.logit_scale)(f))
    assert build(with_views(task, 2), 1.0).parts(f)[1].any()


def test_at_a_zero_it_is_zero_shot():
    task = make_task()
    f, zero_shot = task.test.features, ZeroShot(task.text_features, task.logit_scale)
    assert torch.equal(build(task, 0.0)(f), zero_shot(f))
    assert not torch.equal(build(task, 100.0)(f).argmax(1), zero_shot(f).argmax(1))


def test_float32_would_lose_directions():
    """One dominant direction and many vectors: the small eigenvalues are 1 / n of the largest, below D eps."""
    n, width = 24000, 512
    x = 0.002 * unit_rows(n, width, seed=1)
    x[:, 0] += torch.linspace(-1, 1, n)
    labels = torch.arange(n) % 4
    weight, bias = discriminant(Split(x, labels), 4)
    expected = by_formula(x.numpy(), labels.numpy(), 4)
    assert np.allclose(weight, expected[0], rtol=1e-6, atol=1e-6 * np.abs(expected[0]).max())
    assert np.allclose(bias, expected[1], rtol=1e-6, atol=1e-9)
    mu = torch.stack([x[labels == k].mean(0) for k in range(4)])
    s = (x - mu[labels]).T.cov()
    p = width * torch.linalg.pinv((n - 1) * s + s.trace() * torch.eye(width))
    assert float((mu @ p).abs().max()) < 0.01 * np.abs(expected[0]).max()  # what the authors' precision gives here


def test_what_cannot_be_fitted_is_refused():
    task = make_task()
    with pytest.raises(CcliError, match="class 4 has no training images"):
        build(with_labels(task, [0, 0, 1, 2, 3, 5]), 1.0)
    task.train.features[3, 2] = float("nan")
    with pytest.raises(CcliError, match="not finite"):
        build(task, 1.0)


def test_a_head_comes_back_out_of_its_state():
    task = make_task()
    model = build(task, 0.01)
    copy = from_state({key: value.clone() for key, value in model.state_dict().items()})
    assert isinstance(copy, GDA) and torch.equal(copy(task.test.features), model(task.test.features))
    assert copy.state_dict().keys() == model.state_dict().keys()


def test_images_to_choose_and_test_on_do_not_reach_the_fit():
    task = make_task()
    f, clean = task.test.features, build(task, 1.0)

    def poisoned(split):
        return dataclasses.replace(split, features=torch.full_like(split.features, float("nan")))

    logits = build(dataclasses.replace(task, val=poisoned(task.val), test=poisoned(task.test)), 1.0)(f)
    assert torch.isfinite(logits).all() and torch.equal(logits, clean(f))


def test_candidates():
    assert CANDIDATES == (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
