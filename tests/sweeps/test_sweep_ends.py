"""How a sweep ends: only its own runs' results are shown, and every failure is named."""

from helpers import bundle_file, run_here
from table_records import cells, split
from test_sweep import sweep

from ccli.results.records import FAILURE, find_records, read_record
from ccli.sweeps.execute import Outcome, cut_off, execute
from ccli.sweeps.plan import Grid, runs_of

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


def test_a_difference_that_cannot_be_told_does_not_cost_the_table(tmp_path):
    """Two rows of GDA, as in a grid over an option; and none at all, where its run failed."""
    bundle_file(tmp_path)
    argv = ("--datasets", "tiny.npz", "--shots", 4, "--seeds", 1, "--output", "runs", "--against", "GDA")
    grid = sweep(*argv, "--trainers", "CCLI", "GDA", "TRAINER.GDA.WEIGHT", "1.0,2.0", cwd=tmp_path)
    assert grid.returncode == 0 and len(cells(grid.stdout)) == 1 + 4, grid.stderr
    (warning,) = [line for line in grid.stderr.splitlines() if line.startswith("warning: ")]
    assert "difference to GDA needs one row of it, and this table has 2 rows" in warning
    failed = sweep(*argv, "--trainers", "GDA", "ZeroshotCLIP", "TRAINER.GDA.WEIGHT", "-1.0", cwd=tmp_path)
    assert failed.returncode == 1 and split(failed.stdout)[1][0] == "ZeroshotCLIP", failed.stderr
    assert "warning: a difference to GDA needs one row of it" in failed.stderr


def test_the_name_of_against_is_checked_before_anything_is_run(tmp_path):
    bundle_file(tmp_path)
    done = sweep(*GDA, "--against", "GAD", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("sweep.py: error: --against GAD") and not done.stdout
    assert "Did you mean 'GDA'" in done.stderr and not (tmp_path / "runs").exists()


def test_a_dry_run_names_what_cannot_be_run(tmp_path):
    """A bundle that is not there, one name for two bundles, and test images alone for a method that learns."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        bundle_file(tmp_path / name)
    datasets = ("a/tiny.npz", "b/tiny.npz", "gone.npz", "concept_shapes_r")
    argv = ("--datasets", *datasets, "--trainers", "ZeroshotCLIP", "GDA", "--shots", 4, "--seeds", 1, 2)
    done = sweep(*argv, "--output", "runs", "--dry-run", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and [line.split()[:4] for line in lines[2:4]] == [
        ["ZeroshotCLIP", "8", "0", "2"], ["GDA", "8", "0", "0"],
    ]  # fmt: skip
    bundles = f"{tmp_path}/a/tiny.npz and {tmp_path}/b/tiny.npz"
    assert f"8 runs cannot be made: two runs claim this folder: those of {bundles}; rename a bundle" in lines
    (gone,) = [line for line in lines if f"no bundle at {tmp_path}/gone.npz" in line]
    assert gone.startswith("4 runs cannot be made: ")
    assert "2 runs cannot be made: concept_shapes_r is for evaluation only; give it to --targets" in done.stdout


def test_what_is_missing_is_named_once_and_the_rest_goes_on(tmp_path):
    """A bundle that is not there: as a data set, and as a target of runs that can be made."""
    bundle_file(tmp_path)
    argv = ("--datasets", "tiny.npz", "gone.npz", "--trainers", "GDA", "ZeroshotCLIP", "--shots", 4, "--seeds", 1, 2)
    done = sweep(*argv, "--output", "runs", cwd=tmp_path)
    assert done.returncode == 1 and "0 done before, 4 done now, 4 failed" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"4 runs cannot be made: no bundle at {tmp_path}/gone.npz")
    assert done.stderr.count("cannot be made") == 2 and not (tmp_path / "runs/gone").exists()  # before, and at the end
    argv = (*GDA, "--seeds", 3, "--targets", "gone.npz")
    done = sweep(*argv, cwd=tmp_path)
    assert done.returncode == 1 and "0 done before, 1 done now, 1 failed" in done.stderr
    assert "1 run cannot be made: no bundle" in done.stderr and (tmp_path / "runs/tiny/GDA/rn50_4shots/seed3").is_dir()


def test_a_backbone_that_is_missing_stops_its_own_runs_alone(few_pictures):
    argv = ("--datasets", "concept_shapes", "--trainers", "ZeroshotCLIP", "--shots", 1, "--seeds", 1, 2)
    grid = (*argv, "--output", "runs", "MODEL.BACKBONE.NAME", "demo-clip,RN50")
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(few_pictures / "hub"), "XDG_CACHE_HOME": str(few_pictures / "c")}
    done = sweep(*grid, cwd=few_pictures, **offline)
    assert done.returncode == 1 and "2 done now, 2 failed" in done.stderr
    assert "2 runs cannot be made: the weights of RN50-quickgelu (openai) are not on this machine" in done.stderr


def test_an_output_that_cannot_be_written_to(tmp_path):
    """A file in its place is said once, and before anything is run; one below it is said by its run."""
    bundle = bundle_file(tmp_path)
    done = sweep(*GDA[:-1], "tiny.npz", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"sweep.py: error: --output tiny.npz: {tmp_path}/tiny.npz is not a folder; choose another\n"
    (run,) = runs_of(Grid([str(bundle)], ["GDA"], [4], [1], output=tmp_path / "runs"))
    run.folder.parents[1].mkdir(parents=True)
    run.folder.parent.write_text("in the way")
    (outcome,) = execute(run)
    assert outcome.error.startswith(f"cannot write to {run.folder} (Not a directory); choose another folder")
