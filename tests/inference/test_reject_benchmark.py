"""The benchmark of --reject: its arithmetic by hand, and all of it on a small bundle."""

import math
import re
import sys

import numpy as np
import pytest
from fork_server import python
from helpers import bundle_file

from ccli.results.records import read_record
from experiments import reject


def run_of(probability, right):
    return reject.Tested(np.array(probability), np.array(right), {})


def test_what_is_kept():
    one = run_of([0.9, 0.5, 0.2, 0.7], [True, False, False, True])
    assert reject.kept(one, 0) == (100, 50)
    share, accuracy = reject.kept(one, 0.5)  # 0.5 itself is kept
    assert (share, accuracy) == (75, pytest.approx(200 / 3))
    assert reject.kept(one, 0.6) == (50, 100)
    share, accuracy = reject.kept(one, 0.95)
    assert share == 0 and math.isnan(accuracy)


def test_right_against_wrong():
    assert reject.auroc(run_of([0.9, 0.5, 0.2, 0.5], [True, False, False, False])) == 100
    # Of four pairs the right label is more probable in two and as probable in one.
    assert reject.auroc(run_of([0.8, 0.6, 0.6, 0.7], [True, True, False, False])) == pytest.approx(62.5)
    assert math.isnan(reject.auroc(run_of([0.8, 0.6], [True, True])))


def test_rows_and_means():
    runs = [run_of([0.99, 0.4], [True, False]), run_of([0.65, 0.4], [False, True])]
    rows, means = reject.reject_table(runs)
    assert [row[0] for row in rows] == ["0", "0.3", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "0.99"]
    assert rows[0] == ["0", "100.00 ± 0.00", "50.00 ± 0.00"]
    assert rows[2] == ["0.5", "50.00 ± 0.00", "50.00 ± 70.71"]
    assert rows[4] == ["0.7", "25.00 ± 35.36", "100.00 (1 of 2 seeds)"]
    assert means == [50, 50, 50, 50, 100, 100, 100, 100, 100]
    rows, means = reject.reject_table([run_of([0.4], [True])])
    assert rows[2] == ["0.5", "0.00", "-"] and means == [100, 100]


@pytest.mark.parametrize("means, expected", [([1, 2, 3], True), ([1, 2, 2], False), ([1, 3, 2], False), ([1], True)])
def test_rising_is_at_every_step(means, expected):
    assert reject.rises(means) is expected


def test_all_of_it_on_a_bundle(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", python())  # which it starts sweep.py with
    bundle = bundle_file(tmp_path)
    arguments = ["--dataset", bundle, "--shots", 2, "--seeds", 1, 2, "--output", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", ["reject", *map(str, arguments)])
    monkeypatch.setattr(reject, "METHODS", ("ZeroshotCLIP", "CCLI"))
    status = reject.main()
    out = capsys.readouterr().out
    assert "tiny: CCLI, 2 shots, seeds 1 2, 120 test images" in out
    means = [float(x) for x in re.search(r"every step of P: (.+)", out)[1].split(", ")]
    records = [read_record(tmp_path / f"out/tiny/CCLI/rn50_2shots/seed{seed}") for seed in (1, 2)]
    assert means[0] == pytest.approx(sum(r["accuracy"] for r in records) / 2, abs=0.005)
    assert status == (0 if reject.rises(means) else 1)
    cells = next(line.strip("| ").split("|") for line in out.splitlines() if line.startswith("| CCLI"))
    ece = np.mean([100 * r["calibration"]["ece"] for r in records])
    assert float(cells[5].split("±")[0]) == pytest.approx(ece, abs=0.051)

    # Labels that are not the record's are an error in words.
    path = tmp_path / "out/tiny/CCLI/rn50_2shots/seed1/classifier.json"
    other = path.parent.parent / "seed2"
    for name in ("classifier.json", "classifier.safetensors"):
        (path.parent / name).write_bytes((other / name).read_bytes())
    monkeypatch.setattr(reject, "train", lambda grid: None)
    assert reject.main() == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(r"reject: error: .*seed1: \d+ of 120 labels are not the record's; make the run again", error)
