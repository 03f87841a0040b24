import dataclasses

import pytest
import torch
from helpers import make_task
from torch import nn

from ccli.methods.clip_adapter import ClipAdapter, bottleneck, build, from_state
from ccli.methods.zero_shot import ZeroShot


def head_by_hand(ratio=0.2):
    """D = 4, one hidden unit: f = (.6, .8, 0, 0) makes it relu(.6 + .8) = 1.4, then A(f) = relu(1.4 (1, -1, .5, 0))."""
    adapter = bottleneck(4, 1, seed=0)
    with torch.no_grad():
        adapter[0].weight.copy_(torch.tensor([[1.0, 1.0, -3.0, 2.0]]))
        adapter[2].weight.copy_(torch.tensor([[1.0], [-1.0], [0.5], [0.0]]))
    return ClipAdapter(adapter, torch.eye(4)[:3], 10.0, ratio)


@torch.no_grad()
def test_blended_logits_by_hand():
    f = torch.tensor([[0.6, 0.8, 0.0, 0.0]])
    assert torch.allclose(head_by_hand().adapter(f), torch.tensor([[1.4, 0.0, 0.7, 0.0]]))
    # .2 (1.4, 0, .7, 0) + .8 (.6, .8, 0, 0) = (.76, .64, .14, 0)
    length = (0.76**2 + 0.64**2 + 0.14**2) ** 0.5
    assert torch.allclose(head_by_hand()(f), torch.tensor([[7.6, 6.4, 1.4]]) / length, atol=1e-5)
    only_adapted = torch.tensor([[14.0, 0.0, 7.0]]) / (1.4**2 + 0.7**2) ** 0.5
    assert torch.allclose(head_by_hand(ratio=1.0)(f), only_adapted, atol=1e-5)


@torch.no_grad()
def test_without_the_adapter_it_is_zero_shot():
    task = make_task()
    zero_shot = ZeroShot(task.text_features, task.logit_scale)(task.test.features)
    assert torch.allclose(build(task, 0.0)(task.test.features), zero_shot, atol=1e-4)
    assert not torch.allclose(build(task, 0.2)(task.test.features), zero_shot, atol=1e-2)


@torch.no_grad()
def test_the_length_of_an_image_feature_does_not_count():
    task = make_task()
    head, f = build(task), task.test.features
    assert torch.allclose(head(7.0 * f), head(f), atol=1e-4)


@torch.no_grad()
def test_a_feature_that_the_adapter_silences_is_finite_at_ratio_1():
    f = torch.tensor([[0.0, 0.0, 1.0, 0.0]])  # the hidden unit is relu(-3)
    assert torch.equal(head_by_hand(ratio=1.0)(f), torch.zeros(1, 3))


def test_only_the_adapter_learns():
    task = make_task()
    head = build(task)
    assert [(name, tuple(p.shape)) for name, p in head.named_parameters()] == [
        ("adapter.0.weight", (8, 32)), ("adapter.2.weight", (32, 8)),
    ]  # fmt: skip
    nn.functional.cross_entropy(head(task.train.features), task.train.labels).backward()
    assert all(p.grad.abs().max() > 0 for p in head.parameters())
    assert not head.text_features.requires_grad


@pytest.mark.parametrize(("reduction", "hidden"), [(1, 32), (4, 8), (5, 6), (64, 1)])
def test_the_hidden_layer_is_a_share_of_the_width(reduction, hidden):
    head = build(make_task(), reduction=reduction)
    assert head.adapter[0].weight.shape == (hidden, 32) and head.adapter[2].weight.shape == (32, hidden)


def test_the_start_depends_on_the_seed_alone():
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    first = bottleneck(12, 3, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.randn(10)
    again, other = bottleneck(12, 3, seed=1), bottleneck(12, 3, seed=2)
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters()):
        assert torch.equal(a, b) and not torch.equal(a, c)
    torch.manual_seed(1)  # PyTorch's own start, layer after layer
    assert torch.equal(first[0].weight, nn.Linear(12, 3, bias=False).weight)
    assert torch.equal(first[2].weight, nn.Linear(3, 12, bias=False).weight)


@torch.no_grad()
def test_a_head_comes_back_out_of_its_state():
    task = make_task()
    head = build(task, 0.3, 8, seed=5)
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
