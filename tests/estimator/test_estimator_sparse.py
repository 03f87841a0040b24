"""The estimator's sparse network, and concepts taken out of it."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from test_estimator import data

from ccli import fit, load_run
from ccli.errors import CcliError
from ccli.features.task import Split
from ccli.inference import editing
from ccli.methods.sparse_inference import SparseLinear


@pytest.fixture(scope="module")
def fitted():
    X, y, new, given = data()
    return fit(X, y, **given, network="sparse", concepts_per_class=4), new, given


def names_in(model, count=2) -> list[str]:
    weight, names = model.classifier_.head.network.weight, model.classifier_.concepts.names
    order = weight.abs().amax(0).argsort(descending=True).tolist()
    return list(dict.fromkeys(names[row] for row in order))[:count]


def test_the_folds_choose_how_many_concepts_and_given_values_stay(fitted):
    X, y, _, given = data()
    model, _, _ = fitted
    network = model.classifier_.head.network
    assert isinstance(network, SparseLinear) and 1 <= int((network.weight != 0).sum(1).max()) <= 4
    assert round(float(network.penalty), 6) in (0.3, 1.0)
    given_values = fit(X, y, **given, network="sparse", concepts_per_class=1, text_share=1.0, penalty=0.7)
    network = given_values.classifier_.head.network
    assert round(float(network.penalty), 6) == 0.7 and ((network.weight != 0).sum(1) == 1).all()
    one = fit(X[::4], y[::4], **given, network="sparse").classifier_.head.network  # one image per class: constants
    assert round(float(one.penalty), 6) == 0.3 and int((one.weight != 0).sum(1).max()) == 5


def test_without_concepts_is_the_librarys_edit_on_the_training_rows(fitted):
    model, new, _ = fitted
    names, before = names_in(model), model.decision_function(new)
    other = model.without(*names)
    assert other.classifier_.edited == {"dropped": names, "refitted": True} and model.classifier_.edited is None
    X, y, _, _ = data()
    labels = model.train_.labels
    assert np.allclose(model.train_.features, X, atol=1e-6) and (model.classes_[labels] == y).all()
    wanted = editing.without(model.classifier_, names, Split(model.train_.features, labels))
    assert np.abs(other.decision_function(new) - wanted.logits(new).numpy()).max() < 1e-4
    assert (model.decision_function(new) == before).all() and np.abs(other.decision_function(new) - before).max() > 0.01
    assert (other.alpha_, other.temperature_) == (model.alpha_, model.temperature_)
    step = model.without(names[0]).without(names[1])
    assert step.classifier_.edited == other.classifier_.edited
    assert np.abs(step.decision_function(new) - other.decision_function(new)).max() < 1e-3
    for why in other.explain(new):
        terms = why.zero_shot + why.others + sum(one.part for one in why.concepts)
        assert terms == pytest.approx(why.total, abs=1e-5) and not {one.concept for one in why.concepts} & set(names)


def test_an_edited_estimator_is_pickled_and_saved_and_cloned_unfitted(fitted, tmp_path):
    model, new, _ = fitted
    other = model.without(names_in(model)[0])
    again = pickle.loads(pickle.dumps(other))
    assert (again.predict_proba(new) == other.predict_proba(new)).all()
    assert again.without(names_in(again)[0]).classifier_.edited["refitted"]
    other.save(tmp_path / "model")
    assert load_run(tmp_path / "model").edited == other.classifier_.edited
    assert np.allclose(load_run(tmp_path / "model").predict_proba(new), other.predict_proba(new), atol=1e-5)
    assert not hasattr(clone(other), "classifier_") and clone(other).network == "sparse"


def test_without_class_texts_concepts_alone_decide():
    X, y, new, given = data()
    model = fit(X, y, **given | {"class_texts": None}, network="sparse")
    assert model.alpha_ == 1.0 and model.score(X, y) > 0.9
    for why in model.without(names_in(model)[0]).explain(new[:5]):
        assert why.zero_shot == why.class_texts == 0


def test_a_row_of_zeros_among_the_training_images():
    X, y, new, given = data()
    model = fit(np.vstack([X, 0 * X[:1]]), np.append(y, y[0]), **given, network="sparse")
    assert np.isfinite(model.without(names_in(model)[0]).predict_proba(new)).all()


def test_what_cannot_be_taken_out_is_refused(fitted):
    X, y, _, given = data()
    dense = fit(X, y, **given, network="convex")
    assert dense.train_ is None
    with pytest.raises(CcliError, match="no sparse network, whose concepts alone can be taken out; train CCLI with a"):
        dense.without("concept 1")
    with pytest.raises(CcliError, match="no concept 'concpt 1'"):
        fitted[0].without("concpt 1")
    with pytest.raises(CcliError, match="no concept to take out"):
        fitted[0].without()
