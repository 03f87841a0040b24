"""CCLI's settings, and the head, the weight and the concepts that come of them."""

import copy
import pickle

import pytest
import torch
from helpers import make_task

from ccli.concepts import representation
from ccli.concepts.discovery import concept_vectors
from ccli.concepts.distinctiveness import distinctiveness
from ccli.errors import CcliError, SettingError
from ccli.fitting import selection
from ccli.methods import concept_inference
from ccli.methods.ccli import CcliSettings, build, choose_alpha, describe

METHOD = {
    "text_share": 0.5, "representation": "space", "distinctive": 1.0, "network": "convex", "penalty": 0.2,
    "temperature": 0.5, "alphas": (0.0, 1.0), "criterion": "likelihood", "top_k": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"source": "visaul"}, r"source must be one of visual, .*, got 'visaul'\. Did you mean 'visual'\?"),
        ({"representation": 3}, "representation must be one of plain, .*, got 3"),
        ({"network": ""}, "network must be one of mlp, convex, sparse, got ''"),
        ({"criterion": "auc"}, "criterion must be one of accuracy, likelihood, got 'auc'"),
        ({"top_k": 0}, "top_k must be an integer >= 1, got 0"),
        ({"hidden": 2.5}, r"hidden must be an integer >= 1, got 2\.5"),
        ({"num_concepts": -1}, "num_concepts must be an integer >= 0, got -1"),
        ({"beta": 0.0}, r"beta must be a number > 0, got 0\.0"),
        ({"penalty": "1"}, "penalty must be a number > 0, got '1'"),
        ({"temperature": float("inf")}, "temperature must be a number > 0, got inf"),
        ({"alpha": float("nan")}, "alpha must be a number > 0, got nan"),
        ({"distinctive": -1}, "distinctive must be a number >= 0, got -1"),
        ({"text_share": 1.5}, r"text_share must be a number from 0 to 1, got 1\.5"),
        ({"alphas": (0.5, 1.0)}, r"alphas must be numbers >= 0, 0 \(zero-shot\) among them, got \(0\.5, 1\.0\)"),
        ({"alphas": (0.0, "x")}, r"alphas must be .*, got \(0\.0, 'x'\)"),
        ({"alphas": (0.0, -1.0)}, "alphas must be"),
        ({"source": "none"}, "source none leaves class texts alone: the representation must be space"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(setting, message):
    for kind in (CcliError, ValueError):
        with pytest.raises(kind, match=f"^{message}"):
            CcliSettings(**setting)


def test_the_error_names_its_setting_and_can_be_pickled():
    with pytest.raises(SettingError) as caught:
        CcliSettings(top_k=0)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.name, error.problem) == ("top_k", "must be an integer >= 1, got 0")


def test_a_head_is_vectors_a_representation_and_a_network():
    task, s = make_task(), CcliSettings(**METHOD)
    vectors = concept_vectors("visual", task.concept_features, task.train.features, 2, 3, 0.5)
    r = representation.build("space", vectors, task, distinctive=1.0)
    by_hand = concept_inference.build(
        r, task, network="convex", hidden=512, penalty=0.2, temperature=0.5, alpha=1.0, seed=3
    )  # fmt: skip
    f = task.test.features
    assert torch.equal(build(task, s, seed=3)(f), by_hand(f))


def test_without_concepts_and_class_axes_the_space_is_that_of_the_feature():
    task = make_task()
    s = CcliSettings(source="none", class_axes=False, representation="space", network="convex")
    centred = task.test.features - task.train.features.mean(0)
    z = build(task, s, seed=0).representation(task.test.features)
    assert torch.allclose(z, torch.nn.functional.normalize(centred, dim=-1), atol=1e-6)


def test_alpha_is_the_likeliest_multiple_on_held_out_images():
    task = make_task()
    s = CcliSettings(**METHOD | {"alpha": 2.0, "alphas": (1.0, 0.0, 0.25)})
    head, scores = build(task, s, seed=0), {}
    for alpha in (0.0, 0.5, 2.0):
        one = copy.deepcopy(head)
        one.alpha.fill_(alpha)
        with torch.no_grad():
            scores[alpha] = float(selection.log_likelihoods(one(task.val.features), task.val.labels).max())
    assert choose_alpha([(head, task.val)], s) == max(scores, key=scores.get)


def test_concepts_for_people_are_those_of_the_head():
    task, s = make_task(), CcliSettings(**METHOD)
    images = [f"{k}.png" for k in range(len(task.train))]
    concepts = describe(build(task, s, 0), task, s, images)
    vectors, judges = concept_vectors("visual", task.concept_features, task.train.features, 2, 0, 0.5)
    assert torch.equal(concepts.distinctiveness, distinctiveness(judges, task))
    assert torch.equal(concepts.rows, representation.centred_rows(vectors, concepts.distinctiveness))
    assert concepts.names == task.concepts and set(concepts.kinds) == {"concept"} and concepts.images == images
    most = (task.concept_features @ task.train.features.T).topk(2).indices
    assert concepts.picks == most.tolist() and concepts.labels == task.train.labels.tolist()
    plain = describe(None, task, CcliSettings(source="text"), images)
    assert torch.equal(plain.rows, task.concept_features)
    assert describe(None, task, CcliSettings(source="random"), images) is None
