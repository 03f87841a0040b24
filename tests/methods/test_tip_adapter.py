import dataclasses
import math
import weakref

import pytest
import torch
from helpers import make_task, unit_rows
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from ccli.errors import CcliError
from ccli.features.task import Split
from ccli.methods import tip_adapter
from ccli.methods.tip_adapter import CONSTANTS, TipAdapter, build, choose, constants, from_state, grid, search
from ccli.methods.zero_shot import ZeroShot


def with_views(task, norms=None):
    views = torch.stack([task.train.features, unit_rows(*task.train.features.shape, seed=3)])
    return dataclasses.replace(task, train=Split(task.train.features, task.train.labels, views, norms))


def test_logits_by_hand():
    keys = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    model = TipAdapter(keys, torch.tensor([1, 0, 1]), text, 10.0, alpha=2.0, beta=3.0)
    f = torch.tensor([[0.6, 0.8]])
    zero_shot, affinity = model.parts(f)
    assert torch.allclose(zero_shot, torch.tensor([[6.0, 8.0, 10.0]]))
    assert torch.allclose(affinity, torch.tensor([[0.6, 0.96, 0.8]]))
    # distances .4, .04, .2; the first and last key vote for class 1, nothing for class 2
    by_hand = [6 + 2 * math.exp(-0.12), 8 + 2 * (math.exp(-1.2) + math.exp(-0.6)), 10.0]
    assert torch.allclose(model(f), torch.tensor([by_hand]), atol=1e-5)
    model.beta.zero_()  # votes are counts
    assert torch.allclose(model(f), torch.tensor([[8.0, 12.0, 10.0]]))


@pytest.mark.parametrize("counts", [(3, 3, 3), (1, 4, 0, 2)])
def test_votes_are_the_product_with_one_hot_values(counts):
    """Classes of any size, keys in any order; forward and gradient."""
    n, generator = sum(counts), torch.Generator().manual_seed(0)
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))[torch.randperm(n, generator=generator)]
    keys, f = unit_rows(n, 8, seed=1), unit_rows(5, 8, seed=2)
    text = unit_rows(len(counts), 8, seed=3)
    model = TipAdapter(keys, labels, text, 10.0, alpha=1.5, beta=2.0, trainable=True)
    by_hand = keys.clone().requires_grad_()
    logits = 10 * f @ text.T + 1.5 * torch.exp(-2 * (1 - f @ by_hand.T)) @ F.one_hot(labels, len(counts)).float()
    assert torch.allclose(model(f), logits, atol=1e-5)
    weights = unit_rows(5, len(counts), seed=4)
    (model(f) * weights).sum().backward()
    (logits * weights).sum().backward()
    assert torch.allclose(model.keys.grad, by_hand.grad, atol=1e-6)


def test_at_alpha_zero_it_is_zero_shot():
    task = make_task()
    f, zero_shot = task.test.features, ZeroShot(task.text_features, task.logit_scale)
    assert torch.equal(build(task, 0.0, 5.0, False)(f), zero_shot(f))
    assert not torch.equal(build(task, 3.0, 5.0, False)(f).argmax(1), zero_shot(f).argmax(1))


def test_keys_are_means_of_raw_views():
    task = make_task()
    n = len(task.train)
    assert torch.allclose(build(task, 1.0, 1.0, False).keys, task.train.features)
    viewed = with_views(task)
    plain = F.normalize(viewed.train.views[0] + viewed.train.views[1], dim=-1)
    assert torch.allclose(build(viewed, 1.0, 1.0, False).keys, plain, atol=1e-6)
    norms = torch.stack([torch.linspace(1, 3, n), torch.linspace(9, 4, n)])
    raw = [viewed.train.views[0, i] * norms[0, i] + viewed.train.views[1, i] * norms[1, i] for i in range(n)]
    keys = build(with_views(task, norms), 1.0, 1.0, False).keys
    assert torch.allclose(keys, torch.stack([r / r.norm() for r in raw]), atol=1e-6)
    assert not torch.allclose(keys, plain, atol=1e-2)


def test_keys_without_a_direction_are_refused():
    task = make_task()
    views = torch.stack([task.train.features, -task.train.features])
    cancelled = dataclasses.replace(task, train=dataclasses.replace(task.train, views=views))
    with pytest.raises(CcliError, match="no direction"):
        build(cancelled, 1.0, 1.0, False)


@pytest.mark.parametrize("trainable", [False, True])
def test_only_the_keys_of_f_are_trainable(trainable):
    model = build(make_task(), 1.0, 1.0, trainable)
    assert [name for name, _ in model.named_parameters()] == (["keys"] if trainable else [])
    assert set(model.state_dict()) == {"keys", "labels", "text_features", "logit_scale", "alpha", "beta"}


@pytest.mark.parametrize("trainable", [False, True])
def test_a_head_comes_back_out_of_its_state(trainable):
    task = make_task(shots=3)
    model = build(task, 1.17, 5.3, trainable)
    copy = from_state({key: value.clone() for key, value in model.state_dict().items()})
    assert torch.equal(copy(task.test.features), model(task.test.features))
    assert copy.state_dict().keys() == model.state_dict().keys()
    assert not list(copy.parameters())


def test_the_first_step_on_the_keys_by_hand():
    """AdamW as the authors have it (lr 1e-3, eps 1e-4, weight decay 0.01), on the cross-entropy of a batch.

    With p = softmax(logits) and c_j the label of key j, d logits[b, n] / d k_j is alpha beta e_bj f_b at n = c_j and 0
    elsewhere, e_bj = exp(-beta (1 - f_b k_j)); so the gradient is g_j = 1/B sum_b (p[b, c_j] - [y_b = c_j]) alpha beta
    e_bj f_b. At the first step AdamW's corrected moments are g and g^2: k (1 - lr wd) - lr g / (|g| + eps).
    """
    task = make_task(shots=2, width=16)
    alpha, beta, f, labels = 1.17, 1.5, unit_rows(7, 16, seed=8), torch.tensor([0, 1, 2, 3, 4, 5, 0])
    model = build(task, alpha, beta, True)
    keys = model.keys.detach().clone()
    classes = task.train.labels
    p = model(f).detach().softmax(1)
    gradient = torch.zeros_like(keys)
    for j in range(len(keys)):
        for b in range(len(f)):
            e = math.exp(-beta * (1 - float(f[b] @ keys[j])))
            residual = float(p[b, classes[j]]) - float(labels[b] == classes[j])
            gradient[j] += residual * alpha * beta * e * f[b] / len(f)
    optim = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-4, weight_decay=0.01)
    F.cross_entropy(model(f), labels).backward()
    assert torch.allclose(model.keys.grad, gradient, atol=1e-6)
    optim.step()
    stepped = keys * (1 - 1e-3 * 0.01) - 1e-3 * gradient / (gradient.abs() + 1e-4)
    assert torch.allclose(model.keys.detach(), stepped, atol=1e-6, rtol=0)
    assert float((stepped - keys).abs().max()) > 5e-4


def test_constants():
    assert len(CONSTANTS) == 11
    assert constants("oxford_flowers") == (10, 50, 50, 20)
    assert constants("eurosat").epochs == 100 and constants("dtd").epochs == 20
    for other in ("imagenet_a", "feature_bundle"):
        assert constants(other) == constants("imagenet") == (1.17, 7, 3, 20)


def test_grid():
    betas, alphas = grid(7, 3)
    assert (len(betas), len(alphas)) == (200, 20)
    assert betas[:2] == pytest.approx((0.1, 0.1345)) and betas[-1] == pytest.approx(7 - 0.0345)
    assert alphas[:2] == pytest.approx((0.1, 0.245)) and alphas[-1] == pytest.approx(3 - 0.145)
    assert grid(1.1, 2.1, (2, 4)) == (pytest.approx((0.1, 0.6)), pytest.approx((0.1, 0.6, 1.1, 1.6)))


@pytest.mark.parametrize("chunk", [1, 1500, tip_adapter.CHUNK])
def test_search_is_the_naive_loop(chunk):
    """Two heads of different cache sizes, as in cross-validation; one image at a time, a few, or all at once."""
    tasks = [make_task(shots=3), with_views(make_task(shots=5))]
    pairs = [(build(task, 0.3, 0.2, False), split) for task in tasks for split in (task.val, task.test)]
    betas, alphas = grid(9, 12, (7, 5))
    naive = torch.zeros(7, 5, dtype=torch.long)
    for i, beta in enumerate(betas):
        for j, alpha in enumerate(alphas):
            for head, split in pairs:
                model = TipAdapter(head.keys, head.labels, head.text_features, 20.0, alpha, beta)
                naive[i, j] += (model(split.features).argmax(1) == split.labels).sum()
    assert torch.equal(search(pairs, betas, alphas, chunk), naive)
    assert len(naive.unique()) > 5
    assert all(float(head.alpha) == pytest.approx(0.3) and float(head.beta) == pytest.approx(0.2) for head, _ in pairs)


def authors_loop(pairs, betas, alphas):
    """search_hp: the whole expression at each point, with one-hot values, an argmax and a count."""
    counts = torch.zeros(len(betas), len(alphas), dtype=torch.long)
    for head, split in pairs:
        values = F.one_hot(head.labels, len(head.text_features)).float()
        zero_shot, affinity = head.parts(split.features)
        for i, beta in enumerate(betas):
            for j, alpha in enumerate(alphas):
                logits = zero_shot + alpha * (torch.exp(-beta * (1 - affinity)) @ values)
                counts[i, j] += (logits.argmax(1) == split.labels).sum()
    return counts


def random_pair(sizes, images, width=16, seed=0):
    """A head with so many keys of each class, in any order, and images: what is right depends on beta and alpha."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    keys, f, text = (unit_rows(n, width, seed=seed + k) for k, n in enumerate((len(labels), images, len(sizes))))
    of_images = torch.randint(len(sizes), (images,), generator=generator)
    return TipAdapter(keys, labels, text, 4.0, 1.0, 1.0), Split(f, of_images)


@pytest.mark.parametrize("chunk", [1, 999, tip_adapter.CHUNK])
@pytest.mark.parametrize(
    ("sizes", "images"), [((3,) * 8, 60), ((1,) * 8, 60), ((5, 0, 2, 9, 0, 1), 60), ((2, 0, 4), 1), ((2,), 5)]
)
def test_search_is_the_authors_loop(sizes, images, chunk):
    """Classes of one size or of any, some without shots, or one alone; one image; chunks that divide nothing."""
    pair, (betas, alphas) = random_pair(sizes, images), grid(6, 15, (9, 6))
    counts = search([pair], betas, alphas, chunk)
    assert torch.equal(counts, authors_loop([pair], betas, alphas))
    assert len(counts.unique()) > 3 or images < 60


@pytest.mark.parametrize("chunk", [1, 400, tip_adapter.CHUNK])
def test_of_classes_that_tie_the_first_answers(chunk):
    """Each class is there twice, with the same text and the same keys: the first of both gets all answers.

    Of numbers +-1/4, so that products are exact, and equal ones equal wherever they are.
    """
    head, split = random_pair((2, 3, 1, 0, 2), 80)
    for x in (head.keys, head.text_features, split.features):
        x.copy_(x.sign() / 4)
    keys, text = head.keys.repeat(2, 1), head.text_features.repeat(2, 1)
    twice = TipAdapter(keys, torch.cat([head.labels, head.labels + 5]), text, 4.0, 1.0, 1.0)
    betas, alphas = grid(6, 15, (9, 6))
    first = search([(twice, split)], betas, alphas, chunk)
    assert torch.equal(first, authors_loop([(twice, split)], betas, alphas)) and first.min() > 0
    assert torch.equal(first, search([(head, split)], betas, alphas))
    assert not search([(twice, Split(split.features, split.labels + 5))], betas, alphas, chunk).any()


class Largest(TorchDispatchMode):
    """How many numbers the largest result of any operation has, views of what it was given aside."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        places = [x.untyped_storage().data_ptr() for x in args if isinstance(x, torch.Tensor)]
        if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in places:
            self.numbers = max(self.numbers, out.numel())
        return out


@pytest.mark.parametrize(
    ("sizes", "images", "chunk"),
    [((4,) * 6, 100, 960), ((300, 1, 1, 0), 20, 960), ((1,) * 50, 30, 1600), ((2,) * 700, 1, 1)],
    ids=["images", "keys", "classes", "one image"],
)
def test_no_array_of_a_search_is_above_the_chunk(sizes, images, chunk):
    """Or, where one image and one beta are above it, than they."""
    pair, (betas, alphas) = random_pair(sizes, images, width=2), grid(9, 12, (10, 8))
    with Largest() as largest:
        counts = search([pair], betas, alphas, chunk)
    table = len(sizes) * max(sizes)  # where each class's keys are, whatever the images
    assert largest.numbers <= max(chunk, sum(sizes), table, counts.numel())


def test_pairs_are_let_go_one_by_one():
    alive = []

    def pairs():
        for seed in range(3):
            head, split = random_pair((2, 2), 5, seed=seed)
            alive.append(weakref.ref(head))
            yield head, split
            del head

    search(pairs(), (1.0,), (1.0, 2.0))
    assert len(alive) == 3 and not any(ref() for ref in alive[:2])


def test_ties_go_nearest_zero_shot():
    betas, alphas = (0.1, 0.2, 0.3), (1.0, 2.0)
    assert choose(torch.tensor([[3, 9], [9, 4], [9, 9]]), betas, alphas) == (0.2, 1.0)
    assert choose(torch.tensor([[3, 9], [8, 4], [7, 9]]), betas, alphas) == (0.1, 2.0)
    assert choose(torch.zeros(3, 2, dtype=torch.long), betas, alphas) == (0.1, 1.0)


def test_images_to_choose_and_test_on_do_not_reach_the_keys():
    task = make_task()
    clean = build(task, 1.0, 1.0, False)(task.test.features)

    def poisoned(split):
        return dataclasses.replace(split, features=torch.full_like(split.features, float("nan")))

    logits = build(dataclasses.replace(task, val=poisoned(task.val), test=poisoned(task.test)), 1.0, 1.0, False)(
        task.test.features
    )
    assert torch.isfinite(logits).all() and torch.equal(logits, clean)
