import contextlib
import io
import pickle

import joblib
import numpy as np
import pytest
import torch
from helpers import build, bundle_args, bundle_file, make_task, unit_rows
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from ccli import CCLIClassifier, fit
from ccli.concepts import representation
from ccli.concepts.discovery import concept_vectors
from ccli.errors import CcliError
from ccli.inference.saving import load_run
from ccli.methods import concept_inference
from ccli.methods.sparse_inference import SparseLinear


@parametrize_with_checks([CCLIClassifier()])
def test_scikit_learns_checks(estimator, check):
    """All of them; the two that need pandas or SCIPY_ARRAY_API skip themselves where there is none."""
    check(estimator)


def data(shots=4, classes=6, **sizes):
    """(training features, labels as text, test features, class texts and concepts as parameters)."""
    task = make_task(shots, 0, classes=classes, **sizes)
    names = np.array(task.classnames)
    given = {
        "class_texts": task.text_features.numpy(), "concepts": task.concepts,
        "concept_features": task.concept_features.numpy(), "logit_scale": task.logit_scale,
    }  # fmt: skip
    return task.train.features.numpy(), names[task.train.labels], task.test.features.numpy(), given


@pytest.mark.parametrize("text_share, distinctive, shots", [(1.0, 1.0, 4), (0.3, 0.0, 2), (0.5, 2.0, 1)])
def test_the_head_is_what_the_method_makes_of_the_same_task(text_share, distinctive, shots):
    task = make_task(shots, 0)
    X, y, new, given = data(shots)
    model = fit(
        X, y, **given, text_share=text_share, distinctive=distinctive, penalty=0.7, temperature=0.4, top_k=2,
        network="convex",
    )  # fmt: skip
    vectors = concept_vectors("visual", task.concept_features, task.train.features, 2, 0, text_share)
    r = representation.build("space", vectors, task, distinctive=distinctive)
    head = concept_inference.build(
        r, task, network="convex", hidden=0, penalty=0.7, temperature=0.4, alpha=1.0, seed=0
    )  # fmt: skip
    head.alpha.fill_(model.alpha_)
    logits = head(task.test.features).detach().numpy()
    assert np.abs(model.decision_function(new) - logits).max() < 1e-4
    assert np.abs(model.classifier_.logits(new).numpy() - logits).max() < 1e-4
    assert model.temperature_ == 1 if shots == 1 else model.temperature_ != 1


@pytest.mark.parametrize("seed, network", [(1, "convex"), (2, "convex"), (2, "sparse")])
def test_a_run_of_the_trainer_on_the_same_images_gives_the_same(tmp_path, seed, network):
    cfg = {"convex": "vit_b16_dense", "sparse": "vit_b16"}[network]
    trainer = build(*bundle_args(bundle_file(tmp_path, val=0), tmp_path / "out", "SEED", seed, cfg=cfg))
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    run, task = load_run(tmp_path / "out"), trainer.task
    y, new = np.array(task.classnames)[task.train.labels], task.test.features.numpy()
    model = fit(
        task.train.features, y, class_texts=task.text_features, concepts=task.concepts,
        concept_features=task.concept_features, logit_scale=task.logit_scale, random_state=seed,
        network=network,
    )  # fmt: skip
    assert model.alpha_ == float(run.head.alpha)
    assert model.temperature_ == pytest.approx(run.temperature, rel=0.011)  # three digits of it are kept
    # rows are made unit length once more, so that L-BFGS takes another path to within its tolerance
    assert np.abs(model.decision_function(new) - run.logits(new).numpy()).max() < 1e-3
    assert model.predict(new).tolist() == run.predict(new)
    a, b = model.explain(new[:3]), run.explain(new[:3])
    assert [x.what for x in a] == [x.what for x in b]
    assert np.allclose([x.class_texts for x in a], [x.class_texts for x in b], atol=1e-3)
    assert {c.concept for c in a[0].concepts} == {c.concept for c in b[0].concepts}


@pytest.mark.parametrize("classes, ratio", [(5, 1), (2, 2)])
def test_without_texts_it_is_logistic_regression_on_centred_rows(classes, ratio):
    X, y, new, _ = data(6, classes)
    model = fit(3 * X, y, penalty=0.4)
    assert model.alpha_ == 1.0

    def rows(f):
        z = f.astype(np.float64) - X.astype(np.float64).mean(0)
        return z / np.linalg.norm(z, axis=1, keepdims=True)

    other = LogisticRegression(C=ratio / 0.4, fit_intercept=False, tol=1e-8, max_iter=1000).fit(rows(X), y)
    mine, its = model.decision_function(5 * new), other.decision_function(rows(new))
    if classes > 2:
        mine, its = (x - x.mean(1, keepdims=True) for x in (mine, its))
    assert np.abs(its).max() > 0.5 and np.abs(mine - its).max() < 5e-3
    assert (model.predict(new) == other.predict(rows(new))).all()


@pytest.mark.parametrize("kept", [("class_texts",), ("concepts", "concept_features")])
def test_either_texts_or_concepts_alone(kept, tmp_path):
    X, y, new, given = data()
    model = fit(X, y, **{name: given[name] for name in kept}, network="convex")
    task, texts = make_task(4, 0), kept == ("class_texts",)
    vectors = concept_vectors(
        "none" if texts else "visual", task.concept_features, task.train.features, 3, 0, 1.0
    )  # fmt: skip
    r = representation.build("space", vectors, task, class_axes=texts, distinctive=1.0)
    z, z_new = r(task.train.features).numpy(), r(task.test.features).numpy()
    assert np.allclose(model.classifier_.head.representation(task.test.features), z_new, atol=1e-5)
    if texts:
        with pytest.raises(CcliError, match="fitted without concepts"):
            model.explain(new)
    else:  # no zero-shot part
        other = LogisticRegression(C=5, fit_intercept=False, tol=1e-8, max_iter=1000).fit(z, y)
        assert not model.classifier_.head.parts(task.test.features)[0].any()
        proba = other.predict_proba(z_new) ** (1 / model.temperature_)
        assert np.allclose(model.predict_proba(new), proba / proba.sum(1, keepdims=True), atol=1e-3)
        assert model.explain(new)[0].zero_shot == model.explain(new)[0].class_texts == 0
    model.save(tmp_path / "model")
    assert np.allclose(load_run(tmp_path / "model").predict_proba(new), model.predict_proba(new), atol=1e-5)


def test_texts_by_label_are_those_in_order():
    X, y, new, given = data()
    by_label = dict(zip(sorted(set(y)), given["class_texts"])) | {"another": given["class_texts"][0]}
    by_label = dict(reversed(by_label.items()))
    one, other = fit(X, y, **given), fit(X, y, **given | {"class_texts": by_label})
    assert (one.predict_proba(new) == other.predict_proba(new)).all()
    tensors = {name: torch.tensor(given[name]) for name in ("class_texts", "concept_features")}
    assert (fit(X, y, **given | tensors).predict_proba(torch.tensor(new)) == one.predict_proba(new)).all()


def test_features_of_any_precision():
    X, y, new, given = data()
    expected = fit(torch.from_numpy(X).bfloat16().float(), y, **given).predict_proba(new)
    assert (fit(torch.from_numpy(X).bfloat16(), y, **given).predict_proba(new) == expected).all()


def test_labels_of_any_kind_and_columns_in_their_order():
    X, y, new, given = data()
    numbers = {name: 10 - k for k, name in enumerate(sorted(set(y)))}  # the other way round
    named = fit(X, y, **given)
    numbered = fit(
        X, [numbers[label] for label in y],
        **given | {"class_texts": {numbers[x]: t for x, t in zip(sorted(set(y)), given["class_texts"])}},
    )  # fmt: skip
    assert numbered.classes_.tolist() == [5, 6, 7, 8, 9, 10] and numbered.classes_.dtype.kind == "i"
    assert numbered.predict(new).tolist() == [numbers[x] for x in named.predict(new)]
    assert np.allclose(numbered.decision_function(new), named.decision_function(new)[:, ::-1], atol=1e-3)
    assert numbered.classifier_.classnames == ("5", "6", "7", "8", "9", "10")
    assert numbered.explain_class(5, against=6).what == "5 against 6"
    texts = np.array(list(y), dtype=object)
    assert fit(X, texts, **given).predict(new).tolist() == named.predict(new).tolist()


def test_two_classes():
    X, y, new, given = data(classes=2)
    model = fit(X, y, **given)
    assert model.decision_function(new).shape == (len(new),)
    assert (model.predict(new) == model.classes_[(model.decision_function(new) > 0).astype(int)]).all()
    proba = model.predict_proba(new)
    logit = np.log(proba[:, 1] / proba[:, 0])
    assert np.allclose(logit, model.decision_function(new) / model.temperature_, atol=1e-6)


def test_probabilities_are_calibrated_and_the_folds_follow_random_state():
    X, y, new, given = data(8)
    model = fit(X, y, **given)
    logits = model.decision_function(new) / model.temperature_
    expected = np.exp(logits - logits.max(1, keepdims=True))
    assert np.allclose(model.predict_proba(new), expected / expected.sum(1, keepdims=True))
    again, others = fit(X, y, **given, random_state=0), [fit(X, y, **given, random_state=k) for k in (3, 4)]
    assert (again.predict_proba(new) == model.predict_proba(new)).all()
    assert {other.temperature_ for other in others} != {model.temperature_}
    by_state = [fit(X, y, **given, random_state=np.random.RandomState(5)).temperature_ for _ in range(2)]
    assert by_state[0] == by_state[1]


def test_zero_shot_is_chosen_where_labels_are_noise():
    X, y, new, given = data(4)
    y = np.random.default_rng(0).permutation(y)
    aligned = given["class_texts"]
    model = fit(X, y, **given | {"logit_scale": 1e-3}, network="convex")
    assert model.alpha_ == 0.0
    assert (model.predict(new) == model.classes_[(new @ aligned.T).argmax(1)]).all()


def test_in_cross_validation_a_grid_and_a_pipeline():
    X, y, new, given = data(8)
    model = CCLIClassifier(**given)
    scores = cross_val_score(model, X, y, cv=2, error_score="raise")
    assert scores.shape == (2,) and scores.min() > 0.5
    grid = GridSearchCV(model, {"penalty": [0.2, 1e4]}, cv=2, scoring="neg_log_loss", error_score="raise").fit(X, y)
    assert grid.best_params_ in ({"penalty": 0.2}, {"penalty": 1e4}) and grid.predict(new).shape == (len(new),)
    whole = make_pipeline(FunctionTransformer(), model).fit(X, y)
    assert (whole.predict(new) == fit(X, y, **given).predict(new)).all()


def test_clones_and_pickles(tmp_path):
    X, y, new, given = data()
    model = fit(X, y, **given, penalty=0.5)
    copy = clone(model)
    assert not hasattr(copy, "classifier_") and copy.get_params()["penalty"] == 0.5
    assert (copy.fit(X, y).predict_proba(new) == model.predict_proba(new)).all()
    joblib.dump(model, tmp_path / "model.joblib")
    for back in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        assert (back.predict_proba(new) == model.predict_proba(new)).all()
        assert back.explain(new[:1]) == model.explain(new[:1])
    assert "CCLIClassifier(" in repr(model)


def test_saved_and_loaded(tmp_path):
    X, y, new, given = data()
    model = fit(X, y, **given)
    model.save(tmp_path / "model")
    run = load_run(tmp_path / "model")
    assert torch.equal(run.logits(new), model.classifier_.logits(new))
    assert np.allclose(run.predict_proba(new), model.predict_proba(new), atol=1e-5)
    assert run.method == "CCLI" and run.vocabulary["size"] == 40 and run.images is None
    for a, b in zip(run.explain(new[:2]), model.explain(new[:2])):
        assert [x.concept for x in a.concepts] == [x.concept for x in b.concepts]
        assert a.total == pytest.approx(b.total, abs=1e-5)


def test_reasons_add_up_and_classes_are_marked_by_their_mean_image():
    X, y, new, given = data()
    model = fit(X, y, **given, network="convex")
    for row, reason in enumerate(model.explain(new[:5])):
        parts = reason.zero_shot + reason.class_texts + reason.constant + reason.others
        assert parts + sum(c.part for c in reason.concepts) == pytest.approx(reason.total, abs=1e-6)
        assert reason.total == pytest.approx(model.decision_function(new[[row]]).max(), abs=1e-4)
        assert reason.what == model.predict(new[[row]])[0]
    means = np.stack([X[y == name].mean(0) for name in model.classes_])
    logits = model.decision_function(means)
    assert model.explain_class("class 2").total == pytest.approx(logits[2, 2] - logits[2].mean(), abs=1e-4)
    difference = (logits[2] - logits[4])[2] - (logits[2] - logits[4])[4]
    assert model.explain_class("class 2", "class 4").total == pytest.approx(difference, abs=1e-4)
    with pytest.raises(CcliError, match="no class 'class 9'"):
        model.explain_class("class 9")


def test_concepts_that_name_a_class_are_left_out():
    X, y, new, given = data()
    names = ("Class_3", *given["concepts"])
    rows = np.concatenate([unit_rows(1, 32, seed=9).numpy(), given["concept_features"]])
    for network in ("convex", None):
        model = fit(X, y, **given | {"concepts": names, "concept_features": rows}, network=network)
        assert (model.predict_proba(new) == fit(X, y, **given, network=network).predict_proba(new)).all()
        assert "Class_3" not in model.classifier_.concepts.names
        assert network is None or model.classifier_.concepts.names == given["concepts"]


def test_concepts_decide_where_there_are_some():
    X, y, new, given = data()
    few, texts = fit(X, y, **given), fit(X, y, class_texts=given["class_texts"])
    assert (few.predict_proba(new) == fit(X, y, **given, network="sparse").predict_proba(new)).all()
    assert isinstance(few.classifier_.head.network, SparseLinear)
    dense = fit(X, y, class_texts=given["class_texts"], network="convex")
    assert (texts.predict_proba(new) == dense.predict_proba(new)).all()
    with pytest.raises(CcliError, match="network sparse needs concepts"):
        fit(X, y, class_texts=given["class_texts"], network="sparse")


def test_a_class_of_one_image_and_rows_of_zeros():
    X, y, new, given = data()
    model = fit(X[3:], y[3:], **given)
    assert model.alpha_ == model.temperature_ == 1.0 and len(model.classes_) == 6
    nothing = np.zeros((1, 32))
    assert np.isfinite(model.predict_proba(nothing)).all()
    assert np.isfinite(fit(np.r_[X, nothing], np.r_[y, y[:1]], **given).predict_proba(new)).all()
    with pytest.raises(CcliError, match="row of zeros"):
        model.explain(nothing)
