import dataclasses

import pytest
import torch
from helpers import make_task
from torch.nn import functional as F

from ccli.methods.task_residual import TaskResidual, build, constants, from_state
from ccli.methods.zero_shot import ZeroShot


def moved(head):
    """The same head with a residual that is not zero."""
    with torch.no_grad():
        head.residual.copy_(torch.randn(head.residual.shape, generator=torch.Generator().manual_seed(1)))
    return head


@torch.no_grad()
def test_logits_by_hand():
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    head = TaskResidual(text, torch.tensor([4.0, 2.0]), 10.0, alpha=0.5)
    head.residual.copy_(torch.tensor([[4.0, 8.0], [3.0, -4.0]]))
    # (4, 0) + .5 (4, 8) = (6, 4); (0, 2) + .5 (3, -4) = (1.5, 0)
    assert torch.allclose(head.weights(), torch.tensor([[6.0 / 52**0.5, 4.0 / 52**0.5], [1.0, 0.0]]))
    f = torch.tensor([[0.6, 0.8]])
    assert torch.allclose(head(f), torch.tensor([[68.0 / 52**0.5, 6.0]]), atol=1e-5)


@pytest.mark.parametrize("norms", [True, False])
@torch.no_grad()
def test_without_a_residual_it_is_zero_shot(norms):
    task = make_task()
    lengths = torch.linspace(5.0, 12.0, task.num_classes) if norms else None
    task = dataclasses.replace(task, logit_scale=1.0, text_norms=lengths)
    zero_shot = ZeroShot(task.text_features, 1.0)(task.test.features)
    assert torch.allclose(build(task)(task.test.features), zero_shot, atol=1e-6, rtol=0)
    assert not torch.allclose(moved(build(task))(task.test.features), zero_shot, atol=1e-2)


def test_the_first_gradient_by_hand_through_the_normalisation():
    task = dataclasses.replace(make_task(), text_norms=torch.linspace(2.0, 7.0, 6))
    head, f, labels = build(task, alpha=0.5), task.train.features, task.train.labels
    F.cross_entropy(head(f), labels).backward()
    w = task.text_features
    error = (20.0 * f @ w.T).softmax(1) - F.one_hot(labels, 6)
    in_w = 20.0 * error.T @ f / len(f)  # the loss's gradient in W'
    across = in_w - (in_w * w).sum(1, keepdim=True) * w  # a unit row only turns
    assert torch.allclose(head.residual.grad, 0.5 * across / task.text_norms[:, None], atol=1e-6)
    assert head.residual.grad.abs().max() > 1e-2
    assert [name for name, _ in head.named_parameters()] == ["residual"]


@torch.no_grad()
def test_a_longer_text_feature_is_turned_less():
    task = make_task()
    turns = []
    for length in (1.0, 10.0):
        head = build(dataclasses.replace(task, text_norms=torch.full((6,), length)))
        turns.append((moved(head).weights() * task.text_features).sum(1))  # cosines
    assert (turns[1] > turns[0]).all()
    ones = build(dataclasses.replace(task, text_norms=None))
    assert torch.equal(ones.text_norms, torch.ones(6)) and torch.allclose(
        (moved(ones).weights() * task.text_features).sum(1), turns[0]
    )


@pytest.mark.parametrize(
    ("name", "alpha", "lr"),
    [
        ("caltech101", 0.5, 2e-3), ("oxford_flowers", 1.0, 2e-3), ("imagenet", 0.5, 2e-4), ("", 0.5, 2e-3),
        ("imagenet (base)", 0.5, 2e-4), ("oxford_flowers (new)", 1.0, 2e-3), ("imagenet_r", 0.5, 2e-3),
    ],
)  # fmt: skip
def test_the_authors_constants(name, alpha, lr):
    assert (constants(name).alpha, constants(name).lr) == (alpha, lr)


@torch.no_grad()
def test_a_head_comes_back_out_of_its_state():
    task = make_task()
    head = moved(build(task, alpha=0.7))
    state = {key: value.clone() for key, value in head.state_dict().items()}
    copy = from_state(state)
    assert torch.equal(copy(task.test.features), head(task.test.features))
    assert copy.state_dict().keys() == state.keys()


@torch.no_grad()
def test_validation_and_test_images_are_not_looked_at():
    task = make_task()
    unseen = {
        name: dataclasses.replace(split, features=torch.full_like(split.features, torch.nan))
        for name, split in (("val", task.val), ("test", task.test))
    }
    head = build(dataclasses.replace(task, **unseen))
    logits = head(task.test.features)
    assert torch.isfinite(logits).all() and torch.equal(logits, build(task)(task.test.features))
