"""sweep.py as a user calls it: the same records as train.py, whatever happens on the way."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from fork_server import Process, python
from helpers import ROOT, bundle_args, bundle_file, run_apart, run_here, sweep

from ccli.commands.sweep import arguments
from ccli.results.records import FAILURE, find_records, read_record, same_record

TRAINERS = ("ZeroshotCLIP", "TipAdapterF", "CCLI")
SMALL = ("--trainers", *TRAINERS, "--shots", 1, 4, "--seeds", 1, 2, "--output", "runs", "--threads", 1)
LONG = ("--trainers", "CLIPAdapter", "GDA", "--shots", 4, "--seeds", 1, "--output", "runs", "--threads", 1)
LASTING = ("OPTIM.MAX_EPOCH", "20000")


def start(*argv, cwd):
    return Process(ROOT / "sweep.py", *argv, cwd=cwd)


def records(folder):
    found, problems = find_records(folder)
    assert not problems
    return {str(path.parent.relative_to(folder)): record for path, record in found}


def differences(a, b):
    assert a.keys() == b.keys()
    return {place: names for place in a if (names := same_record(a[place], b[place]))}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A folder with a bundle, and in it the small grid as one sweep has left it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    bundle_file(folder)
    done = sweep("--datasets", "tiny.npz", *SMALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_the_same_records_as_train_one_by_one(undisturbed):
    folder, _ = undisturbed
    swept = records(folder / "runs")
    assert len(swept) == 12
    for place, record in swept.items():
        trainer, shots, seed = record["trainer"], record["shots"], record["seed"]
        assert place == f"tiny/{trainer}/rn50_{shots}shots/seed{seed}"
        alone = folder / "alone" / place
        if (shots, seed) == (4, 1):  # once in a process of its own
            done = run_apart(*bundle_args(folder / "tiny.npz", alone, trainer=trainer, shots=shots, seed=seed))
            assert done.returncode == 0, done.stderr
        else:
            run_here(*bundle_args(folder / "tiny.npz", alone, trainer=trainer, shots=shots, seed=seed))
        assert same_record(read_record(alone), record) == []


def test_what_it_says(undisturbed):
    folder, done = undisturbed
    assert [line.split()[:4] for line in done.stderr.splitlines()[2:5]] == [[name, "4", "0", "4"] for name in TRAINERS]
    accuracy = read_record(folder / "runs/tiny/CCLI/rn50_4shots/seed2")["accuracy"]
    assert f"tiny, CCLI, rn50, 4 shots, seed 2: {accuracy:.2f} % (" in done.stderr
    assert done.stderr.splitlines()[-1] == "0 done before, 12 done now, 0 failed"
    assert done.stdout.startswith("| trainer ") and "tiny, 1 shot |" in done.stdout  # the table, and nothing else


def test_what_is_done_is_skipped_and_a_dry_run_does_nothing(undisturbed):
    folder, first = undisturbed
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*")}
    again = sweep("--datasets", "tiny.npz", *SMALL, cwd=folder)
    assert again.returncode == 0 and "12 done before, 0 done now" in again.stderr and again.stdout == first.stdout
    dry = sweep("--datasets", "tiny.npz", *SMALL, "--dry-run", "TRAINER.CCLI.TOP_K", "3,5", cwd=folder)
    assert dry.returncode == 0 and dry.stdout.count(str(folder / "runs/tiny")) == 24
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*")}
    dry = sweep("--datasets", "tiny.npz", *SMALL, "--seeds", "1", "2", "3", "--dry-run", cwd=folder)
    lines = [line.split() for line in dry.stdout.splitlines()[2:5]]
    assert [line[:4] for line in lines] == [[name, "6", "4", "2"] for name in TRAINERS]
    assert all(line[-1] == "s" for line in lines if line[0] != "ZeroshotCLIP")  # by what the others took


def test_a_failure_is_kept_and_named_and_the_rest_goes_on(tmp_path):
    bundle_file(tmp_path)
    (tmp_path / "gone.npz").write_text("it is not a bundle any more")
    argv = ("--datasets", "gone.npz", "tiny.npz", "dtd", "--trainers", "GDA", "--shots", 4, "--seeds", 1)
    done = sweep(*argv, "--output", "runs", "--root", "nowhere", cwd=tmp_path)
    assert done.returncode == 1 and "1 done now, 2 failed" in done.stderr
    assert "1 run cannot be made: no folder" in done.stderr.partition("GDA, rn50")[0]  # before anything was run
    assert not (tmp_path / "runs/dtd").exists()  # and not attempted
    failed = tmp_path / "runs/gone/GDA/rn50_4shots/seed1"
    trace = (failed / FAILURE).read_text()
    assert trace.startswith("Traceback") and "CcliError" in trace.splitlines()[-1]
    last = [line for line in done.stderr.splitlines() if line.startswith(f"{failed}: ")]
    assert len(last) == 1 and "gone.npz" in last[0]
    assert [record["dataset"] for record in dict(find_records(tmp_path / "runs")[0]).values()] == ["tiny"]
    assert any(str(failed) in problem for problem in find_records(tmp_path / "runs")[1])

    bundle_file(tmp_path, "gone.npz")
    done = sweep(*argv, "--output", "runs", "--root", "nowhere", cwd=tmp_path)
    assert "1 done before, 1 done now, 1 failed" in done.stderr and not (failed / FAILURE).exists()


def test_bad_records_and_folders_claimed_twice(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        bundle_file(tmp_path / name, classes=5 if name == "a" else 6)
    bundle_file(tmp_path, "whole.npz")
    argv = ("--datasets", "whole.npz", "--trainers", "GDA", "--shots", 4, "--seeds", 1, 2, "--output", "runs")
    assert sweep(*argv, cwd=tmp_path).returncode == 0
    before = records(tmp_path / "runs")
    one, two = (tmp_path / f"runs/whole/GDA/rn50_4shots/seed{seed}/result.json" for seed in (1, 2))
    one.write_text(one.read_text()[:200])
    without_digest = two.read_text().rpartition(',\n"digest"')[0] + "}"
    two.write_text(without_digest.replace('"version": 2', '"version": 1'))
    done = sweep("--datasets", "a/tiny.npz", "b/tiny.npz", *argv[1:], cwd=tmp_path)
    assert done.returncode == 1 and "0 done before, 2 done now, 4 failed" in done.stderr
    assert f"{one} is damaged" in done.stderr and f"{two} has version 1" in done.stderr
    assert done.stderr.count("4 runs cannot be made: two runs claim this folder") == 2
    assert not (tmp_path / "runs/tiny").exists()
    assert differences(before, records(tmp_path / "runs")) == {}


def test_processes_side_by_side(undisturbed, tmp_path):
    folder, first = undisturbed
    done = sweep("--datasets", folder / "tiny.npz", *SMALL, "--output", tmp_path, "--jobs", 2, cwd=folder)
    assert done.returncode == 0 and done.stdout == first.stdout
    assert differences(records(folder / "runs"), records(tmp_path)) == {}


def test_two_sweeps_on_one_output(undisturbed, tmp_path):
    folder, first = undisturbed
    command = list(map(str, [python(), ROOT / "sweep.py", "--datasets", "tiny.npz", *SMALL, "--output", tmp_path]))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=folder, **pipes) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert all(stdout == first.stdout for stdout, _ in outputs)
    assert differences(records(folder / "runs"), records(tmp_path)) == {}


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def wait_for(condition, seconds=300):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "it did not happen"
        time.sleep(0.02)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def lasting(tmp_path):
    """A sweep that is at work on a long run, its worker, and the run's folder."""
    bundle_file(tmp_path)
    process = start("--datasets", "tiny.npz", *LONG, *LASTING, cwd=tmp_path)
    folder = tmp_path / "runs/tiny/CLIPAdapter/rn50_4shots/MAX_EPOCH-20000/seed1"
    wait_for(lambda: (folder / "log.txt").exists() and "epoch [2/" in (folder / "log.txt").read_text())
    workers = [pid for pid in children(process.pid) if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    yield process, workers, folder
    process.kill()
    process.communicate()


def test_a_run_that_crashes_its_process(lasting):
    process, (worker,), folder = lasting
    os.kill(worker, signal.SIGKILL)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 1 and "1 done now, 1 failed" in stderr
    assert f"{folder}: its process ended with signal SIGKILL" in stderr and (folder / FAILURE).exists()


def test_ctrl_c_ends_it_cleanly(lasting):
    process, workers, folder = lasting
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130 and stderr.splitlines()[-1] == "interrupted; the same command resumes"
    assert "Traceback" not in stderr and not (folder / FAILURE).exists()
    wait_for(lambda: not any(map(alive, workers)))


def test_workers_end_with_a_sweep_that_is_killed(lasting):
    process, workers, _ = lasting
    process.kill()
    wait_for(lambda: not any(map(alive, workers)))


def killed_again_and_again(kills, argv, total, folder):
    """A sweep of `total` runs, killed `kills` times at random moments and restarted each time; what it leaves."""
    rng = random.Random(kills)
    for k in range(kills):
        process = start(*argv, "--output", folder, cwd=folder)
        early = k % 4 == 0  # before or while its processes start
        aim = len(list(folder.rglob("result.json"))) + (0 if early else rng.randint(1, total // (kills + 1)))
        wait_for(lambda aim=aim: len(list(folder.rglob("result.json"))) >= aim)
        time.sleep(rng.uniform(0, 2.5 if early else 0.2))
        assert process.poll() is None, "it had ended before it was killed"
        if k % 2:
            process.kill()  # its worker has to notice
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    done = sweep(*argv, "--output", folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    return records(folder)


def test_killed_three_times(undisturbed, tmp_path):
    folder, _ = undisturbed
    after = killed_again_and_again(3, ("--datasets", folder / "tiny.npz", *SMALL), 12, tmp_path)
    assert differences(records(folder / "runs"), after) == {}


@pytest.mark.slow
def test_killed_twenty_times(tmp_path):
    """120 runs of eight methods."""
    trainers = ["ZeroshotCLIP", "LinearProbe", "TipAdapter", "TipAdapterF", "TaskRes", "LPPlusPlus", "GDA", "CCLI"]
    argv = ("--datasets", bundle_file(tmp_path), "--trainers", *trainers, "--threads", 1)
    (tmp_path / "a").mkdir()
    assert sweep(*argv, "--output", "a", cwd=tmp_path).returncode == 0
    (tmp_path / "b").mkdir()
    before = records(tmp_path / "a")
    assert len(before) == 120 and differences(before, killed_again_and_again(20, argv, 120, tmp_path / "b")) == {}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--datasets", "dtd", "--shots", "3.5"), "--shots: must be integers or all, got '3.5'"),
        (("--datasets", "dtd", "--jobs", "0"), "--jobs: must be an integer >= 1, got '0'"),
        (("--datasets", "dtd", "--threads", "0"), "--threads: must be an integer >= 1, got '0'"),
        (("--datasets", "dtd", "--seeds", "-1"), "--seeds: must be integers >= 0, got '-1'"),
        (("--shots", "4"), "--datasets"),
    ],
)
def test_bad_arguments(argv, message, capsys):
    with pytest.raises(SystemExit):
        arguments(argv)
    assert message in capsys.readouterr().err


def test_bad_arguments_that_only_the_grid_shows(tmp_path):
    for argv, message in (
        (("--datasets", "dtdd"), "unknown data set 'dtdd'"),
        (("--datasets", "dtd", "TRAINER.CCLI.TOPK", "3"), "unknown option TRAINER.CCLI.TOPK. Did you mean"),
        (("--datasets", "dtd", "--trainers", "GDA", "SEED", "3"), "--seeds"),
    ):
        done = sweep(*argv, "--output", tmp_path / "runs", cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.startswith("sweep.py: error: ") and message in done.stderr
        assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_pairs_after_flags_that_take_several_words():
    args = arguments(["--datasets", "dtd", "--seeds", "1", "2", "PROTOCOL", "fixed", "A.B_C", "1,2"])
    assert args.seeds == [1, 2] and args.opts == ["PROTOCOL", "fixed", "A.B_C", "1,2"]


def test_the_value_of_a_flag_is_no_key():
    words = ["--datasets", "PETS.V1", "--output", "RUNS.V2", "--variant", "SEED", "--dry-run", "A.B_C", "1"]
    args = arguments(words)
    assert (args.datasets, args.output, args.variant) == (["PETS.V1"], Path("RUNS.V2"), "SEED")
    assert args.dry_run and args.opts == ["A.B_C", "1"]


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        arguments(["--help"])
    text = capsys.readouterr().out
    assert "--dry-run" in text and "TRAINER.CCLI.TOP_K 1,3,5" in text and "failed.txt" in text


def test_the_plan_says_what_is_to_be_encoded(few_pictures):
    argv = ("--datasets", "concept_shapes", "--trainers", "ZeroshotCLIP", "CCLI", "--shots", 1, "--seeds", 1)
    argv += ("--targets", "concept_shapes_a", "--output", "runs", "--threads", 1)
    dry = sweep(*argv, "--dry-run", cwd=few_pictures)
    lines = [line for line in dry.stdout.splitlines() if line.startswith("to be encoded")]
    # 24 classes with 1 image to train, 1 to validate and 2 to test; 12 of them with 3 on the target
    # zero-shot has no use for the first two, and CCLI looks at crops of all
    assert lines == [
        "to be encoded first: 84 images (concept_shapes, demo_clip)",
        "to be encoded first: 10 views each of 132 images (concept_shapes, demo_clip)",
    ]
    assert not (few_pictures / "data/.ccli_features").exists() and not (few_pictures / "runs").exists()
    assert "to be encoded" in sweep(*argv, cwd=few_pictures).stderr
    again = sweep(*argv, "--variant", "again", "--dry-run", cwd=few_pictures)
    assert again.returncode == 0 and "to be encoded" not in again.stdout and "again/seed1" in again.stdout
