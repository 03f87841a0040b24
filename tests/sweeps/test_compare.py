"""scripts/compare.sh: all methods on one data set, one table."""

import os
import subprocess

import pytest
from fork_server import python
from helpers import ROOT, bundle_file

from ccli.results.records import find_records


def compare(*argv, cwd=None, **env):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHON": python()} | env
    command = ["bash", str(ROOT / "scripts/compare.sh"), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=300)


def test_a_comparison_and_its_table(tmp_path):
    """From another folder, with relative paths; CoOp is left out on a bundle; what is done is skipped."""
    bundle_file(tmp_path)
    env = {"METHODS": "zsclip coop tip_adapter_f ccli", "SEEDS": "1 2", "OUT": "runs"}
    run = compare("tiny.npz", 4, cwd=tmp_path, **env)
    assert run.returncode == 0, run.stderr
    rows = [
        [cell.strip(" *") for cell in line.strip("|").split("|")] for line in run.stdout.splitlines() if "|" in line
    ]
    assert rows[0] == ["trainer", "tiny, 4 shots", "to CCLI"]
    records, _ = find_records(tmp_path / "runs")
    means = {}
    for _, record in records:
        means.setdefault(record["trainer"], []).append(record["accuracy"])
    assert [row[0] for row in rows[2:5]] == ["ZeroshotCLIP", "TipAdapterF", "CCLI"] and len(records) == 6
    for name, cell, difference in rows[2:5]:
        mean = sum(means[name]) / 2
        assert cell.startswith(f"{mean:.2f} ±")
        assert difference == ("" if name == "CCLI" else f"{mean - sum(means['CCLI']) / 2:+.2f}")
    assert "TipAdapterF" in run.stderr  # how far it is
    again = compare("tiny.npz", 4, cwd=tmp_path, **env)
    assert again.stdout == run.stdout


def test_the_authors_protocol_is_marked_and_kept_apart(tmp_path):
    bundle_file(tmp_path)
    env = {"METHODS": "tip_adapter", "SEEDS": "1", "OUT": "runs", "PROTOCOL": "paper"}
    run = compare("tiny.npz", 4, cwd=tmp_path, **env)
    assert run.returncode == 0 and "| TipAdapter † |" in run.stdout, run.stderr
    ((path, record),) = find_records(tmp_path / "runs")[0]
    assert record["protocol"] == "paper" and record["selected_by"] == "test" and "/rn50_4shots/paper/" in str(path)


@pytest.mark.parametrize(("argv", "words"), [((), "Usage"), (("x",), "Usage"), (("-h",), "METHODS")])
def test_usage(argv, words):
    assert words in compare(*argv).stdout


def test_an_unknown_method_is_named(tmp_path):
    run = compare("x.npz", 4, METHODS="zsclip tipadapter")
    assert run.returncode == 2 and "no method tipadapter; there are" in run.stderr and "tip_adapter_f" in run.stderr
