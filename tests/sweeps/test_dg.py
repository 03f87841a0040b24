"""scripts/ccli/dg.sh as a user calls it: the source, its four shifted versions, and one table."""

import os
import subprocess
from fractions import Fraction

import pytest
from fork_server import python
from helpers import ROOT

from ccli.results.records import fingerprint, read_record

SOURCE, TARGETS = "concept_shapes", [f"concept_shapes_{shift}" for shift in ("v2", "sketch", "a", "r")]


def dg_sh(*args, cwd, **env):
    """scripts/ccli/dg.sh: the process, ended."""
    environment = os.environ | {"PYTHON": python(), "OMP_NUM_THREADS": "1", "OUT": "runs", "SEEDS": "1"} | env
    command = ["bash", str(ROOT / "scripts/ccli/dg.sh"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def folder(out, name, trainer):
    below = "" if name == SOURCE else f"from_{SOURCE}/"
    return out / name / trainer / f"demo_clip_1shots/{below}seed1"


def percent(accuracy: Fraction) -> str:
    return f"{float(100 * accuracy):.2f}"


def test_source_targets_and_their_mean(few_pictures):
    done = dg_sh(1, "--demo", cwd=few_pictures)
    assert done.returncode == 0, done.stderr
    head, rule, *rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert set(rule) <= set("|-:") and done.stdout.startswith(head)  # one table, and nothing before it
    cells = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in [head, *rows]]
    assert cells[0] == ["trainer", *(f"{name}, 1 shot" for name in (SOURCE, *TARGETS, "mean of targets"))]
    assert cells.pop()[0] == "CCLI to the best other"
    for trainer, line in zip(("CCLI", "ZeroshotCLIP"), cells[1:], strict=True):
        run, *tests = (read_record(folder(few_pictures / "runs", name, trainer)) for name in (SOURCE, *TARGETS))
        exact = [Fraction(record["correct"], record["total"]) for record in (run, *tests)]
        assert line == [trainer, *map(percent, exact), percent(sum(exact[1:]) / 4)]
        for name, record in zip(TARGETS, tests):
            assert (record["dataset"], record["trained_on"], record["run"]) == (name, SOURCE, fingerprint(run))
        assert [record["total"] for record in (run, *tests)] == [48, 72, 72, 36, 24]


BAD = [(), ("1", "demo_clip", "x"), ("1", "--dmo"), ("3.5", "--demo"), ("--demo",), ("", "--demo")]


@pytest.mark.parametrize("args", BAD)
def test_bad_arguments(tmp_path, args):
    done = dg_sh(*args, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr and not list(tmp_path.iterdir())


def test_help(tmp_path):
    for args in (("--help",), ("1", "--demo", "-h")):
        done = dg_sh(*args, cwd=tmp_path)
        assert done.returncode == 0 and "SHOTS --demo [CFG]" in done.stdout
