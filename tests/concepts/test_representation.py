import numpy as np
import pytest
import torch
from helpers import make_task, unit_rows

from ccli.concepts.discovery import concept_vectors
from ccli.concepts.distinctiveness import distinctiveness
from ccli.concepts.representation import ConceptSpace, Similarity, axes, build


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
    """Inner products of images: the mean over groups of their cosines, by the covariance's eigenvectors in float64."""
    parts, ranks = [], []
    for vectors, weights in groups:
        rows = np.asarray(vectors, np.float64) - np.asarray(vectors, np.float64).mean(0)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) * np.asarray(weights, np.float64)[:, None]
        squares, directions = np.linalg.eigh(rows.T @ rows)
        values = np.sqrt(np.clip(squares, 0, None))
        kept = values > 1e-5 * values.max()
        z = (np.asarray(images, np.float64) - np.asarray(training, np.float64).mean(0)) @ directions[:, kept]
        z = z * np.sqrt(values[kept] / values.max())
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        parts.append(z @ z.T)
        ranks.append(int(kept.sum()))
    return sum(parts) / len(parts), ranks


@pytest.mark.parametrize("sizes", [(40,), (5, 40), (5, 3), (4,)])
@pytest.mark.parametrize("weighted", [False, True])
def test_concept_space_against_the_covariance(sizes, weighted):
    training, images = unit_rows(20, 12, seed=8), unit_rows(7, 12, seed=9)
    groups = [(unit_rows(n, 12, seed=k), torch.rand(n) if weighted else torch.ones(n)) for k, n in enumerate(sizes)]
    space = ConceptSpace(
        training.mean(0), [axes(vectors, weights if weighted else None) for vectors, weights in groups]
    )
    z = space(images)
    expected, ranks = reference(groups, training, images)
    assert space.widths.tolist() == ranks and space.width == sum(ranks) and z.shape == (7, space.width)
    assert np.allclose((z @ z.T).numpy(), expected, atol=1e-4)
    assert torch.allclose(z.norm(dim=1), torch.ones(7), atol=1e-5)


def test_axes_by_hand():
    # centred: (1, 1), (-1, -1), (1, -1), (-1, 1); unit rows have the singular values sqrt 2 and sqrt 2
    square = torch.tensor([[2.0, 1.0], [0.0, -1.0], [2.0, -1.0], [0.0, 1.0]])
    assert torch.allclose(axes(square).T @ axes(square), torch.eye(2), atol=1e-5)
    # weights 2 for one diagonal and 1 for the other: singular values 2 sqrt 2 and sqrt 2, so columns 1 and sqrt(1/2)
    found = axes(square, torch.tensor([2.0, 2.0, 1.0, 1.0]))
    assert torch.allclose(found.norm(dim=0), torch.tensor([1.0, 0.5**0.5]), atol=1e-5)
    assert torch.allclose(found[:, 0].abs(), torch.full((2,), 0.5**0.5), atol=1e-5)


def test_directions_that_no_concept_speaks_of_do_not_count():
    concepts = unit_rows(10, 6)
    concepts[:, 4:] = 0
    training, images = unit_rows(20, 6, seed=1), unit_rows(5, 6, seed=2)
    space = ConceptSpace(training.mean(0), [axes(concepts)])
    moved = images.clone()
    moved[:, 4:] += 3.0
    assert torch.allclose(space(images), space(moved), atol=1e-5)


def test_a_space_out_of_its_buffers():
    space = ConceptSpace(unit_rows(1, 6)[0], [axes(unit_rows(3, 6)), axes(unit_rows(10, 6, seed=1))])
    state, images = {name: x.clone() for name, x in space.state_dict().items()}, unit_rows(5, 6, seed=2)
    copy = ConceptSpace.from_buffers(**state)
    assert torch.equal(space(images), copy(images)) and copy.widths.tolist() == [2, 6]
    assert copy.state_dict().keys() == state.keys()


def test_build_puts_class_texts_and_distinctive_concepts_side_by_side():
    task = make_task()
    concepts = concept_vectors("visual", task.concept_features, task.train.features, 3, 0, 0.7)
    weights = distinctiveness(concepts.judges, task)
    mean = task.train.features.mean(0)

    def same(built, groups):
        expected = ConceptSpace(mean, groups)
        assert torch.allclose(built(task.test.features), expected(task.test.features), atol=1e-6)

    texts, plain = axes(task.text_features), axes(concepts.vectors)
    same(build("space", concepts, task), [texts, plain])
    same(build("space", concepts, task, distinctive=2.0), [texts, axes(concepts.vectors, weights**2)])
    same(build("space", concepts, task, class_axes=False), [plain])
    none = concept_vectors("none", task.concept_features, task.train.features, 3, 0)
    same(build("space", none, task, distinctive=1.0), [texts])
    inner = [p @ p.T for p in (plain, axes(concepts.vectors, weights))]
    assert not torch.allclose(*inner, atol=1e-2)  # weights change the space
    similarity = build("plain", concepts, task)
    assert torch.allclose(similarity(task.test.features), task.test.features @ concepts.vectors.T, atol=1e-6)


def test_concepts_without_a_direction_count_nothing():
    one = unit_rows(1, 6)
    assert axes(one).shape == (6, 0) and axes(one.repeat(4, 1)).shape == (6, 0)
    task = make_task(concepts=1)
    concepts = concept_vectors("text", task.concept_features, task.train.features, 3, 0)
    z = build("space", concepts, task, distinctive=1.0)(task.test.features)
    assert torch.isfinite(z).all() and z.shape[1] == task.num_classes - 1
