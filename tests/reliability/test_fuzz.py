"""Damaged files: only CcliError leaves a reader. `python -m stress.fuzz` does the same for as long as one likes."""

import json
import tracemalloc
import zipfile
from random import Random

import numpy as np
import pytest
import torch
from helpers import bundle_args, bundle_file, cfg_of, run_here
from hypothesis import given, settings
from hypothesis import strategies as st

import ccli
from ccli.errors import CcliError
from ccli.features.bundles import read_bundle
from ccli.files.sealed_json import DEEPEST, loads
from ccli.inference.saving import FACTS
from ccli.results.records import RECORD, read_record
from stress.fuzz.__main__ import QUIET, TARGETS, attempt
from stress.fuzz.archives import HEADERS, bomb, npy
from stress.fuzz.targets import growing, small_arrays

EXAMPLES = {"config": 60, "bundle": 200, "classifier": 300}  # a second or two each; others are read faster


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("name", TARGETS)
def test_only_our_error_escapes(folder, name):
    (folder / name).mkdir()
    target, seen = TARGETS[name](folder / name), set()

    @settings(max_examples=EXAMPLES.get(name, 400), derandomize=True, **QUIET)
    @given(st.randoms(use_true_random=False))
    def damaged(rng):
        seen.add(attempt(target, rng))

    damaged()
    assert "refused" in seen


def zipped(path, arrays: dict[str, bytes], how=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return path


SHAPES = ("(1000000000000,)", "(1000000, 1000000)", "(3, 333333333333)")


@pytest.mark.parametrize("name", ("train_features", "test_labels", "classnames", "text_norms", "concepts"))
@pytest.mark.parametrize("shape", SHAPES)
def test_a_declared_size_is_not_allocated(tmp_path, name, shape):
    dtype = small_arrays()[name].dtype.str
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    arrays = {x: npy(a) for x, a in small_arrays().items()} | {name: bomb(Random(0), header)}
    for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = zipped(tmp_path / "bomb.npz", arrays, how)
        tracemalloc.start()
        try:
            with pytest.raises(
                CcliError, match=rf"bomb\.npz, array '{name}', .*it declares .* of shape .* and has \d+ bytes"
            ):
                read_bundle(path)
            assert tracemalloc.get_traced_memory()[1] < 5e6
        finally:
            tracemalloc.stop()


def test_texts_of_no_length_are_not_a_trillion_names(tmp_path):
    header = "{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }"
    arrays = {x: npy(a) for x, a in small_arrays().items()} | {"classnames": bomb(Random(0), header)}
    with pytest.raises(CcliError, match=r"'classnames', .*it declares <U0 of shape"):
        read_bundle(zipped(tmp_path / "bomb.npz", arrays))


def test_a_directory_that_declares_more_than_the_file(tmp_path):
    path = zipped(tmp_path / "b.npz", {x: npy(a) for x, a in small_arrays().items()})
    content = bytearray(path.read_bytes())
    where = content.find(b"PK\x01\x02")
    content[where + 20 : where + 28] = (2**31).to_bytes(4, "little") * 2  # compressed and whole size
    path.write_bytes(content)
    with pytest.raises(CcliError, match=r"'classnames', .*it declares 2147483648 bytes, which the file cannot hold"):
        read_bundle(path)


def test_zeros_that_numpy_compressed_are_read(tmp_path):
    arrays = small_arrays() | {"text_norms": np.ones(3), "more": np.zeros((10**6, 3))}
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    assert read_bundle(tmp_path / "small.npz").num_classes == 3


def test_a_member_that_is_no_array(tmp_path):
    arrays = {x: npy(a) for x, a in small_arrays().items()} | {"logit_scale": b"100"}
    with pytest.raises(CcliError, match="is not readable"):
        read_bundle(zipped(tmp_path / "b.npz", arrays))


def test_every_header_is_refused(tmp_path):
    for header in HEADERS:
        arrays = {x: npy(a) for x, a in small_arrays().items()} | {"train_features": bomb(Random(1), header)}
        with pytest.raises(CcliError):
            read_bundle(zipped(tmp_path / "b.npz", arrays))


@pytest.mark.parametrize("text", ("[" * 10**5, "[" * 200 + "]" * 200, '{"a":' * 500 + "1" + "}" * 500))
def test_json_that_nests(text):
    with pytest.raises(ValueError):
        loads(text)
    assert loads("[" * DEEPEST + "]" * DEEPEST)


@pytest.fixture(scope="module")
def a_run(folder):
    run_here(*bundle_args(bundle_file(folder), folder / "a run", shots=2))
    return folder / "a run"


RECORDS = {
    "nested": ("config", {"a": json.loads("[" * 200 + "]" * 200)}, "nested too deep"),
    "huge": ("seed", 2**70, "invalid seed = "),
    "infinite when divided": ("accuracy", 10**400, "invalid accuracy = "),
}


@pytest.mark.parametrize("what", RECORDS)
def test_records(tmp_path, a_run, what):
    name, value, words = RECORDS[what]
    record = read_record(a_run) | {name: value}
    (tmp_path / RECORD).write_text(json.dumps(record))
    with pytest.raises(CcliError, match=words):
        read_record(tmp_path)


FACTS_CHANGED = {
    "classnames": (["a"] * 5, "differ in number|is outside|not \\(5, 32\\)"),
    "width": (10**12, "no tensor of the head is 1000000000000 wide"),
    "templates": ("a {}", "invalid templates = 'a {}': expected `array`"),
    "calibration": (
        {"temperature": 0, "fitted_on": "none"},
        "invalid calibration.temperature: expected .* > 1e-06",
    ),
    "images": ({"backbone": 3}, "invalid images.backbone: expected `str`, got `int`"),
    "head": ("os", "names a head 'os'"),
}


@pytest.mark.parametrize("what", FACTS_CHANGED)
def test_facts_of_a_classifier(tmp_path, a_run, what):
    value, words = FACTS_CHANGED[what]
    facts = json.loads((a_run / FACTS).read_text())
    facts.pop("digest", None)
    (tmp_path / FACTS).write_text(json.dumps(facts | {what: value}))
    (tmp_path / "classifier.safetensors").write_bytes((a_run / "classifier.safetensors").read_bytes())
    with pytest.raises(CcliError, match=words):
        ccli.load_run(tmp_path)


def test_a_classifier_whose_weights_are_not_finite(tmp_path, a_run):
    found = ccli.load_run(a_run)
    found.head.text_features[0, 0] = torch.nan
    from ccli.inference.saving import save

    save(found, tmp_path)
    with pytest.raises(CcliError, match=r"head\.text_features holds values that are not finite"):
        ccli.load_run(tmp_path)


PAIRS = {
    ("SEED", "{[]: 1}"): r"option SEED: '\{\[\]: 1\}' does not fit",
    ("SEED", "[" * 10**5): r"option SEED: .* does not fit",
    ("SEED", "None"): r"option SEED is None; leave it out",
    ("MODEL.BACKBONE.NAME", "\ud800"): r"option MODEL\.BACKBONE\.NAME: '\\ud800' is not UTF-8",
    ("DATASET.BUNDLE", "x" * 300): r"option DATASET\.BUNDLE: 'x+'\.\.\. is longer than the name of a file",
    ("\ud800", "1"): r"unknown option \\ud800\.",
}


@pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
def test_pairs(pair):
    with pytest.raises(CcliError, match=PAIRS[pair]) as caught:
        cfg_of(*pair)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", (growing("[]"), growing("{}"), "SEED: &a [*a]"))
def test_a_yaml_whose_aliases_grow(tmp_path, content):
    (tmp_path / "bomb.yaml").write_text(content)
    tracemalloc.start()
    try:
        with pytest.raises(CcliError, match=r"bomb\.yaml: its aliases stand for more than 10000 values"):
            cfg_of("--config-file", tmp_path / "bomb.yaml")
        assert tracemalloc.get_traced_memory()[1] < 2e7
    finally:
        tracemalloc.stop()


def test_an_alias_is_no_mistake(tmp_path):
    (tmp_path / "few.yaml").write_text("INPUT: {PIXEL_MEAN: &a [0.0, 0.0, 0.0], PIXEL_STD: *a}")
    assert cfg_of("--config-file", tmp_path / "few.yaml").INPUT.PIXEL_STD == [0.0] * 3
