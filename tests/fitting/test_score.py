"""What candidates score on held-out images, by chunks of them, against loops over all."""

from types import SimpleNamespace

import pytest
import torch
from helpers import build, bundle_args, bundle_file, make_task
from torch.nn import functional as F

from ccli.features.task import Split
from ccli.fitting import selection, training
from ccli.methods import gda


def of_parts(first, second, labels):
    """A head whose `parts` are given numbers [n, N], chosen by the first feature, and the images of all rows."""

    def parts(f):
        rows = f[:, 0].long()
        seen.append(len(rows))
        return first[rows], second[rows]

    seen = []
    head = SimpleNamespace(parts=parts, text_features=torch.zeros(first.shape[1], 2), seen=seen)
    return head, Split(torch.arange(len(first))[:, None].float(), labels)


def random_parts(n, classes, seed=0, values=None):
    """Numbers of any size, or whole ones of a few, which tie."""
    generator = torch.Generator().manual_seed(seed)
    if values is None:
        first, second = torch.randn(2, n, classes, generator=generator)
    else:
        first, second = torch.randint(values, (2, n, classes), generator=generator).float()
    return first, second, torch.randint(classes, (n,), generator=generator)


@pytest.mark.parametrize("chunk", [1, 70, selection.CHUNK])
@pytest.mark.parametrize("values", [None, 1, 3])
@pytest.mark.parametrize(("n", "classes"), [(200, 7), (1, 7), (30, 1), (90, 2)])
def test_accuracy_of_each_weight_is_that_of_the_loop(n, classes, values, chunk):
    """Of all images of two pairs; with ties, the first of equals answers, as argmax has it."""
    parts = [random_parts(n, classes, 0, values), random_parts(n + 3, classes, 1, values)]
    weights, expected = (0.0, 0.25, 1.0, 3.0, 100.0), []
    for w in weights:
        expected.append(sum(int(((a + w * b).argmax(1) == labels).sum()) for a, b, labels in parts))
    assert selection.score([of_parts(*p) for p in parts], weights, chunk=chunk) == expected


def test_a_weight_may_make_an_image_right_and_wrong_again():
    # ahead of the first class from weight 1 on, of the last up to weight 2; it ties there, at 1 and 2
    first, second = torch.tensor([[1.0, 0.0, -2.0]]), torch.tensor([[0.0, 1.0, 2.0]])
    weights = (0.5, 1.0, 1.5, 2.0, 2.5)
    assert selection.score([of_parts(first, second, torch.tensor([1]))], weights) == [0, 0, 1, 1, 0]


def test_numbers_that_are_not_finite_are_answered_as_argmax_does():
    first, second, labels = random_parts(60, 4)
    first[::3, 1], second[1::3, 2] = float("nan"), float("inf")
    expected = [int(((first + w * second).argmax(1) == labels).sum()) for w in (0.0, 1.0, 2.0)]
    assert selection.score([of_parts(first, second, labels)], (0.0, 1.0, 2.0)) == expected


@pytest.mark.parametrize("chunk", [1, 70, selection.CHUNK])
def test_likelihood_of_each_weight_is_that_of_all_images(chunk):
    """One temperature for all images and pairs, and not one for each chunk."""
    parts = [random_parts(200, 7, 0), random_parts(31, 7, 1)]
    parts = [(a + 2 * F.one_hot(labels, 7), b, labels) for a, b, labels in parts]
    weights, labels = (0.0, 0.25, 1.0, 3.0), torch.cat([labels for *_, labels in parts])
    expected = []
    for w in weights:
        logits = torch.cat([a + w * b for a, b, _ in parts]).double()
        losses = [F.cross_entropy(k * logits, labels, reduction="sum") for k in selection.TEMPERATURES]
        expected.append(-float(min(losses)))
    scores = selection.score([of_parts(*p) for p in parts], weights, "likelihood", chunk)
    assert scores == pytest.approx(expected, rel=1e-12)
    at_zero = selection.log_likelihoods(torch.cat([a for a, *_ in parts]), labels).max()
    assert float(at_zero) == pytest.approx(expected[0], rel=1e-12)


def test_images_go_by_chunks():
    head, split = of_parts(*random_parts(25, 6))
    selection.score([(head, split)], (0.0, 1.0), "likelihood", chunk=60)  # 6 classes
    assert head.seen == [10, 10, 5]
    head.seen.clear()
    wide = Split(F.pad(split.features, (0, 29)), split.labels)
    selection.score([(head, wide)], (0.0, 1.0), chunk=60)  # 30 features
    assert head.seen == [2] * 12 + [1]


def test_a_split_is_counted_by_chunks(monkeypatch):
    monkeypatch.setattr(training, "IMAGES", 10)
    task, seen = make_task(), []
    head = gda.build(task, 1.0)
    head.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    expected = int((head(task.test.features).argmax(1) == task.test.labels).sum())
    seen.clear()
    assert training.correct(head, task.test) == expected
    assert max(seen) == 10 and sum(seen) == len(task.test)


@pytest.mark.parametrize("val", [0, 8])
def test_gdas_weight_recounted(tmp_path, val):
    args = bundle_args(bundle_file(tmp_path, val=val), tmp_path / "run", "TEST.NO_TEST", True, trainer="GDA")
    trainer = build(*args)
    trainer.train()
    task, counts = trainer.task, [0] * len(gda.CANDIDATES)
    folds = selection.splits("cross-validation", task, 1)
    pairs = [(trainer.head, task.val)] if val else [(gda.build(a, 1.0), b) for a, b in folds]
    for head, split in pairs:
        for k, a in enumerate(gda.CANDIDATES):
            head.a.fill_(a)
            counts[k] += int((head(split.features).argmax(1) == split.labels).sum())
    best = min(a for a, count in zip(gda.CANDIDATES, counts) if count == max(counts))
    assert trainer.hyper_parameters == {"a": best} and len(set(counts)) > 1
