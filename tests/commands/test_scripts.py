"""scripts/<method>/main.sh as a user calls it."""

import os
import subprocess

import pytest
from fork_server import python
from helpers import ROOT, bundle_args, bundle_file, run_here

from ccli.results.records import read_record, same_record


def main_sh(method, *args, cwd, name="main", **env):
    """scripts/<method>/<name>.sh, its output added to a file that holds a line: (exit status, that file, stderr)."""
    log = cwd / "screen.txt"
    log.write_text("a line of the user\n")
    environment = os.environ | {"PYTHON": python(), "OMP_NUM_THREADS": "1", "OUT": "runs", "SEEDS": "1 2"} | env
    with open(log, "a") as file:
        command = ["bash", str(ROOT / f"scripts/{method}/{name}.sh"), *map(str, args)]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment)
    return done.returncode, log.read_text(), done.stderr


def test_runs_are_made_skipped_and_repaired(tmp_path):
    bundle_file(tmp_path)
    status, text, _ = main_sh("ccli", "tiny.npz", 4, cwd=tmp_path)
    assert status == 0
    assert text.startswith("a line of the user\n| trainer ")  # the file is added to, and by the table alone
    assert text.rstrip().splitlines()[-3].startswith("| CCLI ")  # and a note
    folder = tmp_path / "runs/tiny/CCLI/rn50_4shots"
    assert all((folder / f"seed{k}/log.txt").read_text().count("=> result") == 1 for k in (1, 2))
    first, second = read_record(folder / "seed1"), read_record(folder / "seed2")
    assert (first["seed"], second["seed"]) == (1, 2)

    (folder / "seed2/result.json").write_text("{")  # damaged: not taken for finished
    status, text, stderr = main_sh("ccli", "tiny.npz", 4, cwd=tmp_path)
    assert status == 0 and "made again" in stderr and "1 done before, 1 done now, 0 failed" in stderr
    assert same_record(read_record(folder / "seed2"), second) == []
    status, again, stderr = main_sh("ccli", "tiny.npz", 4, cwd=tmp_path)
    assert status == 0 and again == text and "2 done before, 0 done now, 0 failed" in stderr


def test_other_options_in_the_same_folder_are_refused(tmp_path):
    bundle = bundle_file(tmp_path)
    assert main_sh("ccli", bundle, 4, cwd=tmp_path, SEEDS="1")[0] == 0
    folder = tmp_path / "runs/tiny/CCLI/rn50_4shots"
    for variant, name in (("", "TOP_K-5"), ("top5", "top5")):  # options have a folder of their own
        env = {"SEEDS": "1", "ARGS": "TRAINER.CCLI.TOP_K 5", "VARIANT": variant}
        assert main_sh("ccli", bundle, 4, cwd=tmp_path, **env)[0] == 0
        record = read_record(folder / name / "seed1")
        assert record["cfg"] == f"rn50/{name}" and record["config"]["TRAINER"]["CCLI"]["TOP_K"] == 5
    status, _, stderr = main_sh("ccli", bundle, 4, cwd=tmp_path, **env | {"ARGS": "TRAINER.CCLI.TOP_K 7"})
    assert status == 1 and f"{folder}/top5/seed1: " in stderr and "TRAINER.CCLI.TOP_K 5, not 7" in stderr
    assert read_record(folder / "top5/seed1") == record
    bundle_file(tmp_path, width=24)  # another bundle under the same name
    status, _, stderr = main_sh("ccli", bundle, 4, cwd=tmp_path, SEEDS="1")
    assert status == 1 and "DATASET.BUNDLE" in stderr.splitlines()[-1]


@pytest.mark.parametrize("cfg, more", [("rn50", ()), ("rn50_dense", ("features", "none"))])
def test_all_controls_in_one_table(tmp_path, cfg, more):
    bundle_file(tmp_path)
    status, text, stderr = main_sh("ccli", "tiny.npz", 4, cfg, cwd=tmp_path, name="controls", SEEDS="1")
    assert status == 0, stderr
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| CCLI ")]
    controls = ("visual", "text", "random", "images", *more)
    assert len(rows) == len(controls) and all(any(f"SOURCE-{x}" in row for row in rows) for x in controls), text
    for control in controls:
        record = read_record(tmp_path / f"runs/tiny/CCLI/{cfg}_4shots/SOURCE-{control}/seed1")
        assert record["config"]["TRAINER"]["CCLI"]["SOURCE"] == control


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
