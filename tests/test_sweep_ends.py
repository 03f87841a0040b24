"""How a sweep ends: only its own runs' results are shown, and every failure is named."""

from ccli.sweeps.execute import Outcome, cut_off
from ccli.sweeps.plan import Grid, runs_of
from helpers import bundle_file, run_here
from table_records import split
from test_sweep import sweep

from ccli.runs import FAILURE, find_records, read_record

GDA = ("--datasets", "tiny.npz", "--trainers", "GDA", "--shots", 4, "--output", "runs")


def test_a_refused_runs_old_result_is_not_in_the_table(tmp_path):
    """The bundle is another one now: seed 1 is refused, and its folder keeps what it has."""
    bundle_file(tmp_path)
    assert sweep(*GDA, "--seeds", 1, cwd=tmp_path).returncode == 0
    folder = tmp_path / "runs/tiny/GDA/rn50_4shots"
    before = (folder / "seed1/result.json").read_bytes()
    bundle_file(tmp_path, classes=5)
    done = sweep(*GDA, "--seeds", 1, 2, cwd=tmp_path)
    assert done.returncode == 1 and "0 done before, 1 done now, 1 failed" in done.stderr
    assert f"{folder}/seed1: {folder}/seed1 holds a run with DATASET.BUNDLE" in done.stderr.splitlines()[-1]
    assert split(done.stdout)[1] == ["GDA", f"{read_record(folder / 'seed2')['accuracy']:.2f}"]
    assert (folder / "seed1/result.json").read_bytes() == before and not (folder / f"seed1/{FAILURE}").exists()
    assert find_records(tmp_path / "runs")[1] == []


def test_a_process_that_died_is_not_done_by_anothers_record_and_has_no_traceback(tmp_path):
    bundle = bundle_file(tmp_path)
    grid = Grid([str(bundle)], ["GDA"], [4], [1, 2], output=tmp_path / "runs")
    ran, other = runs_of(grid)
    run_here(*ran.argv)
    assert cut_off(ran, "killed", "killed\n") == [Outcome(ran.name, ran.folder)]
    (outcome,) = cut_off(other, "killed", "killed: there is no traceback\n")
    assert outcome.error == "killed" and not outcome.traced and (other.folder / FAILURE).exists()
    bundle_file(tmp_path, classes=5)
    (outcome,) = cut_off(ran, "killed", "killed\n")
    assert outcome.error == "killed" and not (ran.folder / FAILURE).exists()
