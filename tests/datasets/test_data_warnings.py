"""What is said of a person's data: on the terminal once, in each record, and on the pages."""

import warnings

import pytest
from helpers import run_here, sweep
from picture_folders import args, draw, fill

from ccli import cli
from ccli.errors import CcliWarning, warn, warnings_into
from ccli.results.records import find_records, read_record


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """Pictures of which one file cannot be used and one class has fewer than four."""
    monkeypatch.setenv("CCLI_STORE", str(tmp_path / "store"))
    folder = fill(tmp_path / "my pets", train__cat=4, train__dog=3, test__cat=2, test__dog=2)
    (folder / "train/cat/notes.txt").write_text("")
    return folder


LEFT_OUT = "my pets: left out entries of class folders that are not images: 1 (train/cat/notes.txt)"
FEW = "my pets: 1 of 2 classes have fewer than 4 training images; all they have are used"


def test_a_run_says_it_and_keeps_it(pets, tmp_path):
    out = run_here(*args(pets, tmp_path / "run", "FEATURES.CROPS", 0, shots=4, trainer="GDA"))
    assert read_record(tmp_path / "run")["warnings"] == [LEFT_OUT, FEW]
    assert [line for line in out.splitlines() if line.startswith("warning: ")] == [
        f"warning: {LEFT_OUT}", f"warning: {FEW}"
    ]  # fmt: skip
    assert all(f"warning: {text}" in (tmp_path / "run/log.txt").read_text() for text in (LEFT_OUT, FEW))
    (pets / "train/cat/notes.txt").unlink()
    draw(pets / "train/dog/3.png", 9)
    run_here(*args(pets, tmp_path / "other", "FEATURES.CROPS", 0, shots=4, trainer="GDA"))
    assert "warnings" not in read_record(tmp_path / "other")


def test_a_sweep_says_it_once_and_the_pages_show_it(pets, tmp_path):
    argv = ["--datasets", pets, "--trainers", "GDA", "CCLI", "--shots", 4, "--seeds", 1, 2, "--cfg", "demo_clip",
            "--output", tmp_path / "out", "FEATURES.CROPS", 0]  # fmt: skip
    err = sweep(*argv).stderr
    assert "CcliWarning" not in err and err.index(LEFT_OUT) < err.index("seed 1: "), "before the first result"
    assert err.count(f"warning: {LEFT_OUT}") == err.count(f"warning: {FEW}") == 1
    records = find_records(tmp_path / "out")[0]
    assert len(records) == 4 and all(record["warnings"] == [LEFT_OUT, FEW] for _, record in records)
    assert cli.main(["report", str(tmp_path / "out"), "--to", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "Warnings (2)" in page and f"<li>{LEFT_OUT}</li>" in page
    run = next(path.parent for path, record in records if record["trainer"] == "CCLI")
    assert cli.main(["report", "--concepts", str(run), "--to", str(tmp_path / "concepts.html")]) == 0
    assert FEW in (tmp_path / "concepts.html").read_text()


def test_an_evaluation_has_the_warnings_of_its_own_data(pets, tmp_path):
    run_here(*args(pets, tmp_path / "run", "FEATURES.CROPS", 0, shots=3, trainer="GDA"))
    (pets / "test/dog/readme.txt").write_text("")
    run_here(
        "--eval-only", "--model-dir", tmp_path / "run",
        *args(pets, tmp_path / "again", "FEATURES.CROPS", 0, shots=3, trainer="GDA"),
    )  # fmt: skip
    (text,) = read_record(tmp_path / "again")["warnings"]
    assert "2 (train/cat/notes.txt, test/dog/readme.txt)" in text


def test_other_warnings_pass_and_each_text_is_said_once(capsys):
    found = ["before"]
    with warnings.catch_warnings(record=True) as passed, warnings_into(found):
        warnings.simplefilter("always")
        for text in ("before", "new", "new"):
            warn(text)
        warnings.warn("of a library", UserWarning, stacklevel=1)
    assert found == ["before", "new"] and capsys.readouterr().out == "warning: new\n"
    assert [str(one.message) for one in passed] == ["of a library"]
    with pytest.warns(CcliWarning, match="again"):
        warn("again")
