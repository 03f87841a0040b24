import dataclasses

import numpy as np
import pytest
import torch
from helpers import make_task, unit_rows

from ccli.concepts.distinctiveness import distinctiveness, intraclass_correlation


def by_anova(values, labels):
    """The textbook's sums of squares, class by class."""
    groups = [values[labels == label] for label in sorted(set(labels))]
    total, n = len(values), len(groups)
    ssb = sum(len(g) * (g.mean() - values.mean()) ** 2 for g in groups)
    ssw = sum(((g - g.mean()) ** 2).sum() for g in groups)
    msb, msw = ssb / (n - 1), ssw / (total - n)
    n0 = (total - sum(len(g) ** 2 for g in groups) / total) / (n - 1)
    between = max(0.0, (msb - msw) / n0)
    return between / (between + msw)


def test_by_hand():
    values = torch.tensor([[1.0, 0.0, 5.0], [3.0, 1.0, 5.0], [7.0, 0.0, 5.0], [9.0, 1.0, 5.0]])
    # column 0: means 2 and 8, MSB = 2 (9 + 9) = 36, MSW = 4 / 2 = 2: (36 - 2) / 2 = 17, 17 / 19
    # column 1: equal means: 0; column 2: constant: 0
    found = intraclass_correlation(values, torch.tensor([0, 0, 4, 4]))
    assert torch.allclose(found, torch.tensor([17 / 19, 0.0, 0.0]))


def test_against_the_textbook_with_unequal_classes():
    labels = np.array([2, 0, 0, 1, 1, 1, 1, 2, 0, 5])  # one class of one image
    values = np.random.default_rng(0).normal(size=(10, 6)) + labels[:, None] * np.linspace(0, 2, 6)
    found = intraclass_correlation(torch.tensor(values), torch.tensor(labels))
    expected = [by_anova(values[:, k], labels) for k in range(6)]
    assert np.allclose(found.numpy(), expected) and max(expected) > 0.5
    assert torch.allclose(intraclass_correlation(torch.tensor(values * 3 - 7), torch.tensor(labels)), found)


def test_the_sides_of_a_concept_are_averaged():
    task = make_task()
    sides = task.concept_features, unit_rows(40, 32, seed=9)
    each = [intraclass_correlation(task.train.features @ (side - side.mean(0)).T, task.train.labels) for side in sides]
    assert torch.allclose(distinctiveness(sides, task), (each[0] * each[1]).sqrt(), atol=1e-6)
    assert torch.allclose(distinctiveness(sides[:1], task), each[0], atol=1e-6)
    assert each[0].min() == 0 < each[0].max()


def test_one_image_a_class_leaves_it_to_the_texts():
    task = make_task(shots=1)
    side = task.concept_features - task.concept_features.mean(0)
    spread = np.var((task.text_features @ side.T).numpy(), axis=0)
    assert np.allclose(distinctiveness([task.concept_features], task).numpy(), spread / spread.max(), atol=1e-5)


@pytest.mark.parametrize("shots", [1, 4])
def test_where_nothing_tells_concepts_apart_all_count_the_same(shots):
    task = make_task(shots=shots)
    same = task.concept_features[:1].repeat(5, 1)
    assert distinctiveness([same], task).tolist() == [1.0] * 5
    features = task.train.features[:1].expand(len(task.train), -1)
    one = dataclasses.replace(task, train=dataclasses.replace(task.train, features=features))  # again and again
    assert torch.isfinite(distinctiveness([task.concept_features], one)).all()


def test_a_single_class_is_no_reason_to_fail():
    values = unit_rows(3, 4)
    assert intraclass_correlation(values, torch.zeros(3, dtype=torch.long)).tolist() == [0.0] * 4
