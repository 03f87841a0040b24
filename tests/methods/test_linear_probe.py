import warnings

import numpy as np
import pytest
import torch
from helpers import make_task
from sklearn.linear_model import LogisticRegression

from ccli.errors import CcliError
from ccli.methods import linear_probe
from ccli.methods.linear_probe import LinearProbe, fit, from_state, search


def by_sklearn(split, C):
    model = LogisticRegression(solver="lbfgs", max_iter=1000, C=C)
    return model.fit(split.features.double().numpy(), split.labels.numpy())


@pytest.mark.parametrize("C", [1e-4, 1.0, 1e3])
def test_against_scikit_learn(C):
    task = make_task()
    f, other = task.test.features, by_sklearn(task.train, C)
    model = fit(task.train.features, task.train.labels, C, 6)
    logits = model(f)
    assert logits.shape == (len(f), 6) and logits.dtype == torch.float32
    scores = other.decision_function(f.double().numpy())
    assert np.allclose(logits, scores, rtol=1e-4, atol=1e-4 * np.abs(scores).max())
    assert (logits.argmax(1).numpy() == other.predict(f.double().numpy())).all()
    assert torch.allclose(logits, f @ model.weight.T + model.bias, atol=1e-5)


def test_it_is_the_least_of_the_penalised_loss():
    """At the fit the gradient of sum_i CE_i + ||W||^2 / (2 C) vanishes: C weighs a sum, and the bias is free."""
    task, C = make_task(), 2.0
    model = fit(task.train.features, task.train.labels, C, 6)
    weight, bias = model.weight.double().requires_grad_(), model.bias.double().requires_grad_()
    logits = task.train.features.double() @ weight.T + bias
    loss = torch.nn.functional.cross_entropy(logits, task.train.labels, reduction="sum")
    penalised = loss + weight.square().sum() / (2 * C)
    for gradient in torch.autograd.grad(penalised, (weight, bias)):
        assert float(gradient.abs().max()) < 1e-2  # tol 1e-4 on the mean over 24 images
    assert float(model.weight.abs().max()) > 0.5


def test_two_classes():
    """One row of scikit-learn's becomes two whose difference it is; sigmoid and softmax then agree."""
    task = make_task(classes=2)
    f, other = task.test.features, by_sklearn(task.train, 10.0)
    logits = fit(task.train.features, task.train.labels, 10.0, 2)(f)
    scores, x = other.decision_function(f.double().numpy()), f.double().numpy()
    assert logits.shape == (len(f), 2)
    assert np.allclose(logits[:, 1] - logits[:, 0], scores, atol=1e-4)
    assert np.allclose(logits.softmax(1), other.predict_proba(x), atol=1e-4)
    assert (logits.argmax(1).numpy() == other.predict(x)).all()


def test_longer_features_are_the_same_with_a_smaller_C():
    """W f = (W / s) (s f), and ||W||^2 / (2 C) = ||W / s||^2 / (2 C / s^2)."""
    task = make_task()
    f = task.test.features
    short, long = (fit(s * task.train.features, task.train.labels, 4.0 / s**2, 6) for s in (1.0, 8.0))
    assert torch.allclose(short(f), long(8 * f), atol=2e-2 * float(short(f).abs().max()))


def test_fits_that_do_not_converge_are_silent_and_again_the_same(monkeypatch):
    task = make_task()
    monkeypatch.setattr(linear_probe, "MAX_ITERATIONS", 2)
    with pytest.warns(UserWarning, match="converge"):
        LogisticRegression(max_iter=2, C=1e6).fit(task.train.features.numpy(), task.train.labels.numpy())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        one, two = (fit(task.train.features, task.train.labels, 1e6, 6) for _ in range(2))
    assert not seen
    assert torch.equal(one.weight, two.weight) and torch.equal(one.bias, two.bias)


def test_what_cannot_be_fitted_is_refused():
    features, labels = make_task().train.features, make_task().train.labels
    with pytest.raises(CcliError, match="class 6 has no training images"):
        fit(features, labels, 1.0, 7)
    with pytest.raises(CcliError, match="only one"):
        fit(features, torch.zeros_like(labels), 1.0, 1)
    features[2, 3] = float("inf")
    with pytest.raises(CcliError, match="not finite"):
        fit(features, labels, 1.0, 6)


def visits(score):
    """The exponents visited, rounded, in order, and the one chosen."""
    seen = []
    chosen = search(lambda C: seen.append(float(np.log10(C))) or score(C))
    return seen, float(np.log10(chosen))


def test_the_search_path_by_hand():
    """Nearer 10^1.3 is better: 100 of the seven (0.7 away; 1 is 1.3 away), then eight halvings of [1, 3].

    [1, 3]: left. [1, 2]: left (0.3 : 0.7). [1, 1.5]: right (0.3 : 0.2). [1.25, 1.5]: left (0.05 : 0.2). [1.25, 1.375]:
    left (0.05 : 0.075). [1.25, 1.3125]: right. [1.28125, 1.3125]: right (0.01875 : 0.0125). [1.296875, 1.3125]: left.
    """
    seen, chosen = visits(lambda C: round(-1e6 * abs(np.log10(C) - 1.3)))
    first = [6, 4, 2, 0, -2, -4, -6]
    path = [1, 3, 1.5, 1.25, 1.375, 1.3125, 1.28125, 1.296875]  # 2 is known
    assert seen == pytest.approx(first + path)
    assert chosen == pytest.approx(1.296875)


def test_ties_go_to_the_smallest():
    seen, chosen = visits(lambda C: 5)
    assert chosen == pytest.approx(-7) and len(seen) == 7 + 2 + 6 == len(set(seen))
    seen, chosen = visits(lambda C: 5 if C > 0.5 else 4)  # 1, 100, ... tie; of .1 and 10 the latter, then ties
    assert seen[7:] == pytest.approx([-1, 1] + [2.0**-k for k in range(1, 7)]) and chosen == 0


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_best_of_all_that_were_tried(seed):
    """Few different scores, so that there are ties; a lone peak of the first round is not lost either."""
    generator, known = torch.Generator().manual_seed(seed), {}

    def score(C):
        assert C not in known
        known[C] = int(torch.randint(4 + seed, (), generator=generator))
        return known[C]

    chosen = search(score)
    assert chosen == min(C for C, n in known.items() if n == max(known.values()))
    assert len(known) == 15
    assert search(lambda C: 9 if C == 1 else 3) == 1


def test_a_head_comes_back_out_of_its_state():
    task = make_task()
    model = fit(task.train.features, task.train.labels, 1.0, 6)
    copy = from_state({key: value.clone() for key, value in model.state_dict().items()})
    assert isinstance(copy, LinearProbe) and torch.equal(copy(task.test.features), model(task.test.features))
    assert set(copy.state_dict()) == {"weight", "bias"} and not list(copy.parameters())


def test_images_to_choose_and_test_on_do_not_reach_the_fit():
    task = make_task()
    f, clean = task.test.features.clone(), fit(task.train.features, task.train.labels, 1.0, 6)
    for split in (task.val, task.test):
        split.features.fill_(float("nan"))
    logits = fit(task.train.features, task.train.labels, 1.0, 6)(f)
    assert torch.isfinite(logits).all() and torch.equal(logits, clean(f))
