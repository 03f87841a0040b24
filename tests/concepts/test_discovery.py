import pytest
import torch
from helpers import unit_rows
from torch.nn import functional as F

from ccli.concepts.discovery import SOURCES, concept_vectors, discover, mix, random_means, random_rows


def test_the_mean_of_the_best_images_by_hand():
    features = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])
    concepts = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # similarities: (1, .8, 0, -1) and (.6, .96, .8, -.6)
    vectors, picks = discover(concepts, features, 2)
    assert picks.tolist() == [[0, 1], [1, 2]]  # best first
    expected = torch.tensor([[0.9, 0.3], [0.4, 0.8]])
    assert torch.allclose(vectors, expected / expected.norm(dim=1, keepdim=True), atol=1e-6)


def test_more_images_than_there_are_means_all_of_them():
    features, concepts = unit_rows(3, 5), unit_rows(4, 5, seed=1)
    vectors, picks = discover(concepts, features, 50)
    assert picks.shape == (4, 3) and all(sorted(row) == [0, 1, 2] for row in picks.tolist())
    assert torch.allclose(vectors, F.normalize(features.mean(0), dim=0).expand(4, 5), atol=1e-6)


def test_agrees_with_a_loop_over_many_concepts():
    features, concepts = unit_rows(30, 16), unit_rows(1100, 16, seed=1)  # several chunks
    vectors, picks = discover(concepts, features, 3)
    for i in (0, 511, 512, 1099):
        scores = [float(torch.dot(concepts[i], f)) for f in features]
        best = sorted(range(30), key=lambda j: -scores[j])[:3]
        assert picks[i].tolist() == best
        assert torch.allclose(vectors[i], F.normalize(sum(features[j] for j in best), dim=0), atol=1e-6)


def test_a_mix_by_hand():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    concepts = torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    # centred, unit: (1, -1)/sqrt 2 and its negative; (0, 1) and (0, -1)
    mixed = mix(vectors, concepts, 0.25)
    first = torch.tensor([0.75 / 2**0.5, -0.75 / 2**0.5 + 0.25])
    assert torch.allclose(mixed, torch.stack([first, -first]) / first.norm(), atol=1e-6)


def test_the_ends_of_a_mix():
    vectors, concepts = unit_rows(6, 8), unit_rows(6, 8, seed=1)
    assert mix(vectors, concepts, 0) is vectors
    assert torch.allclose(mix(vectors, concepts, 1.0), F.normalize(concepts - concepts.mean(0), dim=1), atol=1e-6)
    shifted = mix(vectors + 3, concepts - 2, 0.5)  # the gap between image and text features does not enter
    assert torch.allclose(shifted, mix(vectors, concepts, 0.5), atol=1e-5)


def test_visual_and_text_sources():
    features, concepts = unit_rows(10, 8), unit_rows(5, 8, seed=1)
    found, _ = discover(concepts, features, 3)
    vectors, judges = concept_vectors("visual", concepts, features, 3, seed=0)
    assert torch.equal(vectors, found) and torch.equal(judges[0], found) and torch.equal(judges[1], concepts)
    vectors, judges = concept_vectors("visual", concepts, features, 3, seed=0, text_share=0.8)
    assert torch.equal(vectors, mix(found, concepts, 0.8)) and torch.equal(judges[0], found) and len(judges) == 2
    vectors, judges = concept_vectors("text", concepts, features, 3, seed=0, text_share=0.8)
    assert torch.equal(vectors, concepts) and len(judges) == 1 and torch.equal(judges[0], concepts)


def test_random_vectors_depend_on_the_seed_alone():
    features, concepts = unit_rows(10, 8), unit_rows(200, 8, seed=1)
    first, judges = concept_vectors("random", concepts, features, 3, seed=4)
    again, _ = concept_vectors("random", unit_rows(200, 8, seed=7), unit_rows(3, 8), 1, seed=4)
    other, _ = concept_vectors("random", concepts, features, 3, seed=5, text_share=1.0)  # nothing of the texts
    assert len(judges) == 1 and torch.equal(judges[0], first)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.allclose(first.norm(dim=1), torch.ones(200), atol=1e-6)
    assert first.mean(0).abs().max() < 0.15  # no preferred direction: 200 unit rows in 8 dimensions


def test_means_of_random_images():
    features, concepts = unit_rows(10, 8), unit_rows(200, 8, seed=1)
    vectors, order = random_means(200, features, 3, torch.Generator().manual_seed(4))
    found, judges = concept_vectors("images", concepts, features, 3, seed=4)
    assert torch.equal(found, vectors) and torch.equal(judges[0], vectors) and torch.equal(judges[1], concepts)
    assert order.shape == (200, 3) and all(len(set(row)) == 3 for row in order.tolist())
    assert torch.allclose(vectors, F.normalize(features[order].mean(1), dim=1), atol=1e-6)
    counts = torch.bincount(order.flatten(), minlength=10)
    assert counts.min() > 30 and counts.max() < 90  # 60 expected each
    _, all_of_them = random_means(200, features, 99, torch.Generator())
    assert all_of_them.shape == (200, 10)


def test_the_features_themselves():
    features, concepts = unit_rows(10, 8), unit_rows(5, 8, seed=1)
    axes, _ = concept_vectors("features", concepts, features, 3, seed=0)
    assert torch.equal(features @ axes.T, features)


def test_an_unknown_source_is_refused():
    assert SOURCES == ("visual", "text", "random", "images", "features", "none")
    assert concept_vectors("none", unit_rows(2, 4), unit_rows(2, 4), 1, seed=0).vectors.shape == (0, 4)
    with pytest.raises(ValueError, match=r"'visul'.*visual, text"):
        concept_vectors("visul", unit_rows(2, 4), unit_rows(2, 4), 1, seed=0)


def test_sources_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    for source in SOURCES:
        concept_vectors(source, unit_rows(4, 8), unit_rows(6, 8, seed=1), 2, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_part_of_the_concepts():
    assert random_rows(7, 0).tolist() == random_rows(7, 7).tolist() == random_rows(7, 99).tolist() == list(range(7))
    few, more = random_rows(100, 10).tolist(), random_rows(100, 30).tolist()
    assert len(set(few)) == 10 and few == sorted(few) and few != list(range(10))
    assert set(few) < set(more)  # so that numbers of concepts can be compared
