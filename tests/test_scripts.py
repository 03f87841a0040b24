"""scripts/<method>/main.sh as a user calls it."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT, bundle_args, bundle_file, run_here

from ccli.runs import read_record, same_record


def main_sh(method, *args, cwd, **env):
    """scripts/<method>/main.sh with its output in a file that held a line before: (exit status, that file, stderr)."""
    log = cwd / "screen.txt"
    log.write_text("a line of the user\n")
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "OUT": "runs", "SEEDS": "1 2"} | env
    with open(log, "a") as file:
        command = ["bash", str(ROOT / f"scripts/{method}/main.sh"), *map(str, args)]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment)
    return done.returncode, log.read_text(), done.stderr


def test_runs_are_made_skipped_and_repaired(tmp_path):
    bundle_file(tmp_path)
    status, text, _ = main_sh("ccli", "tiny.npz", 4, cwd=tmp_path)
    assert status == 0
    assert text.startswith("a line of the user\n") and text.count("=> result") == 2  # the file is added to
    assert text.rstrip().splitlines()[-3].startswith("| CCLI ")  # the table, and a note, at the end
    folder = tmp_path / "runs/tiny/CCLI/rn50_4shots"
    first, second = read_record(folder / "seed1"), read_record(folder / "seed2")
    assert (first["seed"], second["seed"]) == (1, 2)

    (folder / "seed2/result.json").write_text("{")  # damaged: not taken for finished
    status, text, stderr = main_sh("ccli", "tiny.npz", 4, cwd=tmp_path, QUIET="1")
    assert status == 0 and "=> result" not in text and "made again" in stderr
    assert same_record(read_record(folder / "seed2"), second) == []
    status, text, _ = main_sh("ccli", "tiny.npz", 4, cwd=tmp_path)
    assert status == 0 and text.count("is done; skipped") == 2


def test_other_options_in_the_same_folder_are_refused(tmp_path):
    bundle = bundle_file(tmp_path)
    assert main_sh("ccli", bundle, 4, cwd=tmp_path, SEEDS="1")[0] == 0
    status, _, stderr = main_sh("ccli", bundle, 4, cwd=tmp_path, SEEDS="1", ARGS="TRAINER.CCLI.TOP_K 5")
    assert status != 0 and stderr.startswith("error:") and "TRAINER.CCLI.TOP_K 3, not 5" in stderr
    assert len(stderr.splitlines()) == 1
    status, _, _ = main_sh("ccli", bundle, 4, cwd=tmp_path, SEEDS="1", ARGS="TRAINER.CCLI.TOP_K 5", VARIANT="top5")
    assert status == 0 and (tmp_path / "runs/tiny/CCLI/rn50_4shots/top5/seed1/result.json").exists()
    bundle_file(tmp_path, width=24)  # another bundle under the same name
    status, _, stderr = main_sh("ccli", bundle, 4, cwd=tmp_path, SEEDS="1")
    assert status != 0 and "DATASET.BUNDLE" in stderr and len(stderr.splitlines()) == 1


@pytest.mark.parametrize("args", [("tiny.npz", "3.5"), ("tiny.npz", ""), ("tiny.npz",), ("tiny.npz", "4", "rn50", "x")])
def test_bad_arguments(tmp_path, args):
    status, _, _ = main_sh("zsclip", *args, cwd=tmp_path)
    assert status == 2 and not (tmp_path / "runs").exists()


def test_help(tmp_path):
    status, text, _ = main_sh("ccli", "--help", cwd=tmp_path)
    assert status == 0 and "DATASET SHOTS [CFG]" in text


def test_a_refused_run_leaves_nothing(tmp_path):
    bundle = bundle_file(tmp_path)
    with pytest.raises(SystemExit, match="NUM_SHOTS"):
        run_here(*bundle_args(bundle, tmp_path / "run", shots=0))
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_is_gone(tmp_path):
    bundle = bundle_file(tmp_path)
    run_here(*bundle_args(bundle, tmp_path / "run"))
    (tmp_path / "run/head/model.pth.tar-1").unlink()
    with pytest.raises(SystemExit, match=r"cannot resume from .*run.*remove that folder"):
        run_here(*bundle_args(bundle, tmp_path / "run"))
