"""The loss of a training step: cross-entropy, a head's own, a trainer's own."""

import torch
from helpers import make_task
from torch.nn import functional as F

from ccli.fitting.training import FeatureBatches, head_loss, train

RATE, PENALTY = 0.5, 0.3


class Ridge(torch.nn.Module):
    """logits = f W^T, with a penalty on W in the loss."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, classes * width).view(classes, width))

    def forward(self, f):
        return f @ self.weight.T

    def loss(self, logits, labels):
        return F.cross_entropy(logits, labels) + PENALTY / 2 * self.weight.square().sum()


def test_a_head_without_a_loss_has_the_cross_entropy():
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    assert torch.equal(head_loss(torch.nn.Linear(1, 2), logits, labels), F.cross_entropy(logits, labels))


def test_two_steps_on_a_penalised_loss_by_hand():
    """W <- W - rate (mean of (p - y) f^T + penalty W), twice on all images."""
    task = make_task()
    f, y = task.train.features, F.one_hot(task.train.labels).float()
    head = Ridge(6, 32)
    w = head.weight.detach().clone()
    batches = FeatureBatches(task.train, len(f))
    train(head, batches, torch.optim.SGD(head.parameters(), lr=RATE), None, epochs=2)
    for _ in range(2):
        residual = (f @ w.T).softmax(1) - y
        w = w - RATE * (residual.T @ f / len(f) + PENALTY * w)
    assert torch.allclose(head.weight, w, atol=1e-6)
    assert not torch.allclose(head.weight, Ridge(6, 32).weight, atol=0.1)


def test_a_loss_that_is_given_stands_in_place_of_the_heads_own():
    task = make_task()
    heads = [Ridge(6, 32), Ridge(6, 32)]
    losses = (head_loss, lambda head, logits, labels: F.cross_entropy(logits, labels))
    for head, loss_of in zip(heads, losses):
        optim = torch.optim.SGD(head.parameters(), lr=RATE)
        train(head, FeatureBatches(task.train, 8), optim, None, epochs=1, loss_of=loss_of)
    assert heads[0].weight.detach().norm() < heads[1].weight.detach().norm()
