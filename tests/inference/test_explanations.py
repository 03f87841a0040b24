import numpy as np
import pytest
import torch
from helpers import make_task, unit_rows

from ccli.concepts import representation as representations
from ccli.concepts.discovery import concept_vectors
from ccli.concepts.distinctiveness import distinctiveness
from ccli.concepts.representation import centred_rows
from ccli.inference.classifier import Classifier
from ccli.inference.explanations import explain
from ccli.methods.ccli import CcliSettings, describe
from ccli.methods.ccli import build as build_ccli
from ccli.methods.concept_inference import build


def head_and_rows(kind="space", network="convex", source="visual", distinctive=1.0, class_axes=True):
    """A head of 3 classes and what its concepts' rows are."""
    task = make_task()
    concepts = concept_vectors(source, task.concept_features, task.train.features, 3, 0)
    r = representations.build(kind, concepts, task, 3.0, class_axes, distinctive)
    head = build(r, task, network=network, hidden=16, penalty=0.3, temperature=0.5, alpha=0.7, seed=0)
    weights = distinctiveness(concepts.judges, task) ** distinctive if distinctive and len(concepts.vectors) else None
    return head, centred_rows(concepts.vectors, weights) if kind == "space" else concepts.vectors, task


def directions(task, count, seed=0):
    return torch.randn(count, task.num_classes, generator=torch.Generator().manual_seed(seed))


def close(a, b, atol=1e-4):
    assert np.allclose(np.asarray(a), np.asarray(b), atol=atol, rtol=1e-4), (a, b)


@pytest.mark.parametrize("network", ["convex", "mlp"])
@pytest.mark.parametrize("kind", ["space", "plain", "standardised", "affinity"])
def test_parts_add_up_to_the_logits_that_the_head_gives(kind, network):
    head, rows, task = head_and_rows(kind, network)
    f = task.test.features
    for n in range(task.num_classes):
        parts = explain(head, rows, f, torch.eye(task.num_classes)[[n]].expand(len(f), -1))
        assert torch.equal(parts.total, head(f)[:, n].double())
        summed = parts.zero_shot + parts.class_texts.sum(1) + parts.concepts.sum(1) + parts.constant
        close(summed, parts.total, 1e-12)
        close(parts.zero_shot, head.parts(f)[0][:, n].detach())
        assert parts.concepts.shape == parts.cosines.shape == (len(f), len(rows))


@pytest.mark.parametrize("class_axes, source", [(True, "visual"), (False, "visual"), (True, "none")])
def test_parts_in_a_space_against_the_pseudo_inverse(class_axes, source):
    head, rows, task = head_and_rows(source=source, class_axes=class_axes)
    f, direction = task.test.features, directions(task, len(task.test.features))
    parts = explain(head, rows, f, direction)
    space, moved = head.representation, (f - head.representation.mean).double().numpy()
    groups = [centred_rows(task.text_features)] * class_axes + [rows] * (source != "none")
    found, start = [], 0
    for x, width in zip(groups, space.widths.tolist()):
        p = space.projection[:, start : start + width].double().numpy()
        b = head.network.weight[:, start : start + width].detach().double().numpy()
        x = x.double().numpy()
        length = np.linalg.norm(moved @ p, axis=1, keepdims=True) * len(groups) ** 0.5
        share = direction.double().numpy() @ b / length
        found.append(0.7 * (moved @ x.T) * (share @ (np.linalg.pinv(x.T, rcond=1e-5) @ p).T))
        start += width
    if class_axes:
        close(parts.class_texts, found.pop(0))
    if source != "none":
        close(parts.concepts, found.pop(0))
        lengths = np.linalg.norm(moved, axis=1)[:, None] * np.linalg.norm(rows.double().numpy(), axis=1)
        close(parts.cosines, moved @ rows.double().numpy().T / lengths.clip(1e-12))
    close(parts.constant, np.zeros(len(f)))  # one layer without bias


@pytest.mark.parametrize("class_names", [True, False])
def test_a_sparse_answer_is_zero_shot_and_few_concepts(class_names):
    task = make_task()
    kind = "space" if class_names else "cosine"
    settings = CcliSettings(network="sparse", representation=kind, class_names=class_names, concepts_per_class=2)
    head = build_ccli(task, settings, 0)
    concepts = describe(head, task, settings, [""] * len(task.train))
    run = Classifier(head, "CCLI", task.classnames, 32, concepts=concepts, prototypes=task.test.features[:6])
    logits, f = run.logits(task.test.features), task.test.features
    assert run.sparse and len(concepts.names) > 4
    for row, why in zip(logits, run.explain(f, 1, 1)):
        label = int(row.argmax())
        assert why.zero_shot + sum(one.part for one in why.concepts) == pytest.approx(float(row[label]), abs=1e-5)
        assert len(why.concepts) == int((head.network.weight[label] != 0).sum()) <= 2
        assert why.others == why.class_texts == 0 and abs(why.constant) < 1e-5
        assert (why.zero_shot == 0) is not class_names
    one, two = (run.explain_class("class 1", against) for against in ("", "class 2"))
    assert one.total == pytest.approx(float(run.logits(run.prototypes)[1, 1]), abs=1e-5) and len(one.concepts) <= 2
    assert two.zero_shot + sum(one.part for one in two.concepts) == pytest.approx(two.total, abs=1e-5)
    assert 2 < len(two.concepts) <= 4


def test_a_hidden_layer_leaves_its_biases_to_the_constant():
    head, rows, task = head_and_rows("plain", "mlp")
    f, direction = task.test.features, directions(task, len(task.test.features))
    first, _, second = (layer for layer in head.network)
    r = f @ rows.T
    on = (r @ first.weight.T + first.bias > 0).float()
    constant = 0.7 * (direction * ((on * first.bias) @ second.weight.T + second.bias)).sum(1)
    parts = explain(head, rows, f, direction)
    close(parts.constant, constant.detach())
    # each concept's part: what the output loses without it, as long as the same units are on
    without = (on * (r @ first.weight.T - r[:, [2]] * first.weight[:, 2])) @ second.weight.T
    with_it = (on * (r @ first.weight.T)) @ second.weight.T
    close(parts.concepts[:, 2], (0.7 * direction * (with_it - without)).sum(1).detach())


def test_a_concept_that_the_image_has_and_the_class_needs_speaks_for_it():
    """Concepts are the axes; the class's weight lies on the first, and so does the image."""
    task = make_task(concepts=16)
    vectors = torch.eye(task.train.features.shape[1])
    from ccli.concepts.discovery import ConceptVectors

    r = representations.build("plain", ConceptVectors(vectors, (vectors,)), task)
    head = build(r, task, network="mlp", hidden=4, penalty=1, temperature=1, alpha=2.0, seed=0)
    head.network = torch.nn.Linear(len(vectors), task.num_classes, bias=False)
    with torch.no_grad():
        head.network.weight.zero_()[1, 0] = 3.0
    parts = explain(head, vectors, vectors[:1], torch.eye(task.num_classes)[[1]])
    assert parts.concepts[0].tolist() == [6.0] + [0.0] * (len(vectors) - 1) and parts.constant.abs() < 1e-6


def test_explaining_leaves_the_head_as_it_was():
    head, rows, task = head_and_rows("affinity", "mlp")
    before = {name: x.clone() for name, x in head.state_dict().items()}
    explain(head, rows, unit_rows(3, rows.shape[1]), directions(task, 3))
    assert all(torch.equal(x, before[name]) and x.dtype == before[name].dtype for name, x in head.state_dict().items())
