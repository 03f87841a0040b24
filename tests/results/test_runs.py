"""A run's record: checked, atomic, and compared without what changes from run to run."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ccli.errors import CcliError
from ccli.results import records
from ccli.results.schema import FIELDS

GOOD = {
    "version": 2,
    "dataset": "dtd",
    "trainer": "CCLI",
    "cfg": "rn50",
    "backbone": "RN50",
    "shots": 16,
    "seed": 1,
    "protocol": "validation",
    "selected_by": "validation",
    "correct": 2,
    "total": 3,
    "accuracy": 100 * 2 / 3,
    "per_class": [{"name": "dotted", "correct": 1, "total": 1}, {"name": "lined", "correct": 1, "total": 2}],
    "predictions": [0, 1, 0],
    "labels": [0, 1, 1],
    "hyper_parameters": {"alpha": 0.1, "epochs": 20},
    "seconds": {"train": 1.5, "test": 0.25},
    "versions": {"python": "3.11"},
    "config": {"TRAINER": {"NAME": "CCLI"}},
}


@pytest.fixture
def record():
    return copy.deepcopy(GOOD)


def test_round_trip_and_default_version(tmp_path, record):
    del record["version"]
    path = records.write_record(tmp_path / "new" / "seed1", record)
    assert path == tmp_path / "new" / "seed1" / "result.json"
    assert records.read_record(path) == records.read_record(path.parent) == GOOD
    assert "version" not in record, "the caller's dict is left alone"
    assert records.is_done(path.parent)
    assert [p.name for p in path.parent.iterdir()] == ["result.json"], "no temporary file stays"


@pytest.mark.parametrize("crash", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_crash_before_the_replace_leaves_no_record(tmp_path, record, monkeypatch, crash):
    def stop(source, target):
        whole = json.loads(Path(source).read_text())
        assert len(whole.pop("digest")) == 64 and whole == GOOD, "the temporary file is complete before the replace"
        assert Path(source).parent == Path(target).parent
        raise crash

    monkeypatch.setattr(records.os, "replace", stop)
    expected = CcliError if isinstance(crash, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        records.write_record(tmp_path, record)
    assert not records.is_done(tmp_path)
    assert records.find_records(tmp_path) == ([], [])


def test_a_crash_keeps_the_earlier_record(tmp_path, record, monkeypatch):
    records.write_record(tmp_path, record)
    monkeypatch.setattr(records.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(CcliError, match=r"result\.json \(Input/output error\)"):
        records.write_record(tmp_path, record | {"seed": 2})
    assert records.read_record(tmp_path)["seed"] == 1


def test_a_temporary_file_left_by_a_kill_is_no_record(tmp_path):
    (tmp_path / ".result.json.1234.tmp").write_text(json.dumps(GOOD))
    assert not records.is_done(tmp_path)
    assert records.find_records(tmp_path) == ([], [])


BAD = [
    ({"version": 1}, "version 1"),
    ({"accuracy": 66.7}, "accuracy = 66.7"),
    ({"accuracy": float("nan")}, "accuracy = nan: expected `float`"),
    ({"correct": 3, "accuracy": 100.0}, "correct of per_class sum to 2"),
    ({"total": 4, "accuracy": 50.0}, "total of per_class sum to 3"),
    ({"correct": 4}, "of only 3"),
    ({"total": 0}, "total = 0"),
    ({"per_class": [{"name": "dotted", "correct": 2, "total": 1}]}, "per_class"),
    ({"predictions": [0, 1]}, "2 predictions for 3"),
    ({"predictions": [0, 1, 0.0]}, r"predictions\[2\]: expected `int`, got `float`"),
    ({"labels": [0, 1]}, "2 labels for 3"),
    ({"labels": [1, 1, 1]}, "1 predictions are their image's label"),
    ({"protocol": "Paper"}, "one of validation, fixed, paper"),
    ({"selected_by": "luck"}, "one of none"),
    ({"selected_by": "test"}, "only protocol paper"),
    ({"seed": True}, "seed = True"),
    ({"seed": "1"}, "seed = '1'"),
    ({"seconds": {"train": float("inf")}}, "seconds"),
    ({"config": None}, "config"),
    ({"trained_on": ""}, "trained_on = '': expected `str` of length >= 1"),
    ({"trained_on": None}, "trained_on"),
    ({"run": 1}, "run = 1"),
]


@pytest.mark.parametrize("change, words", BAD)
def test_a_bad_record_is_refused_by_writer_and_reader(tmp_path, record, change, words):
    bad = record | change
    with pytest.raises(CcliError, match=words):
        records.write_record(tmp_path / "w", bad)
    assert not (tmp_path / "w").exists()
    path = tmp_path / "result.json"
    path.write_text(json.dumps(bad))
    with pytest.raises(CcliError) as caught:
        records.read_record(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and "repeat the run" in str(caught.value)
    assert not records.is_done(tmp_path)


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "version"])
def test_every_field_is_required(tmp_path, record, name):
    del record[name]
    with pytest.raises(CcliError, match=f"no field '{name}'"):
        records.write_record(tmp_path, record)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), {1, 2}, object()])
def test_what_json_cannot_hold_is_refused_by_name(tmp_path, record, value):
    record["hyper_parameters"]["alpha"] = value
    with pytest.raises(CcliError, match="'hyper_parameters'"):
        records.write_record(tmp_path, record)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", json.dumps(GOOD)[:-40], '{"accuracy": NaN}', "[1]", "\udcff"])
def test_a_file_that_is_no_record(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CcliError, match="delete it and repeat the run") as caught:
        records.read_record(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["", "nowhere", "nowhere/result.json"])
def test_a_missing_record_names_the_file_and_the_remedy(tmp_path, name):
    with pytest.raises(CcliError, match=r"result\.json does not exist.*finish the run"):
        records.read_record(tmp_path / name)
    assert not records.is_done(tmp_path / name)


def test_find_records_sorts_and_reports(tmp_path, record):
    for name in ("b/seed1", "a/seed2", "a/seed1"):
        records.write_record(tmp_path / name, record)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "result.json").write_text("{")
    found, problems = records.find_records(tmp_path)
    assert [str(p.parent.relative_to(tmp_path)) for p, _ in found] == ["a/seed1", "a/seed2", "b/seed1"]
    assert all(r == GOOD for _, r in found)
    assert len(problems) == 1 and str(tmp_path / "c" / "result.json") in problems[0]
    with pytest.raises(CcliError, match="no such folder"):
        records.find_records(tmp_path / "d")


def test_a_folder_that_is_called_like_a_record(tmp_path, record):
    (tmp_path / "seed1" / "result.json").mkdir(parents=True)
    records.write_record(tmp_path / "seed2", record)
    found, problems = records.find_records(tmp_path)
    assert [path.parent.name for path, _ in found] == ["seed2"]
    assert problems == [
        f"{tmp_path}/seed1/result.json is a folder, where a run writes a file of that name; rename or remove it"
    ]
    for path in (tmp_path / "seed1", tmp_path / "seed1" / "result.json"):
        with pytest.raises(CcliError, match="is a folder"):
            records.read_record(path)


def test_same_record_leaves_out_seconds_and_versions(record):
    other = copy.deepcopy(record) | {"seconds": {}, "versions": {}}
    other["hyper_parameters"] = {"epochs": 20, "alpha": 0.1}
    other["predictions"] = tuple(other["predictions"])
    assert records.same_record(record, other) == []
    other["seed"], other["note"] = 2, "x"
    del other["config"]
    assert records.same_record(record, other) == records.same_record(other, record) == ["config", "note", "seed"]


def test_an_evaluation_has_two_fields_more(tmp_path, record):
    assert not records.is_evaluation(record)
    for more in ({"run": "0123456789abcdef"}, {"trained_on": "pets"}):
        records.write_record(tmp_path, record | more)
        assert records.is_evaluation(records.read_record(tmp_path)) and records.read_record(tmp_path) == GOOD | more


def test_a_fingerprint_is_of_what_same_record_compares(record):
    other = dict(reversed(list(record.items()))) | {"seconds": {}, "versions": {}}
    assert records.fingerprint(record) == records.fingerprint(other) and len(records.fingerprint(record)) == 16
    assert records.fingerprint(record) != records.fingerprint(record | {"seed": 2})


def test_versions_names_absent_packages_and_does_not_import_torch(monkeypatch):
    script = "import sys, json; from ccli.results import records as r; "
    script += "print(json.dumps([r.versions(), 'torch' in sys.modules]))"
    root = Path(records.__file__).parents[1]
    found, imported = json.loads(subprocess.check_output([sys.executable, "-c", script], cwd=root))
    assert not imported and found["threads"] is None
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert list(found) == ["python", "ccli", "torch", "numpy", "open_clip", "threads"]

    def absent(name):
        raise records.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(records.metadata, "version", absent)
    assert records.versions()["torch"] is None


def test_versions_counts_threads_once_torch_is_there():
    torch = pytest.importorskip("torch")
    assert records.versions()["threads"] == torch.get_num_threads()


def test_a_failed_run_is_a_problem_until_it_is_done(tmp_path, record):
    records.write_record(tmp_path / "seed1", record)
    (tmp_path / "seed1" / records.FAILURE).write_text("an attempt before")
    (tmp_path / "seed2").mkdir()
    (tmp_path / "seed2" / records.FAILURE).write_text("Traceback\n  line\nccli.errors.CcliError: no images\n")
    found, problems = records.find_records(tmp_path)
    assert len(found) == 1 and problems == [f"{tmp_path / 'seed2'} failed: ccli.errors.CcliError: no images"]
