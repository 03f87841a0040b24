import numpy as np
import pytest
import torch
from helpers import unit_rows

from ccli.concepts.representation import ConceptSpace, Similarity


@pytest.fixture
def small():
    concepts = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]])
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    return concepts, images, torch.tensor([[1.0, 0.6, 0.0], [0.0, 0.8, -1.0]])


def test_plain_similarities_by_hand(small):
    concepts, images, similarities = small
    r = Similarity(concepts, images)
    assert r.width == 3 and torch.allclose(r(images), similarities)


def test_standardised_by_training_statistics(small):
    concepts, images, _ = small
    r = Similarity(concepts, images, "standardised")
    # means (.5, .7, -.5), deviations (.5, .1, .5) over the two images
    assert torch.allclose(r(images), torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]]), atol=1e-5)
    new = torch.tensor([[0.6, 0.8]])  # similarities (.6, 1, -.8)
    assert torch.allclose(r(new), torch.tensor([[0.2, 3.0, -0.6]]), atol=1e-4)


def test_a_concept_without_spread_stays_finite():
    images = unit_rows(1, 4).repeat(3, 1)
    assert torch.isfinite(Similarity(unit_rows(5, 4, seed=1), images, "standardised")(images)).all()


def test_affinity_by_hand(small):
    concepts, images, similarities = small
    r = Similarity(concepts, images, "affinity", beta=2.0)
    assert torch.allclose(r(images), torch.exp(-2 * (1 - similarities)))
    assert torch.allclose(Similarity(concepts, images, "affinity")(images), torch.exp(-5 * (1 - similarities)))


def reference(groups, training, images):
    """Inner products of images in concept space, by the covariance's eigenvectors in float64."""
    centred = [np.asarray(g, dtype=np.float64) for g in groups]
    centred = [g - g.mean(0) for g in centred]
    covariance = sum(g.T @ g / np.sum(g * g) for g in centred)  # each group has trace 1
    squares, axes = np.linalg.eigh(covariance)
    values = np.sqrt(np.clip(squares, 0, None))
    kept = values > 1e-5 * values.max()
    weights = np.sqrt(values[kept] / values.max())
    z = (np.asarray(images, np.float64) - np.asarray(training, np.float64).mean(0)) @ axes[:, kept] * weights
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return z @ z.T, int(kept.sum())


@pytest.mark.parametrize("sizes", [(40,), (5, 40), (5, 3), (4,)])
def test_concept_space_against_the_covariance(sizes):
    groups = [unit_rows(n, 12, seed=k) for k, n in enumerate(sizes)]
    training, images = unit_rows(20, 12, seed=8), unit_rows(7, 12, seed=9)
    space = ConceptSpace(groups, training)
    z = space(images)
    expected, rank = reference(groups, training, images)
    assert space.width == rank == min(12, sum(n - 1 for n in sizes))
    assert z.shape == (7, rank)
    assert np.allclose((z @ z.T).numpy(), expected, atol=1e-4)


def test_groups_weigh_the_same_whatever_their_size_and_spread():
    few, many = unit_rows(5, 12), unit_rows(40, 12, seed=1)
    training, images = unit_rows(20, 12, seed=8), unit_rows(7, 12, seed=9)
    z = ConceptSpace([few, many], training)(images)
    scaled = ConceptSpace([few, 7 * many.repeat(3, 1) + 2], training)(images)
    stacked = ConceptSpace([torch.cat([few, many])], training)(images)
    assert torch.allclose(z @ z.T, scaled @ scaled.T, atol=1e-4)
    assert not torch.allclose(z @ z.T, stacked @ stacked.T, atol=1e-2)


def test_directions_that_no_concept_speaks_of_do_not_count():
    concepts = unit_rows(10, 6)
    concepts[:, 4:] = 0
    training, images = unit_rows(20, 6, seed=1), unit_rows(5, 6, seed=2)
    space = ConceptSpace([concepts], training)
    moved = images.clone()
    moved[:, 4:] += 3.0
    assert torch.allclose(space(images), space(moved), atol=1e-5)


def test_a_space_of_known_buffers():
    space = ConceptSpace([unit_rows(10, 6)], unit_rows(20, 6, seed=1))
    copy, images = ConceptSpace.of(space.mean, space.projection), unit_rows(5, 6, seed=2)
    assert torch.equal(space(images), copy(images)) and copy.width == space.width
    assert copy.state_dict().keys() == space.state_dict().keys()
    copy.mean.zero_()
    assert space.mean.abs().max() > 0  # a copy, not a view
