"""Numbers stay finite: a run on an odd problem ends with a valid record, or with one line that says what is wrong."""

import re

import edges
import numpy as np
import pytest
import torch
from edges import QUICK, TRAINERS, Problem
from helpers import bundle_args, bundle_file, run_here
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ccli
from ccli.features.task import unit
from ccli.fitting.training import FeatureBatches
from ccli.results.records import read_record

pytestmark = [pytest.mark.filterwarnings("error::RuntimeWarning")]
BY_GRADIENT = ("CLIPAdapter", "TipAdapterF", "TaskRes", "CCLI mlp plain visual", "CCLI mlp space text")
ONE_OF_EACH = (*edges.SIMPLE, "CCLI mlp plain visual", "CCLI convex space visual")
EDGES = settings(derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))

PROBLEMS = st.builds(
    Problem,
    kind=st.sampled_from(("random", "constant", "classes", "axes", "opposite", "tiny", "huge")),
    classes=st.integers(1, 4),
    width=st.integers(1, 6),
    pool=st.integers(1, 3),
    val=st.integers(0, 2),
    test=st.integers(1, 2),
    concepts=st.sampled_from((1, 2, 7, 40)),
    names=st.sampled_from(("different", "alike", "odd")),
    concept_kind=st.sampled_from(("random", "alike", "classes")),
    text_kind=st.sampled_from(("random", "alike")),
    scale=st.sampled_from((100.0, 1e-6, 1.0, 1e6, 1e30)),
    uneven=st.booleans(),
)


def run(folder, name: str, problem: Problem, *opts, shots: int = -1, **changes) -> str:
    """How the run of a trainer ends: "" with a good record and a classifier whose numbers are finite, or the line."""
    trainer, own = TRAINERS[name]
    bundle = edges.write(folder, problem, **changes)
    try:
        run_here(*bundle_args(bundle, folder / "run", *own, *QUICK, *opts, trainer=trainer, shots=shots))
    except SystemExit as ended:
        line = ended.code
        assert isinstance(line, str) and re.fullmatch(r"error: \S.*\S", line), line
        assert not list(folder.rglob("result.json"))
        return line
    read_record(folder / "run")  # which checks that all of its numbers are finite
    classifier = ccli.load_run(folder / "run")
    given = np.eye(2, problem.width) + 1e-3
    assert np.isfinite(classifier.predict_proba(given)).all()
    if classifier.concepts is not None and classifier.prototypes is not None:
        assert all(np.isfinite(reasons.total) for reasons in classifier.explain(given))
    return ""


def check(folder, name: str, problem: Problem) -> None:
    line = run(folder, name, problem)
    if name == "LinearProbe" and problem.classes == 1:
        assert "there is only one; use a data set with more" in line
    elif problem.scale > 1e6 and line:
        assert re.search(r"not finite; lower (OPTIM\.LR|TRAINER\.CCLI\.ALPHA)", line)
    else:
        assert line == ""


@settings(EDGES, max_examples=40)
@given(name=st.sampled_from(tuple(TRAINERS)), problem=PROBLEMS)
def test_any_trainer_on_any_problem(tmp_path_factory, name, problem):
    check(tmp_path_factory.mktemp("edge"), name, problem)


@pytest.mark.slow
@settings(EDGES, max_examples=3000)
@given(name=st.sampled_from(tuple(TRAINERS)), problem=PROBLEMS)
def test_any_trainer_on_many_problems(tmp_path_factory, name, problem):
    check(tmp_path_factory.mktemp("edge"), name, problem)


NAMED = {
    "constant features": Problem(kind="constant", val=0),
    "identical images of a class": Problem(kind="classes", pool=3),
    "one class": Problem(classes=1),
    "one image": Problem(classes=1, pool=1, val=0, test=1),
    "one concept": Problem(concepts=1),
    "more concepts than images": Problem(concepts=60),
    "one name for all classes": Problem(names="alike"),
}


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("what", NAMED)
def test_named_problems(tmp_path, what, name):
    check(tmp_path, name, NAMED[what])


def test_nothing_is_fitted_where_concepts_leave_no_axis(tmp_path):
    """One concept less the mean of all is nothing: zero-shot's predictions."""
    problem = Problem(concepts=1, test=6)
    assert run(tmp_path, "CCLI convex space visual distinctive", problem) == ""
    record = read_record(tmp_path / "run")
    (tmp_path / "other").mkdir()
    assert run(tmp_path / "other", "ZeroshotCLIP", problem) == ""
    assert record["predictions"] == read_record(tmp_path / "other" / "run")["predictions"]


@pytest.mark.parametrize("name", BY_GRADIENT)
@pytest.mark.parametrize("val", (0, 1))
def test_a_learning_rate_that_is_too_high(tmp_path, name, val):
    line = run(tmp_path, name, Problem(val=val), "OPTIM.LR", 1e30, "OPTIM.MAX_EPOCH", 3)
    if line:  # an adapter that ends in a ReLU may answer zero from then on
        trainer = TRAINERS[name][0]
        assert re.match(
            rf"error: {trainer}\b.*(epoch \d+, batch \d+|after training).*not finite; lower OPTIM\.LR", line
        )
    assert line or name in ("CLIPAdapter", "TaskRes")


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_a_loss_that_becomes_nan_is_located(tmp_path, monkeypatch, name):
    batches = FeatureBatches.__iter__

    def damaged(self):
        for number, batch in enumerate(batches(self), start=1):
            if self.shuffle and (self.epoch, number) == (1, 3):
                batch["img"] = torch.full_like(batch["img"], torch.nan)
            yield batch

    monkeypatch.setattr(FeatureBatches, "__iter__", damaged)
    line = run(tmp_path, name, Problem(pool=4), "DATALOADER.TRAIN_X.BATCH_SIZE", 4)
    assert line == (
        f"error: {TRAINERS[name][0]}, epoch 2, batch 3: the loss is not finite; lower OPTIM.LR or check the features"
    )


def test_a_loss_on_a_part_of_the_shots(tmp_path):
    line = run(tmp_path, "TipAdapterF", Problem(val=0), "OPTIM.LR", 1e30)
    assert line.startswith("error: TipAdapterF, on a part of the shots: epoch 2, batch 1: the loss is not finite; ")


@pytest.mark.parametrize("value", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("name", sorted(x for x, a in edges.arrays(Problem()).items() if a.dtype.kind == "f"))
def test_arrays_that_are_not_finite(tmp_path, name, value):
    array = edges.arrays(Problem())[name].copy()
    array[(0,) * array.ndim] = value
    line = run(tmp_path, "CCLI convex space visual", Problem(), **{name: array})
    assert re.search(rf"edge\.npz: {name} (hold values that are not finite|must be|is -?(nan|inf))", line)


ARRAYS = edges.arrays(Problem())
IMAGES = {
    "no test images": ({"test_features": ARRAYS["test_features"][:0], "test_labels": ARRAYS["test_labels"][:0]}, "add"),
    "no training images": (
        {"train_features": ARRAYS["train_features"][:0], "train_labels": ARRAYS["train_labels"][:0]},
        "give every class at least one",
    ),
    "class 'class 2' has no training images": (
        {"train_features": ARRAYS["train_features"][:4], "train_labels": ARRAYS["train_labels"][:4]}, "give every",
    ),
    "train_features has shape (6, 0)": ({x: a[:, :0] for x, a in ARRAYS.items() if a.ndim == 2}, "(images, width)"),
}  # fmt: skip


@pytest.mark.parametrize("name", ("ZeroshotCLIP", "LinearProbe", "CCLI convex space visual"))
@pytest.mark.parametrize("what", IMAGES)
def test_bundles_without_images(tmp_path, what, name):
    changes, remedy = IMAGES[what]
    line = run(tmp_path, name, Problem(), **changes)
    assert what in line and remedy in line


OPTIONS = {
    ("TRAINER.CCLI.PENALTY", "1e999"): r"option TRAINER\.CCLI\.PENALTY is inf; give numbers between",
    ("TRAINER.CCLI.ALPHAS", "(0.0, 1e300)"): r"option TRAINER\.CCLI\.ALPHAS is \(0\.0, 1e\+300\); give numbers",
    ("TRAINER.CCLI.ALPHAS", "(0.0, 'x')"): r"TRAINER\.CCLI\.ALPHAS must be numbers >= 0, .*, got \(0\.0, 'x'\)",
    ("OPTIM.LR", "0.0"): r"OPTIM\.LR must be a number > 0, got 0\.0",
    ("OPTIM.WEIGHT_DECAY", "-1.0"): r"OPTIM\.WEIGHT_DECAY must be a number >= 0, got -1\.0",
    ("DATALOADER.TRAIN_X.BATCH_SIZE", "0"): r"TRAIN_X\.BATCH_SIZE must be an integer >= 1, got 0",
    ("DATALOADER.TEST.BATCH_SIZE", "-1"): r"TEST\.BATCH_SIZE must be an integer >= 1, got -1",
    ("TRAIN.PRINT_FREQ", "0"): r"PRINT_FREQ must be an integer >= 1, got 0",
    ("SEED", "10000000000"): r"SEED is 10000000000; it must be 4294967295 at most",
    ("TEST.SPLIT", "vall"): r"TEST\.SPLIT must be one of test, val, got 'vall'\. Did you mean 'val'\?",
    ("FEATURES.CROP", "()"): r"FEATURES\.CROP must be two shares .*, got \(\)",
    ("FEATURES.CROP", "('a', 'b')"): r"FEATURES\.CROP must be two shares .*, got \('a', 'b'\)",
}


@pytest.mark.parametrize("pair", OPTIONS)
def test_options_that_no_number_comes_of(tmp_path, pair):
    line = run(tmp_path, "CCLI mlp plain visual", Problem(), *pair)
    assert re.search(OPTIONS[pair], line)


def test_an_unknown_optimiser(tmp_path):
    assert "OPTIM cannot be used (Unknown name 'sdg'" in run(tmp_path, "CLIPAdapter", Problem(), "OPTIM.NAME", "sdg")


@pytest.mark.parametrize("power", [-44, -38, -30, -22, -14, -11, 0, 12, 18, 20, 30, 37])
def test_the_length_of_a_row_does_not_matter(power):
    """Squares of such numbers are no float32; a row is itself, whatever the others are."""
    rows = torch.tensor([[3.0, -4.0, 0.0, 0.0], [1.0, 1.0, -1.0, 1.0], [2.0, 0.5, 0.0, 1.0]])
    plain = unit(rows)
    torch.testing.assert_close(plain[:2], torch.tensor([[0.6, -0.8, 0, 0], [0.5, 0.5, -0.5, 0.5]]))
    long = rows.double().mul(10.0**power).float()
    tolerance = 0.2 if power < -42 else 1e-3 if power < -38 else 1e-6  # of few bits below float32's smallest
    torch.testing.assert_close(unit(long), plain, atol=tolerance, rtol=0)
    mixed = unit(torch.stack([long[0], rows[1], rows[2]]))
    assert torch.equal(mixed[1:], plain[1:]) and torch.equal(mixed[:1], unit(long[:1]))


@pytest.mark.parametrize("trainer", ["CCLI", "GDA", "TipAdapter", "LinearProbe"])
def test_features_of_other_lengths_give_the_same_result(trainer, tmp_path):
    path = bundle_file(tmp_path)
    results = []
    for part, factor in (("test", 1), ("test", 1e25), ("test", 1e-14), ("train", 1e25)):
        with np.load(path) as file:
            arrays = dict(file)
        arrays[f"{part}_features"] = (arrays[f"{part}_features"] * np.float64(factor)).astype(np.float32)
        place = tmp_path / f"{part}{factor}"
        place.mkdir()
        np.savez(place / "scaled.npz", **arrays)
        run_here(*bundle_args(place / "scaled.npz", place / "run", "OPTIM.MAX_EPOCH", 2, trainer=trainer))
        results.append(read_record(place / "run")["predictions"])
    assert results[1:] == results[:1] * 3 and len(set(results[0])) > 1
