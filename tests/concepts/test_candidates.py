"""Text concepts and their images: discovery on both sides, near-duplicates, and how true a name is."""

from dataclasses import replace

import pytest
import torch
from helpers import make_task
from torch.nn import functional as F

from ccli.concepts.candidates import candidates, centred_images, cross_modal, name_ranks, text_concepts
from ccli.concepts.duplicates import leaders
from ccli.concepts.gallery import CLASS_NAME, NAMED, Concepts
from ccli.concepts.representation import centred_rows


def test_a_visual_concept_is_the_mean_of_the_images_that_answer_to_both_of_its_sides():
    task = make_task()
    text, x = centred_rows(task.concept_features), centred_images(task)
    sizes = (3, 1, len(x) + 1)
    for size, (means, picks) in zip(sizes, cross_modal(text, x, sizes), strict=True):
        for t, mean, rows in zip(text, means, picks.tolist()):
            first = sorted(range(len(x)), key=lambda j: -float(t @ x[j]))[:size]
            both = F.normalize(F.normalize(x[first].mean(0), dim=0) + t, dim=0)
            assert sorted(range(len(x)), key=lambda j: -float(both @ x[j]))[:size] == rows
            assert torch.allclose(mean, F.normalize(x[rows].mean(0), dim=0), atol=1e-6)


def test_near_duplicates_stand_behind_the_first_in_order():
    base = F.normalize(torch.tensor([[1.0, 0, 0], [0.95, 0.3, 0], [0, 1, 0], [0.9, 0.4, 0.1], [0, 0, 1]]), dim=1)
    far = base.clone()
    far[3] = torch.tensor([0.0, 0, 1])  # alike in words alone
    order = torch.tensor([1, 0, 2, 3, 4])
    assert leaders(base, base, order).tolist() == [1, 1, 2, 1, 4]
    assert leaders(base, far, order).tolist() == [1, 1, 2, 3, 4]
    assert leaders(base, base, order, bound=0.9999).tolist() == [0, 1, 2, 3, 4]


def test_the_rank_of_a_name_counts_the_words_that_fit_its_images_better():
    text, images = torch.eye(3), F.normalize(torch.tensor([[1.0, 0, 0], [0.9, 0.5, 0.1], [0.3, 0.2, 0.1]]), dim=1)
    assert name_ranks(text, images, text).tolist() == [0, 1, 2]


def test_class_names_are_concepts_unless_they_are_to_say_nothing():
    task = make_task()
    found, without = text_concepts(task, True), text_concepts(task, False)
    count = len(without.names)
    assert found.names == without.names + task.classnames
    assert set(found.kinds[count:]) == {CLASS_NAME} and CLASS_NAME not in without.kinds
    assert torch.equal(found.features[count:], centred_rows(task.text_features))


def test_a_concept_written_twice_is_one_concept_with_a_synonym():
    task = make_task()
    first = task.concept_features[:1]
    task = replace(
        task, concepts=("a", "b", *task.concepts[1:]),
        concept_features=torch.cat([first, first, task.concept_features[1:]]),
    )  # fmt: skip
    found = text_concepts(task, False)
    together = [{name, *others} for name, others in zip(found.names, found.synonyms)]
    assert any({"a", "b"} <= group for group in together)
    assert sorted(name for group in together for name in group) == sorted(task.concepts)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_candidates_mix_both_sides_in_every_size(share):
    task = make_task()
    text = text_concepts(task, True)
    found = candidates("visual", text, task, share, (1, 3), 0)
    count = len(text.names)
    assert len(found.vectors) == (count if share == 1 else 2 * count)
    x = centred_images(task)
    for vector, k, rows in zip(found.vectors, found.concepts.tolist(), found.picks):
        visual = F.normalize(x[rows].mean(0), dim=0)
        mixed = F.normalize((1 - share) * visual + share * text.features[k], dim=0)
        assert torch.allclose(vector, mixed, atol=1e-6)


def test_a_name_that_its_images_do_not_bear_out_is_a_likeness():
    concepts = Concepts(
        ("red", "wooden", "husky"), ("colour", "material", CLASS_NAME), torch.eye(3), torch.ones(3), [[], [], []], [],
        [], [0, NAMED, 0], [[], [], []],
    )  # fmt: skip
    assert [concepts.title(k) for k in range(3)] == ["red", "looks like wooden", "looks like husky"]
