"""Class texts that are longer than the model's context: said, and refused where only what is cut off differs."""

import json
import warnings

import numpy as np
import pytest
import torch
from helpers import run_here
from picture_folders import args, fill, load

from ccli import CCLIClassifier
from ccli.clip.model import FrozenClip
from ccli.errors import CcliError, CcliWarning
from ccli.features.class_texts import class_text_features
from ccli.features.encoder import open_encoder
from ccli.results.records import read_record

LONG = (
    "yellow striped object with three small wings and a very long tail that ends in the shape of a star or a moon, "
    "seen from the side on an old wooden table in the evening"
)


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("CCLI_STORE", str(tmp_path / "store"))


@pytest.fixture(scope="module")
def clip():
    return FrozenClip("demo-clip")


@pytest.mark.parametrize("text", ["a photo of a cat.", "7 " * 40, "猫" * 20, LONG, "x" * 40, "?!" * 20, "red " * 29])
def test_the_number_of_tokens_is_the_tokenizers(text, clip):
    count = len(clip._tokenizer.encode(text)) + 2
    assert clip.cut(["a cat", text]) == ({1: count} if count > 32 else {})


def test_a_long_text_is_warned_of_in_every_run(tmp_path):
    folder = fill(tmp_path / "my pets", **{LONG: 3, "dog": 3})
    for name in ("first", "second"):  # its features are kept
        out = run_here(*args(folder, tmp_path / name, "FEATURES.CROPS", 0, trainer="ZeroshotCLIP"))
        (text,) = read_record(tmp_path / name)["warnings"]
        assert text.startswith("1 of 2 class texts are longer than the 32 tokens that the model reads, such as ")
        assert f"warning: {text}" in out


def test_classes_that_differ_at_the_end_alone_are_refused(tmp_path):
    folder = fill(tmp_path / "x", **{f"{LONG} one": 3, f"{LONG} two": 3, "dog": 3})
    with pytest.raises(SystemExit, match=r"are the same up to the 32 tokens that the model reads; shorten the names"):
        run_here(*args(folder, tmp_path / "run", "FEATURES.CROPS", 0, trainer="ZeroshotCLIP"))


def test_a_long_template_that_cuts_the_names_off_is_refused():
    encoder = open_encoder("demo-clip")
    with pytest.raises(CcliError, match="shorten the names of these classes, or the template"):
        class_text_features(encoder, [[f"{LONG} and {LONG}: a {name}." for name in ("cat", "dog")]])
    with pytest.warns(CcliWarning, match="2 of 4 class texts"):  # the second template tells them apart
        found, _ = class_text_features(
            encoder, [[f"{LONG} and {LONG}: a {name}." for name in ("cat", "dog")], ["a cat.", "a dog."]]
        )
    assert not torch.equal(found[0], found[1])
    equal, _ = class_text_features(encoder, [["a missile.", "a missile."]])  # short and equal, as two of ImageNet's
    assert torch.equal(equal[0], equal[1])


def test_the_estimator_says_it(tmp_path):
    folder = fill(tmp_path / "x", **{LONG: 2, "dog": 2})
    files = sorted(folder.glob("*/*"))
    names = [path.parent.name for path in files]
    with pytest.warns(CcliWarning, match="1 of 2 class texts are longer than the 32 tokens"):
        CCLIClassifier(backbone="demo-clip", crops=0).fit(files, names)
    with pytest.raises(CcliError, match="are the same up to the 32 tokens"):
        CCLIClassifier(backbone="demo-clip", crops=0).fit(files, [f"{LONG} {name}" for name in names])


@pytest.mark.parametrize("name", ["0", "17", "n02084071", "class_3", "Label 4", "id-12"])
def test_classes_that_are_called_by_a_number(name, tmp_path):
    folder = fill(tmp_path / "my pets", **{name: 2, "dog": 2, "747 jet": 2})
    with pytest.warns(
        CcliWarning, match=rf"^my pets: 1 of 3 classes are called by a number, such as {name}, and .*classes"
    ):
        load(folder)
    (folder / "classes.json").write_text(json.dumps({"names": {name: "cat"}}))
    with warnings.catch_warnings():
        warnings.simplefilter("error", CcliWarning)
        load(folder)


def test_labels_that_are_numbers(tmp_path):
    files = sorted(fill(tmp_path / "x", a=2, b=2).glob("*/*"))
    model, words = CCLIClassifier(backbone="demo-clip", crops=0), "y: 2 of 2 classes are called by a number, such as 0"
    with pytest.warns(CcliWarning, match=words):
        model.fit(files, [0, 0, 1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error", CcliWarning)
        model.set_params(class_texts=np.eye(2, model.classifier_.width)).fit(files, [0, 0, 1, 1])
