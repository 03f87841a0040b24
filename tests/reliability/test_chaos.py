"""Kills, full and lost disks and flipped bits, a few of each; `python -m stress.chaos` does more."""

import subprocess

import pytest
from fork_server import python
from helpers import ROOT


def chaos(*argv) -> str:
    command = [python(), "-m", "stress.chaos", *map(str, argv)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("nothing was lost\n"), done.stdout + done.stderr
    return done.stdout


def test_a_few(tmp_path):
    said = chaos("--kills", 5, "--pairs", 2, "--flips", 70, "--faults", 1, "--works", "TaskRes", "--output", tmp_path)
    assert "kills: 5 (" in said and said.count("; 0 problems\n") == 4
    assert "pairs: 1 (" in said or "pairs: 0 (" in said  # the victim may have ended before
    assert "flips: 70 (store 10, checkpoint 10, " in said and "unnoticed" not in said
    assert "faults: 5 (write 1, create 1, move 1, open 1, read 1)" in said


@pytest.mark.slow
def test_many(tmp_path):
    chaos("--kills", 200, "--pairs", 12, "--real", 12, "--faults", 12, "--flips", 1000, "--output", tmp_path)
