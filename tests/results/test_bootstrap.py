"""Differences between methods, their errors by theory, and the command that lists them."""

import sys

import numpy as np
import pytest

from ccli.errors import CcliError
from ccli.results.records import write_record
from experiments import claims
from experiments.claims import difference


def record(right, seed=1, trainer="CCLI", dataset="dtd", shots=4, **fields):
    """A record whose images are right or not as `right` says."""
    right = [int(x) for x in right]
    correct, total = sum(right), len(right)
    return {
        "dataset": dataset, "trainer": trainer, "cfg": "rn50", "backbone": "RN50", "shots": shots, "seed": seed,
        "protocol": "validation", "selected_by": "validation", "correct": correct, "total": total,
        "accuracy": 100 * correct / total, "per_class": [{"name": "dotted", "correct": correct, "total": total}],
        "predictions": right, "labels": [1] * total, "hyper_parameters": {}, "seconds": {}, "versions": {},
        "config": {}, **fields,
    }  # fmt: skip


def test_one_seed_is_the_error_of_a_mean():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 400)) < [[0.8], [0.6]]
    found = difference([record(a)], [record(b, trainer="GDA")])
    d = a.astype(float) - b
    assert found.points == pytest.approx(100 * d.mean())
    assert found.error == pytest.approx(100 * d.std() / 20, rel=0.08)  # sigma / sqrt(n)


def test_draws_count_as_well_as_images():
    """Seeds that differ by a constant for all images: the error is that of a mean of seeds."""
    ours = [record([1] * 50, seed=k) for k in range(8)]
    theirs = [record([k % 2] * 50, seed=k, trainer="GDA") for k in range(8)]
    found = difference(ours, theirs)
    assert found.points == 50 and found.error == pytest.approx(100 * 0.5 / np.sqrt(8), rel=0.08)
    assert difference(ours, ours) == (0, 0)
    some = difference(ours, theirs[:1] + [record([1] * 50, seed=99)])  # seed 0 alone is shared
    assert some == pytest.approx((100, 0))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(CcliError, match="no seed that both methods have"):
        difference([record([1, 0])], [record([1, 0], seed=2)])
    with pytest.raises(CcliError, match="seed 1 of CCLI and GDA was not tested on the same images"):
        difference([record([1, 0])], [record([1, 0], trainer="GDA", labels=[0, 1])])


def run(monkeypatch, *argv):
    monkeypatch.setattr(sys, "argv", ["claims", *map(str, argv)])
    return claims.main()


def test_the_command(tmp_path, monkeypatch, capsys):
    half = {"CCLI": [1, 1, 1, 0], "GDA": [1, 1, 0, 0], "ZeroshotCLIP": [1, 0, 0, 0]}
    for name, right in half.items():
        write_record(tmp_path / name, record(right, trainer=name))
        write_record(tmp_path / f"{name} eurosat", record(right[::-1] * 2, trainer=name, dataset="eurosat"))
        target = record([1, 1, 1, 1], trainer=name, dataset="sketch", trained_on="dtd", run="x")
        write_record(tmp_path / f"{name} target", target)
    assert run(monkeypatch, tmp_path) == 0
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert lines[2][:3] == ["dtd, 4", "75.00", "50.00 (GDA)"] and lines[2][3].startswith("+25.00 ± ")
    assert lines[2][4].startswith("+50.00 ± ") and lines[3][0] == "eurosat, 4"
    assert [line[:2] for line in lines[-3:]] == [["ZeroshotCLIP", "25.00"], ["GDA", "50.00"], ["CCLI", "75.00"]]
    assert lines[-2][2].startswith("+25.00 ± ")
    assert run(monkeypatch, tmp_path, "--targets") == 0
    assert "sketch, 4" in capsys.readouterr().out
    assert run(monkeypatch, tmp_path / "GDA") == 2 and "no cell with CCLI" in capsys.readouterr().err
    write_record(tmp_path / "again", record(half["CCLI"], cfg="rn50_plain"))
    assert run(monkeypatch, tmp_path) == 2 and "CCLI has several configurations on dtd" in capsys.readouterr().err
