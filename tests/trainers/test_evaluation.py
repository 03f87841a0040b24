"""`--eval-only --model-dir RUN`: its record, what it refuses, and when it is done again."""

import json
import os

import pytest
import torch
from helpers import ROOT, build, bundle_args, bundle_file, run_here
from torch.nn import functional as F

from ccli.features.bundles import read_bundle
from ccli.results.records import fingerprint, read_record, same_record

OF_THE_RUN = ("trainer", "cfg", "backbone", "shots", "seed", "protocol", "selected_by", "hyper_parameters")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two bundles (six classes, and the first four of them) and a finished run on the first."""
    folder = tmp_path_factory.mktemp("place")
    bundle_file(folder)
    bundle_file(folder, "some.npz", classes=4)
    run_here(*bundle_args(folder / "tiny.npz", folder / "run"))
    return folder


def evaluation(place, out, *opts, run="run", bundle="some.npz", flags=(), **other):
    args = bundle_args(place / bundle, out, *opts, **other)
    return run_here("--eval-only", "--model-dir", place / run, *flags, *args)


def by_hand(folder, features):
    """Logits [n, N] of a finished run of CCLI, from its checkpoint."""
    state = torch.load(folder / "head/model.pth.tar-1", weights_only=True)["state_dict"]
    z = (features - state["representation.mean"]) @ state["representation.projection"]
    parts = z.split(state["representation.widths"].tolist(), dim=1)
    z = torch.cat([F.normalize(part, dim=1) for part in parts], dim=1) / len(parts) ** 0.5
    zero_shot = state["zero_shot_scale"] * features @ state["text_features"].T
    return zero_shot + state["alpha"] * z @ state["network.concepts"].T @ state["network.weight"].T


def test_the_record_of_an_evaluation(place, tmp_path):
    out = evaluation(place, tmp_path / "x")
    record, run = read_record(tmp_path / "x"), read_record(place / "run")
    assert {key: record[key] for key in OF_THE_RUN} == {key: run[key] for key in OF_THE_RUN}
    assert (record["dataset"], record["trained_on"], record["run"]) == ("some", "tiny", fingerprint(run))
    test = read_bundle(place / "some.npz").test
    assert record["predictions"] == by_hand(place / "run", test.features)[:, :4].argmax(1).tolist()
    right = [a == b for a, b in zip(record["predictions"], test.labels.tolist())]
    assert (record["correct"], record["total"], record["accuracy"]) == (sum(right), 80, 100 * sum(right) / 80)
    for k, share in enumerate(record["per_class"]):
        assert share == {"name": f"class {k}", "correct": sum(right[20 * k : 20 * (k + 1)]), "total": 20}
    assert record["config"]["DATASET"]["BUNDLE"].startswith("some.npz ")
    assert str(tmp_path) not in json.dumps(record) and str(place) not in json.dumps(record)
    assert "No record" not in out and set(record["seconds"]) == {"encode", "test"}


def test_on_the_data_set_of_its_training(place, tmp_path):
    evaluation(place, tmp_path / "x", bundle="tiny.npz")
    differing = same_record(read_record(tmp_path / "x"), read_record(place / "run"))
    assert differing == ["run"]  # it is trained_on nothing else


def test_another_codebase_gets_the_record_too(place, tmp_path):
    evaluation(place, tmp_path / "x")
    trainer = build(*bundle_args(place / "some.npz", tmp_path / "y"))
    trainer.load_model(str(place / "run"))
    trainer.test()
    assert same_record(read_record(tmp_path / "y"), read_record(tmp_path / "x")) == []


def shapes_args(name, trainer, folder):
    return [
        *("--root", folder / "data", "--seed", 1, "--trainer", trainer),
        *("--output-dir", folder / trainer / name),
        *("--dataset-config-file", ROOT / f"configs/datasets/{name}.yaml"),
        *("--config-file", ROOT / f"configs/trainers/{trainer}/demo_clip.yaml"),
        *("DATASET.NUM_SHOTS", 2, "FEATURES.VIEWS", 0, "FEATURES.VOCABULARY", folder / "words.txt"),
    ]  # fmt: skip


def test_logits_are_restricted_to_the_classes_there_are(tmp_path, monkeypatch):
    from ccli.datasets.concept_shapes import ConceptShapes, ConceptShapesV2

    monkeypatch.setattr(ConceptShapes, "counts", {"train": 2, "val": 1, "test": 1})
    monkeypatch.setattr(ConceptShapesV2, "counts", {"test": 4})
    (tmp_path / "words.txt").write_text("\n".join(["red", "blue", "striped", "dotted", "round", "on grass", "dark"]))
    for trainer in ("CCLI", "ZeroshotCLIP"):
        run_here(*shapes_args("concept_shapes", trainer, tmp_path))
        args = shapes_args("concept_shapes_r", trainer, tmp_path)
        run_here("--eval-only", "--model-dir", tmp_path / trainer / "concept_shapes", *args)
        record = read_record(tmp_path / trainer / "concept_shapes_r")
        split = build(*args).source.test()
        assert (record["dataset"], record["trained_on"]) == ("concept_shapes_r", "concept_shapes")
        assert record["total"] == len(split) == 32 and len(record["per_class"]) == 8
        text = build(*shapes_args("concept_shapes", trainer, tmp_path)).source.text()[0]
        logits = split.features @ text.T
        if trainer == "CCLI":
            logits = by_hand(tmp_path / trainer / "concept_shapes", split.features)
        assert logits.shape == (32, 24)
        assert record["predictions"] == logits[:, ::3].argmax(1).tolist()  # _r has every third class
        assert logits.argmax(1).remainder(3).any()  # unrestricted, some guesses would be other classes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trainer": "ZeroshotCLIP"}, r"holds a run of CCLI, not of ZeroshotCLIP; give --trainer CCLI"),
        ({"shots": 2}, r"holds a run with DATASET\.NUM_SHOTS 4, not 2; give the run's, or leave it out"),
        ({"seed": 2}, r"holds a run with SEED 1, not 2; give the run's, or leave it out"),
    ],
)
def test_what_contradicts_the_run_is_refused(place, tmp_path, change, words):
    with pytest.raises(SystemExit, match=f"^error: {place / 'run'} {words}$"):
        evaluation(place, tmp_path / "x", **change)
    assert not (tmp_path / "x").exists()


def test_what_is_not_given_is_the_runs(place, tmp_path):
    evaluation(place, tmp_path / "x", shots=-1, seed=-1)
    record = read_record(tmp_path / "x")
    assert (record["shots"], record["seed"]) == (4, 1)
    assert (record["config"]["DATASET"]["NUM_SHOTS"], record["config"]["SEED"]) == (-1, -1)


def test_where_no_record_is_written_a_line_says_why(place, tmp_path):
    def why(out):
        (line,) = [line for line in out.splitlines() if line.startswith("No record is written: ")]
        assert "=> result" in out and not (tmp_path / "x/result.json").exists()
        return line

    assert "TEST.SPLIT is val" in why(evaluation(place, tmp_path / "x", "TEST.SPLIT", "val"))
    earlier = place / "run/head/model.pth.tar-0"
    earlier.write_bytes((place / "run/head/model.pth.tar-1").read_bytes())
    assert "leave out --load-epoch 0" in why(evaluation(place, tmp_path / "x", flags=("--load-epoch", 0)))
    earlier.unlink()
    evaluation(place, tmp_path / "last", flags=("--load-epoch", 1))  # as the run ended
    assert (tmp_path / "last/result.json").exists()
    args = bundle_args(place / "tiny.npz", tmp_path / "x", trainer="ZeroshotCLIP")
    assert "give --model-dir RUN" in why(run_here("--eval-only", *args))
    result = place / "run/result.json"
    content = result.read_bytes()
    try:
        result.write_text("{")
        assert f"{place / 'run'} has no readable result.json; finish that run" in why(evaluation(place, tmp_path / "x"))
    finally:
        result.write_bytes(content)


def test_a_runs_own_record_is_left_alone(place, tmp_path):
    before = (place / "run/result.json").read_bytes()
    for flags in ((), ("--skip-done",)):
        for bundle in ("tiny.npz", "some.npz"):
            out = evaluation(place, place / "run", bundle=bundle, flags=flags)
            assert "=> result" in out and f"{place / 'run'} is a training run's own folder; give another" in out
    assert (place / "run/result.json").read_bytes() == before


def test_done_evaluations_are_skipped(place, tmp_path):
    flags, x = ("--skip-done",), tmp_path / "x"
    assert "=> result" in evaluation(place, x, flags=flags)
    assert evaluation(place, x, flags=flags) == f"{x} is done; skipped\n"
    written = os.stat(x / "result.json").st_mtime_ns
    os.utime(place / "run/result.json", ns=(written + 1, written + 1))  # the run was made again
    assert "=> result" in evaluation(place, x, flags=flags)
    assert evaluation(place, x, flags=flags) == f"{x} is done; skipped\n"
    (x / "result.json").write_text("{")
    assert "=> result" in evaluation(place, x, flags=flags)
    run_here(*bundle_args(place / "tiny.npz", place / "other", "TRAINER.CCLI.PENALTY", 5.0))
    os.utime(place / "other/result.json", ns=(written, written))  # another run, and an older one
    assert "=> result" in evaluation(place, x, run="other", flags=flags)
    assert read_record(x)["run"] == fingerprint(read_record(place / "other"))


def test_a_folder_is_of_one_evaluation(place, tmp_path):
    flags, x = ("--skip-done",), tmp_path / "x"
    evaluation(place, x)
    with pytest.raises(SystemExit, match=r"^error: .*x holds a run with DATASET\.BUNDLE 'some\.npz .*'tiny\.npz "):
        evaluation(place, x, bundle="tiny.npz", flags=flags)
    with pytest.raises(SystemExit, match=r"^error: .*x holds the record of an evaluation; choose another"):
        run_here(*flags, *bundle_args(place / "some.npz", x))


def test_the_record_of_something_else_is_not_overwritten(place, tmp_path):
    evaluation(place, tmp_path / "x")
    before = (tmp_path / "x/result.json").read_bytes()
    with pytest.raises(
        SystemExit, match=r"holds a record with dataset 'some', not 'tiny'; choose another --output-dir"
    ):
        evaluation(place, tmp_path / "x", bundle="tiny.npz")
    with pytest.raises(SystemExit, match=r"holds the record of an evaluation; choose another --output-dir"):
        run_here(*bundle_args(place / "some.npz", tmp_path / "x"))
    assert (tmp_path / "x/result.json").read_bytes() == before
    evaluation(place, tmp_path / "x")  # the same again


def test_a_list_of_picks_in_the_home_folder_is_hashed(tmp_path, monkeypatch):
    from helpers import config

    from ccli.trainers.common.options import plain_config

    monkeypatch.setenv("HOME", str(tmp_path))
    seen = set()
    for content in ("{}", "{} "):
        (tmp_path / "picks.json").write_text(content)
        seen.add(plain_config(config(PICKS="~/picks.json"))["DATASET"]["PICKS"])
    assert len(seen) == 2 and all(name.startswith("picks.json ") for name in seen)
