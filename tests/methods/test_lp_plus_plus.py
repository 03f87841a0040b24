import dataclasses

import numpy as np
import pytest
import torch
from helpers import make_task, unit_rows
from scipy.special import softmax
from torch.nn import functional as F

from ccli.features.task import Split
from ccli.methods.lp_plus_plus import LPPlusPlus, fit, from_state, start, step_sizes


def with_train(task, features, labels, views=None):
    return dataclasses.replace(task, train=Split(features, labels, views))


def doubled(task):
    """The same task in float64."""
    task = dataclasses.replace(task, text_features=task.text_features.double())
    return with_train(task, task.train.features.double(), task.train.labels)


@torch.no_grad()
def test_logits_by_hand():
    text, weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0, 1.0], [0.0, -1.0]])
    model = LPPlusPlus(text, weight, torch.tensor([10.0, 20.0]))
    # (.6, .8): W gives (2, -.8), the texts (.6, .8), weighted (6, 16)
    assert torch.allclose(model(torch.tensor([[0.6, 0.8]])), torch.tensor([[8.0, 15.2]]))


def test_step_sizes_by_hand():
    features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    text = torch.tensor([[0.0, 1.0], [0.6, 0.8]])
    # F^T F = [[1.36, .48], [.48, 1.64]]: its largest eigenvalue is 1.5 + sqrt(.14^2 + .48^2) = 2;
    # sums of squared similarities: 0 + .64 + 1 = 1.64 and .36 + 1 + .64 = 2
    assert step_sizes(features, text) == pytest.approx((4 * 3 / 2, 3 / (4 * 2)), rel=1e-6)


@pytest.mark.parametrize("images", [20, 48])  # fewer and more than dimensions
def test_step_sizes_by_numpy(images):
    features, text = unit_rows(images, 32), unit_rows(6, 32, seed=1)
    f, t = features.numpy().astype(np.float64), text.numpy().astype(np.float64)
    by_numpy = 4 * images / np.linalg.eigvalsh(f.T @ f).max(), images / (4 * ((f @ t.T) ** 2).sum(0).max())
    assert step_sizes(features, text) == pytest.approx(by_numpy, rel=1e-5)


def test_the_start_by_hand():
    features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    text = torch.tensor([[0.8, 0.6], [0.0, 1.0], [1.0, 0.0]])
    model = start(features, torch.tensor([0, 0, 1]), text)
    assert torch.allclose(model.weight, torch.tensor([[1.6, 0.8], [0.0, 1.0], [0.0, 0.0]]))  # sums; class 2 has none
    # to their own texts: (.8 + .96) / 2 = .88 and 1, on average .94
    assert torch.allclose(model.alpha, torch.full((3,), 250 * 0.94))


def test_the_first_two_steps_by_numpy():
    task = make_task()
    f, t = (x.numpy().astype(np.float64) for x in (task.train.features, task.text_features))
    of_class = np.eye(6)[task.train.labels.numpy()]
    lr = 4 * 24 / np.linalg.eigvalsh(f.T @ f).max()
    weight = of_class.T @ f
    alpha = np.mean([250 / 4 * (f @ t.T)[4 * k : 4 * k + 4, k].sum() for k in range(6)])

    def gradient(weight):
        return (softmax(f @ weight.T + alpha * f @ t.T, axis=1) - of_class).T @ f / 24

    first = gradient(weight)
    after_one = weight - lr * first
    after_two = after_one - lr * (0.9 * first + gradient(after_one))
    for steps, hand in ((0, weight), (1, after_one), (2, after_two)):
        model = fit(task, steps)
        assert np.allclose(model.weight.numpy(), hand, atol=1e-5)
        assert np.allclose(model.alpha.numpy(), alpha, rtol=1e-6)
    assert np.abs(after_two - weight).max() > 0.1


def test_the_steps_are_those_of_sgd_and_alpha_takes_the_gradients_of_all_steps():
    task = doubled(make_task())
    f, text, labels = task.train.features, task.text_features, task.train.labels
    lr_weight, lr_alpha = step_sizes(f, text)
    begin = start(f, labels, text)
    weight, alpha = begin.weight.clone().requires_grad_(), begin.alpha.clone().requires_grad_()
    optim = torch.optim.SGD([weight], lr_weight, momentum=0.9)
    for step in range(25):
        optim.zero_grad()
        F.cross_entropy(f @ weight.T + alpha * (f @ text.T), labels).backward()  # alpha.grad adds up
        optim.step()
        if step in (9, 19):
            alpha.data -= lr_alpha * alpha.grad
    model = fit(task, 25)
    assert torch.allclose(model.weight, weight, atol=1e-9) and torch.allclose(model.alpha, alpha, atol=1e-9)
    assert (model.alpha - begin.alpha).abs().max() > 1e-3


def test_watch_sees_what_refits_give():
    task, seen = make_task(), {}
    whole = fit(task, 31, lambda step, model: seen.update({step: (model.weight.clone(), model.alpha.clone())}))
    assert list(seen) == list(range(31))
    for step in (0, 8, 9, 10, 30):
        model = fit(task, step + 1)
        assert torch.equal(model.weight, seen[step][0]) and torch.equal(model.alpha, seen[step][1])
    assert torch.equal(whole.weight, seen[30][0])


def test_alpha_moves_at_every_tenth_step_alone():
    alphas = []
    fit(make_task(), 40, lambda step, model: alphas.append(model.alpha.clone()))
    moves = [step for step in range(1, 40) if not torch.equal(alphas[step], alphas[step - 1])]
    assert moves == [9, 19, 29, 39]
    assert len(alphas[8].unique()) == 1 and len(alphas[9].unique()) > 1  # one number at first, then class by class


def test_300_steps_fit_the_shots():
    task, losses = make_task(), []
    labels = task.train.labels
    fit(task, watch=lambda step, model: losses.append(float(F.cross_entropy(model(task.train.features), labels))))
    assert len(losses) == 300 and losses[-1] < 0.01 * losses[0]


def test_the_fit_is_on_the_first_view_where_there_are_views():
    task = make_task()
    views = unit_rows(3, 24, 32, seed=3)
    viewed = fit(with_train(task, task.train.features, task.train.labels, views), 12)
    by_hand = fit(with_train(task, views[0], task.train.labels), 12)
    assert torch.equal(viewed.weight, by_hand.weight) and torch.equal(viewed.alpha, by_hand.alpha)
    assert not torch.allclose(fit(task, 12).weight, by_hand.weight, atol=1e-2)


@pytest.mark.parametrize("sizes", [{"classes": 1}, {"shots": 1}, {"classes": 1, "shots": 1}])
def test_one_class_and_one_image_per_class(sizes):
    task = make_task(**sizes)
    model = fit(task, 20)
    assert torch.isfinite(model(task.test.features)).all()
    if "classes" in sizes:  # nothing to tell apart: no gradient
        assert torch.equal(model.weight, task.train.features.sum(0, keepdim=True))
    else:
        assert torch.equal(model(task.train.features).argmax(1), task.train.labels)


def test_a_class_without_images_is_fitted_beside_the_others():
    task = make_task()
    kept = task.train.labels != 2
    model = fit(with_train(task, task.train.features[kept], task.train.labels[kept]), 20)
    assert model.weight.shape == (6, 32) and torch.isfinite(model(task.test.features)).all()


@pytest.mark.parametrize("part", ["features", "text"])
def test_features_that_are_not_finite_stop_the_fit(part):
    task = make_task()
    broken = (task.train.features if part == "features" else task.text_features).clone()
    broken[0] = float("nan")
    if part == "features":
        task = with_train(task, broken, task.train.labels)
    else:
        task = dataclasses.replace(task, text_features=broken)
    with pytest.raises(FloatingPointError, match="not finite"):
        fit(task)


def test_a_head_comes_back_out_of_its_state():
    task = make_task()
    model = fit(task, 20)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    copy = from_state(state)
    assert torch.equal(copy(task.test.features), model(task.test.features))
    assert copy.state_dict().keys() == state.keys()


def test_validation_and_test_images_are_not_looked_at():
    task = make_task()
    unseen = {
        name: dataclasses.replace(split, features=torch.full_like(split.features, torch.nan))
        for name, split in (("val", task.val), ("test", task.test))
    }
    logits = fit(dataclasses.replace(task, **unseen), 20)(task.test.features)
    assert torch.isfinite(logits).all() and torch.equal(logits, fit(task, 20)(task.test.features))
