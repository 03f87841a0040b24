"""scripts/gpu_check.sh: the miniature on the CPU, and the runner that keeps what each step found."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fork_server import python
from helpers import ROOT

sys.path.append(str(ROOT / "scripts"))

from gpu_check.figures import Deadline, Figures
from gpu_check.page import PAGE
from gpu_check.runner import REPORT, Step, apart, run_steps
from gpu_check.wheels import missing

SCRIPTS = sys.path.pop()  # it has a folder that is called ccli

REPORT_OF_NOTHING = {"miniature": True, "machine": {"device": "none"}, "budget": 20}


def test_every_step_has_figures_in_miniature_and_none_fails(tmp_path):
    command = ["bash", ROOT / "scripts/gpu_check.sh", tmp_path / "out", "--cpu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHON": python()})
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    page = (tmp_path / "out/gpu_check.md").read_text()
    assert report["miniature"] and "A miniature on a CPU" in page and report["machine"]["torch"] in page
    assert {step["key"][0] for step in report["steps"]} == set("abcdegh")
    for step in report["steps"]:
        assert (step["status"], step["errors"]) == ("done", []), step
        names = [figure["name"] for figure in step["figures"]]
        assert len(names) > 1 and all(isinstance(figure["value"], float) for figure in step["figures"])
        assert any("peak memory" in name for name in names) and step["seconds"] >= 0
        assert f"({step['key'][0]}) {step['title']}" in page
        assert all(f"| {name} |" in page for name in names)
    assert "(f) Peak memory" in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["gpu_check.json", "gpu_check.md"]


def carried(*steps: Step, out: Path, budget: float = 100) -> dict:
    """The report of steps whose functions take the figures alone."""
    report = REPORT_OF_NOTHING | {"budget": budget}
    run_steps(steps, lambda step, deadline, figures: step.run(figures), report, out, budget)
    assert json.loads((out / REPORT).read_text()) == report
    return report


def good(figures: Figures) -> None:
    figures.add("speed", 3, "m/s", at_least=2)


def bad(figures: Figures) -> None:
    figures.add("found before", 1)
    raise ValueError("first line\nthe last line")


def test_a_failing_step_loses_nothing(tmp_path):
    report = carried(Step("x", "bad", bad, 50), Step("y", "good", good, 50), out=tmp_path)
    first, second = report["steps"]
    assert first["status"] == "failed" and first["errors"] == ["the step: ValueError: the last line"]
    assert [figure["name"] for figure in first["figures"]] == ["found before"]
    assert second["status"] == "done" and second["figures"][0]["met"] is True
    page = (tmp_path / PAGE).read_text()
    assert "found before" in page and "ValueError: the last line" in page and ">= 2: met" in page


def test_a_step_beyond_the_budget_is_skipped_and_said_so(tmp_path):
    report = carried(Step("x", "good", good, 50), Step("y", "late", good, 50), out=tmp_path, budget=9)
    assert [step["status"] for step in report["steps"]] == ["skipped", "skipped"]
    assert "of the budget are left" in report["steps"][1]["errors"][0]
    assert "2 skipped" in (tmp_path / PAGE).read_text()


def test_a_step_is_given_what_is_left_of_the_budget(tmp_path):
    given = []
    step = Step("x", "good", good, 50)
    run_steps(
        [step], lambda _, deadline, figures: given.append(deadline.left()), REPORT_OF_NOTHING.copy(), tmp_path, 20
    )
    assert 15 < given[0] <= 20


CHILD = """
import sys, time
sys.path.append({scripts!r})
from pathlib import Path
from gpu_check.figures import Figures
Figures(Path({path!r})).add("one", 1)
{then}
"""


@pytest.mark.parametrize(
    ("then", "error", "match"),
    [("", None, ""), ("sys.exit(3)", RuntimeError, "status 3"), ("time.sleep(60)", TimeoutError, "time was over")],
)
def test_figures_of_a_process_of_its_own_are_kept_whatever_becomes_of_it(tmp_path, then, error, match):
    path = tmp_path / "step.json"
    code = CHILD.format(scripts=SCRIPTS, path=str(path), then=then)
    figures, start = Figures(path), time.monotonic()
    command = [sys.executable, "-c", code]
    if error is None:
        apart(command, Deadline.after(60), figures, tmp_path / "log")
    else:
        seconds = 3 if error is TimeoutError else 60
        with pytest.raises(error, match=match):
            apart(command, Deadline.after(seconds), figures, tmp_path / "log")
    assert [figure["name"] for figure in figures.figures] == ["one"] and time.monotonic() - start < 50


def test_targets_and_numbers_that_are_not_finite():
    figures = Figures()
    figures.add("small", 1, at_least=2)
    figures.add("large", 3, at_most=2)
    figures.add("none", 3)
    figures.add("broken", float("nan"))
    assert [figure["met"] for figure in figures.figures] == [False, False, None]
    assert figures.errors == ["broken: ArithmeticError: nan is not finite"]


def test_wheels_of_what_is_installed_are_left_out(tmp_path):
    for name in ("torch-2.6.0-cp312-cp312-linux_x86_64.whl", "no_such_package-1.0-py3-none-any.whl"):
        (tmp_path / name).touch()
    assert [path.name for path in missing(tmp_path)] == ["no_such_package-1.0-py3-none-any.whl"]
    assert missing(tmp_path / "absent") == []
