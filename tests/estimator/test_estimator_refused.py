import numpy as np
import pytest
from helpers import make_task, unit_rows

from ccli import fit
from ccli.errors import CcliError


def data():
    """Training features, their labels, test features."""
    task = make_task(4, 0)
    return task.train.features.numpy(), np.array(task.classnames)[task.train.labels], task.test.features.numpy()


@pytest.mark.parametrize(
    "params, message",
    [
        ({"class_texts": unit_rows(5, 32)}, r"class_texts has the shape \(5, 32\), and 6 classes of y of width 32"),
        ({"class_texts": unit_rows(6, 31)}, r"class_texts has the shape \(6, 31\).*\(6, 32\)"),
        ({"class_texts": {"class 1": np.ones(32)}}, "class_texts has no feature of class 0, class 2"),
        ({"class_texts": np.zeros((6, 32))}, "class_texts holds a row of zeros"),
        ({"class_texts": np.full((6, 32), np.nan)}, "class_texts holds .* not finite"),
        ({"class_texts": np.ones((6, 32))}, "all alike"),
        ({"class_texts": "a photo"}, "class_texts is not an array of numbers"),
        ({"class_texts": {f"class {k}": np.ones(30 + k) for k in range(6)}}, "of several shapes"),
        ({"concepts": ["red", "round"]}, "concepts without concept_features"),
        ({"concept_features": unit_rows(4, 32)}, "concept_features without concepts"),
        ({"concepts": ["red", "round"], "concept_features": unit_rows(3, 32)}, r"shape \(3, 32\), and 2 concepts"),
        ({"concepts": ["red", "class 1"], "concept_features": unit_rows(2, 32)}, "1 of 2 concepts name no class"),
        ({"concepts": "red", "concept_features": unit_rows(3, 32)}, "give a list of names"),
        ({"penalty": 0}, "penalty must be a number > 0, got 0"),
        ({"penalty": "1"}, "penalty .* got '1'"),
        ({"temperature": float("inf")}, "temperature .* got inf"),
        ({"logit_scale": -1}, "logit_scale .* got -1"),
        ({"distinctive": -1}, "distinctive must be a number >= 0, got -1"),
        ({"text_share": 1.5}, "text_share must be a number from 0 to 1, got 1.5"),
        ({"top_k": 0}, "top_k must be an integer >= 1, got 0"),
        ({"crops": 2.5}, "crops must be an integer >= 0, got 2.5"),
        ({"network": "mlp"}, "network must be one of sparse, convex, got 'mlp'"),
        ({"network": "sparse"}, "network sparse needs concepts; give concepts and concept_features, or a backbone"),
        ({"concepts_per_class": 0}, "concepts_per_class must be an integer >= 1, got 0"),
        ({"backbone": 7}, "backbone must be the name or place .* got 7"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(params, message):
    X, y, _ = data()
    for kind in (CcliError, ValueError):
        with pytest.raises(kind, match=message) as error:
            fit(X, y, **params)
        assert "\n" not in str(error.value)


def test_data_that_do_not_fit_are_refused_in_words():
    X, y, new = data()
    with pytest.raises(CcliError, match="y has one class, class 0"):
        fit(X, ["class 0"] * len(X))
    with pytest.raises(CcliError, match=r"X holds 'a\.png'; for paths of pictures give a backbone"):
        fit(["a.png", "b.png"], ["a", "b"])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fit(X, y[1:])
    with pytest.raises(ValueError, match="NaN"):
        fit(np.where(X[0, 0] == X, np.nan, X), y)
    with pytest.raises(ValueError, match="31 features, but CCLIClassifier is expecting 32"):
        fit(X, y).predict(new[:, 1:])
