import pickle
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_folders import draw, fill
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from torch.nn import functional as F

import ccli.estimator.classifier
import ccli.features.encoder
from ccli import CCLIClassifier, fit
from ccli.clip.model import FrozenClip
from ccli.errors import CcliError
from ccli.features.class_texts import class_text_features
from ccli.features.encoder import FeatureEncoder, encoder_of
from ccli.features.keys import default_store
from ccli.inference.saving import load_run

WORDS = ("red", "round", "striped", "at night", "with wheels", "on grass")


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures of two classes, and their labels."""
    paths = sorted(fill(tmp_path / "pictures", cat=6, big_dog=6).glob("*/*.png"))
    return paths, [path.parent.name for path in paths]


@pytest.fixture
def form(tiny_clip_folder, tmp_path):
    """Parameters of the estimator on pictures."""
    return {"backbone": str(tiny_clip_folder), "store": tmp_path / "store", "concepts": WORDS, "crops": 2}


@pytest.mark.parametrize("crops", [0, 3])
def test_it_is_the_estimator_on_features_that_are_encoded_by_hand(pictures, form, crops, tiny_clip_folder, tmp_path):
    paths, y = pictures
    model = fit(paths, y, **form | {"crops": crops})
    clip = FrozenClip(str(tiny_clip_folder))
    store = FeatureEncoder(clip, tmp_path / "by hand")
    texts, _ = class_text_features(store, [["a photo of a big dog.", "a photo of a cat."]])
    concepts = store.texts([f"The photo is {word}." for word in WORDS])
    X = torch.stack([f for _, f in encoder_of(model.classifier_.images).stream(paths, crops, (0.5, 1.0))])
    given = {"class_texts": texts, "concepts": WORDS, "concept_features": concepts}
    by_hand = fit(X, y, **given, logit_scale=clip.facts.logit_scale)
    assert model.alpha_ == by_hand.alpha_
    scale = np.abs(by_hand.decision_function(X)).max()
    # the store keeps float16
    assert np.abs(model.decision_function(paths) - by_hand.decision_function(X)).max() < 0.01 * max(1, scale)
    spec = model.classifier_.images
    assert (spec.crops, spec.decoding, spec.backbone) == (crops, "photo", str(tiny_clip_folder))
    assert model.classifier_.templates == ("a photo of a {}.",) and not hasattr(model, "n_features_in_")


def test_features_do_not_depend_on_where_a_picture_lies(pictures, form, tmp_path):
    paths, y = pictures
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(paths[0].read_bytes())
    model = fit(paths, y, **form)
    assert (model.predict_proba([moved]) == model.predict_proba([str(paths[0])])).all()


def test_nothing_is_encoded_twice(pictures, form, encoded):
    paths, y = pictures
    model = CCLIClassifier(**form)
    scores = cross_val_score(model, paths, y, cv=3, error_score="raise")
    assert scores.shape == (3,) and sum(encoded) == 12 * 2
    clone(model).fit(paths, y).predict(np.array([str(path) for path in paths]))
    GridSearchCV(model, {"penalty": [0.1, 1.0]}, cv=2, error_score="raise").fit(paths, y)
    assert sum(encoded) == 12 * 2
    ccli.features.encoder._open_encoder.cache_clear()  # as another process
    fit(paths, y, **form)
    assert sum(encoded) == 12 * 2
    fit(paths, y, **form | {"crops": 0})
    assert sum(encoded) == 12 * 3


def test_saved_and_loaded_it_encodes_new_pictures_by_itself(pictures, form, tmp_path):
    paths, y = pictures
    model = fit(paths, y, **form)
    model.save(tmp_path / "model")
    run, new = load_run(tmp_path / "model"), [draw(tmp_path / f"new {k}.png", 500 + k) for k in range(3)]
    features = run.features(paths)
    assert torch.equal(run.logits(features), model.classifier_.logits(features))
    for some in (paths, new):
        assert np.allclose(run.predict_proba(some), model.predict_proba(some), atol=2e-3)  # float16 in the store
    assert run.concepts.images == [str(path) for path in paths]


def test_reasons_name_the_pictures_behind_a_concept(pictures, form):
    paths, y = pictures
    model = fit(paths, y, **form)
    for path, reason in zip(paths, model.explain(paths)):
        assert reason.what == model.predict([path])[0]
        parts = reason.zero_shot + reason.class_texts + reason.constant + reason.others
        assert parts + sum(c.part for c in reason.concepts) == pytest.approx(reason.total, abs=1e-6)
        assert all(c.concept in WORDS and set(c.images) <= {str(p) for p in paths} for c in reason.concepts)
    assert model.explain_class("big_dog", against="cat").what == "big_dog against cat"


def test_concepts_are_taken_out_without_encoding_anything(pictures, form, encoded):
    paths, y = pictures
    model = fit(paths, y, **form, network="sparse")
    row = int(model.classifier_.head.network.weight.abs().amax(0).argmax())
    del encoded[:]
    name = model.classifier_.concepts.names[row]
    other = model.without(name)
    assert other.classifier_.edited == {"dropped": [name], "refitted": True} and encoded == []
    assert not np.array_equal(other.predict_proba(paths), model.predict_proba(paths)) or model.alpha_ == 0


def test_pickled_without_the_model(pictures, form):
    paths, y = pictures
    model = fit(paths, y, **form)
    model.classifier_.predict(paths[:1])  # opens CLIP
    content = pickle.dumps(model)
    assert len(content) < 200_000 and "encoder" in vars(model.classifier_)
    assert (pickle.loads(content).predict_proba(paths) == model.predict_proba(paths)).all()


def test_class_texts_and_concepts_may_be_given(pictures, form):
    paths, y = pictures
    rng = np.random.default_rng(0)
    width = fit(paths, y, **form).classifier_.width
    texts, rows = {name: rng.normal(size=width) for name in set(y)}, rng.normal(size=(len(WORDS), width))
    model = fit(paths, y, **form, class_texts=texts, concept_features=rows)
    wanted = F.normalize(torch.tensor(np.stack([texts["big_dog"], texts["cat"]])), dim=1).float()
    assert torch.allclose(model.classifier_.head.text_features, wanted, atol=1e-6)


def test_pictures_that_cannot_be_read_are_named(pictures, form, encoded, tmp_path):
    paths, y = pictures
    model = CCLIClassifier(**form)
    with pytest.raises(CcliError, match=r"gone\.png cannot be read"):
        model.fit([*paths, tmp_path / "gone.png"], [*y, "cat"])
    for name in ("bad.png", "worse.png"):
        (tmp_path / name).write_text(f"not a picture {name}")
    broken = [paths[0], tmp_path / "bad.png", *paths[1:], tmp_path / "worse.png"]
    with pytest.raises(CcliError, match=r"bad\.png is unreadable.*\(and 1 more that cannot be read\)"):
        model.fit(broken, ["cat", "cat", *y])
    assert sum(encoded) == 24
    model.fit(paths, y)
    assert sum(encoded) == 24  # those that could be read were kept


def test_what_is_no_list_of_paths_is_refused(pictures, form):
    paths, y = pictures
    for X, message in (
        (str(paths[0]), "X is one path; give a list"),
        (np.zeros((12, 4)), r"X has the shape \(12, 4\); with a backbone it is a list of one or more paths"),
        ([], r"shape \(0,\)"),
        ([*paths[:11], 3.5], "X holds 3.5, which is not a path"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(X, y, **form)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fit(paths, y[1:], **form)
    with pytest.raises(CcliError, match="unknown backbone 'demo-clop'"):
        fit(paths, y, **form | {"backbone": "demo-clop"})
    with pytest.raises(CcliError, match="exactly once"):
        fit(paths, y, **form, template="a photo")


def test_where_features_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("CCLI_STORE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert default_store() == tmp_path / "a"
    monkeypatch.delenv("CCLI_STORE")
    assert default_store() == tmp_path / "b" / "ccli"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_store() == Path.home() / ".cache" / "ccli"


def test_the_example_of_the_module_runs(monkeypatch, tmp_path, capsys):
    fill(tmp_path / "pictures", cat=4, dog=4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CCLI_STORE", str(tmp_path / "store"))
    lines = [line for line in ccli.estimator.classifier.__doc__.splitlines() if line.startswith("    ")]
    assert len(lines) <= 10
    exec(textwrap.dedent("\n".join(lines)), {})
    scores, reason = capsys.readouterr().out.splitlines()
    assert scores.startswith("[") and reason.startswith("Reasons(what=")
    assert (tmp_path / "model" / "classifier.json").exists()
