"""Runs of CCLI's sparse form: what they choose, and that all that a run is used for works with it."""

import pytest
import torch
from helpers import build, bundle_args, bundle_file, run_here

from ccli import load_run
from ccli.errors import CcliError
from ccli.features.bundles import read_bundle
from ccli.methods.sparse_inference import SparseLinear
from ccli.results.records import read_record

BOTTLENECK = ("TRAINER.CCLI.CLASS_NAMES", "False", "TRAINER.CCLI.REPRESENTATION", "cosine")


@pytest.mark.parametrize("val, how", [(4, "validation"), (0, "cross-validation")])
def test_everything_is_chosen_on_held_out_images(val, how, tmp_path):
    made = build(*bundle_args(bundle_file(tmp_path, val=val), tmp_path / "run"))
    made.train()
    record = read_record(tmp_path / "run")
    assert record["selected_by"] == how
    chosen = record["hyper_parameters"]
    assert chosen["text_share"] in (0.33, 0.67, 1.0) and chosen["penalty"] in (0.3, 1.0)
    assert chosen["concepts_per_class"] in range(1, 6) and chosen["alpha"] in (0.0, 1.0)
    network = made.head.network
    assert isinstance(network, SparseLinear)
    assert ((network.weight != 0).sum(1) <= chosen["concepts_per_class"]).all()


def test_at_one_shot_without_validation_images_the_constants_stay(tmp_path):
    run_here(*bundle_args(bundle_file(tmp_path, val=0), tmp_path / "run", shots=1))
    record = read_record(tmp_path / "run")
    assert record["selected_by"] == "default"
    expected = {"text_share": 0.67, "penalty": 0.3, "concepts_per_class": 5, "alpha": 1.0}
    assert record["hyper_parameters"] == expected


@pytest.mark.parametrize("options", [(), BOTTLENECK], ids=["with class names", "bottleneck"])
def test_the_classifier_comes_back_and_its_reasons_add_up(options, tmp_path):
    made = build(*bundle_args(bundle_file(tmp_path), tmp_path / "run", *options))
    made.train()
    run, test = load_run(tmp_path / "run"), made.task.test.features
    assert torch.allclose(run.logits(test), made.head(test).detach(), atol=1e-5)
    most = made.hyper_parameters["concepts_per_class"]
    for logits, label, why in zip(run.logits(test), run.predict(test), run.explain(test)):
        assert why.what == label and why.total == pytest.approx(float(logits.max()), abs=1e-5)
        assert why.class_texts == 0 and len(why.concepts) <= most
        parts = why.zero_shot + why.constant + why.others + sum(one.part for one in why.concepts)
        assert parts == pytest.approx(why.total, abs=1e-5)
        assert abs(why.constant) < 1e-4
        if options:
            assert why.zero_shot == 0


def test_the_run_is_evaluated_again_and_elsewhere(tmp_path):
    bundle, other = bundle_file(tmp_path), bundle_file(tmp_path, "other.npz", pool=6)
    run_here(*bundle_args(bundle, tmp_path / "run"))
    run_here("--eval-only", "--model-dir", tmp_path / "run", *bundle_args(other, tmp_path / "eval"))
    record = read_record(tmp_path / "eval")
    run = load_run(tmp_path / "run")
    test = read_bundle(other).test
    assert record["trained_on"] == "tiny"
    assert record["predictions"] == run.logits(test.features).argmax(1).tolist()


def test_the_same_seed_gives_the_same_bits(tmp_path):
    bundle = bundle_file(tmp_path)
    for name in ("a", "b"):
        run_here(*bundle_args(bundle, tmp_path / name))
    heads = [load_run(tmp_path / name).head.state_dict() for name in ("a", "b")]
    assert all(torch.equal(heads[0][key], heads[1][key]) for key in heads[0])


def test_a_bottleneck_without_its_representation_is_refused(tmp_path):
    with pytest.raises(CcliError, match=r"TRAINER\.CCLI\.REPRESENTATION of a sparse network must be cosine"):
        build(*bundle_args(bundle_file(tmp_path), tmp_path / "run", *BOTTLENECK[:2]))
