"""Feature batches: every image once an epoch; order and views are functions of seed and epoch."""

import pytest
import torch

from ccli.features.task import Split
from ccli.fitting.training import FeatureBatches


def make(n=23, views=0):
    """Row k is (0, k), and (v + 1, k) in view v."""
    k = torch.arange(n, dtype=torch.float32)
    rows = torch.stack([torch.stack([torch.full((n,), float(v)), k], 1) for v in range(views + 1)])
    return Split(rows[0], torch.arange(n) % 4, rows[1:] if views else None)


def epoch(batches, number=0):
    """(order of the images, the view of each) of one pass, checked row by row."""
    batches.epoch = number
    order, views = [], []
    for batch in batches:
        assert set(batch) == {"img", "label", "domain", "impath", "index"}
        assert len({len(value) for value in batch.values()}) == 1
        assert batch["img"][:, 1].tolist() == batch["index"].tolist()
        assert batch["label"].tolist() == [k % 4 for k in batch["index"].tolist()]
        order += batch["index"].tolist()
        views += batch["img"][:, 0].int().tolist()
    return order, views


@pytest.mark.parametrize(("n", "size", "sizes"), [(23, 8, [8, 8, 7]), (16, 8, [8, 8]), (3, 8, [3]), (0, 8, [])])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_image_once_and_the_last_batch_is_kept(n, size, sizes, shuffle):
    batches = FeatureBatches(make(n), size, shuffle)
    assert len(batches) == len(sizes)
    assert [len(batch["label"]) for batch in batches] == sizes
    for number in range(3):
        assert sorted(epoch(batches, number)[0]) == list(range(n))


def test_in_order_and_plain_without_shuffling():
    batches = FeatureBatches(make(views=3), 8)
    assert epoch(batches, 0) == epoch(batches, 5) == (list(range(23)), [0] * 23)


@pytest.mark.parametrize("views", [0, 3])
def test_order_and_views_follow_seed_and_epoch_alone(views):
    first = FeatureBatches(make(views=views), 8, shuffle=True, seed=1)
    passes = [epoch(first, number) for number in range(4)]
    resumed = FeatureBatches(make(views=views), 8, shuffle=True, seed=1)
    torch.manual_seed(99)
    torch.rand(7)
    state = torch.get_rng_state()
    assert epoch(resumed, 3) == passes[3] and epoch(resumed, 1) == passes[1]
    assert torch.equal(torch.get_rng_state(), state)  # nor is the global generator used
    # batch size cuts the same order elsewhere
    assert epoch(FeatureBatches(make(views=views), 5, shuffle=True, seed=1), 2) == passes[2]
    others = [epoch(FeatureBatches(make(views=views), 8, shuffle=True, seed=s), e) for s in (2, 3) for e in range(4)]
    orders = [tuple(order) for order, _ in passes + others]
    assert len(set(orders)) == 12 and tuple(range(23)) not in orders


def test_one_of_the_views_is_used_for_each_image():
    batches = FeatureBatches(make(40, views=3), 8, shuffle=True, seed=1)
    seen = {k: set() for k in range(40)}
    for number in range(20):
        order, views = epoch(batches, number)
        assert set(views) == {1, 2, 3}  # all views in every epoch, never the plain image
        for k, view in zip(order, views):
            seen[k].add(view)
    assert all(s == {1, 2, 3} for s in seen.values())
    assert epoch(batches, 0)[1] != epoch(batches, 1)[1]


def test_without_views_the_plain_features_are_used():
    assert epoch(FeatureBatches(make(), 8, shuffle=True))[1] == [0] * 23
