"""A folder of pictures where a data set's name can stand: in sweeps, in scripts, in records."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import ROOT, config, run_here, sweep
from picture_folders import args, draw, fill

from ccli.errors import CcliError
from ccli.results.records import read_record, same_record
from ccli.sweeps import encoding
from ccli.sweeps.plan import Grid, data_set, runs_of
from ccli.trainers.common.options import plain_config


@pytest.fixture
def pets(tmp_path) -> Path:
    return fill(tmp_path / "my pets", cat=6, dog=6)


def test_a_path_is_a_folder_of_pictures(tmp_path, monkeypatch, pets):
    monkeypatch.chdir(tmp_path)
    yaml, given = ROOT / "configs/datasets/folder.yaml", ("DATASET.FOLDER", str(pets))
    for name in ("my pets", "./my pets", "my pets/", str(pets), "my pets/../my pets"):
        assert data_set(name) == ("my pets", yaml, given)
    assert data_set("no/such/place")[2] == ("DATASET.FOLDER", str(tmp_path / "no/such/place"))  # its runs will say it
    (tmp_path / "dtd").mkdir()
    assert data_set("dtd") == ("dtd", ROOT / "configs/datasets/dtd.yaml", ())
    assert data_set("./dtd")[2] == ("DATASET.FOLDER", str(tmp_path / "dtd"))
    with pytest.raises(CcliError, match="folder stands for any folder of pictures: give the path of yours in its"):
        data_set("folder")
    with pytest.raises(CcliError, match=r"paths of bundles \(\.npz\) and of folders of pictures") as error:
        data_set("dtdd")
    assert "folder, " not in str(error.value)
    with pytest.raises(CcliError, match=r"DATASET\.FOLDER is what --datasets sets"):
        Grid(["dtd"], ["CCLI"], [1], [1], options=["DATASET.FOLDER", "x"])


def test_runs_on_a_folder(tmp_path, monkeypatch, pets):
    monkeypatch.chdir(tmp_path)
    names = ["my pets", str(pets), "concept_shapes_mine/"]
    runs = runs_of(Grid(names, ["CoOp", "GDA"], [2], [1], output=tmp_path))
    assert [run.dataset for run in runs] == ["my pets"] * 2 + ["concept_shapes_mine"] * 2
    assert runs[0].folder == tmp_path / "my pets/CoOp/rn50_2shots/seed1" and runs[0].source() == str(pets)
    assert runs[2].cfg == "rn50"  # whatever it is called


def test_a_sweep_end_to_end(tmp_path, monkeypatch, pets):
    monkeypatch.chdir(tmp_path)
    argv = ["--datasets", pets, "--trainers", "CCLI", "ZeroshotCLIP", "--shots", 2, "--seeds", 1, "--cfg", "demo_clip"]
    done = sweep(*argv, "--targets", "./my pets")
    assert done.returncode == 0 and "CCLI" in done.stdout and "my pets, 2 shots" in done.stdout
    record = read_record(tmp_path / "output/my pets/CCLI/demo_clip_2shots/seed1")
    assert (record["dataset"], record["total"], record["config"]["DATASET"]["TEST_SHARE"]) == ("my pets", 4, 0.3)
    assert [path.name for path in pets.glob("*.json")] == ["split_seed1_test0.3.json"]
    again = sweep(*argv)
    assert again.returncode == 0 and again.stdout == done.stdout
    draw(pets / "cat/new.png", 99)
    (pets / "split_seed1_test0.3.json").unlink()
    changed = sweep(*argv)
    assert changed.returncode == 1 and "holds a run with DATASET.FOLDER 'my pets " in changed.stderr


def test_a_folder_that_is_wrong_fails_alone(tmp_path, monkeypatch, pets):
    monkeypatch.chdir(tmp_path)
    done = sweep("--datasets", "no/place", pets, "--trainers", "ZeroshotCLIP", "--shots", 1, "--seeds", 1,
                        "--cfg", "demo_clip")  # fmt: skip
    assert done.returncode == 1 and "my pets" in done.stdout
    assert f"no folder {tmp_path}/no/place; give the path" in done.stderr


def test_a_cluster_encodes_as_the_runs_read(tmp_path, monkeypatch, pets):
    monkeypatch.chdir(tmp_path)
    runs = runs_of(Grid([str(pets)], ["CCLI"], [2], [1], cfg="demo_clip", output=tmp_path / "out"))
    missing, problems = encoding.missing_images(runs)
    assert missing and not problems
    for item in missing:
        encoding.encode(item, "a lock")
    assert encoding.missing_images(runs) == ([], {})


def test_what_a_record_keeps_of_the_folder(tmp_path, pets):
    def kept(**dataset):
        return plain_config(config(NAME="Folder", **dataset))["DATASET"]

    first = kept(FOLDER=str(pets))
    name, _, digest = first["FOLDER"].rpartition(" ")
    assert name == "my pets" and len(digest) == 16 and first["ROOT"] == "" and first["SPLIT_SEED"] == 1
    assert kept(ROOT=str(pets)) == first and kept(FOLDER=os.path.relpath(pets)) == first
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    assert kept(FOLDER=str(pets.rename(moved / "my pets"))) == first
    pets = moved / "my pets"
    for hidden in (".ccli_features", ".hidden.png"):
        (pets / hidden).mkdir()
    (pets / "split_seed1_test0.3.json").write_text("{}")
    (pets / "cat/notes.txt").write_text("")
    assert kept(FOLDER=str(pets)) == first
    found = {first["FOLDER"]}
    for change in (
        lambda: (pets / "cat/0.png").rename(pets / "dog/00.png"),
        lambda: (pets / "cat/1.png").write_bytes(b"another size"),
        lambda: (pets / "classes.json").write_text(json.dumps({"names": {"cat": "kitten"}})),
    ):
        change()
        found.add(kept(FOLDER=str(pets))["FOLDER"])
    assert len(found) == 4
    assert kept(FOLDER=str(tmp_path / "gone"))["FOLDER"] == "gone"


def test_other_data_sets_keep_nothing_of_it():
    """Records that were made before there were such folders stay those of the same runs."""
    kept = plain_config(config(NAME="DescribableTextures"))["DATASET"]
    assert not {"FOLDER", "SPLIT_SEED", "TEST_SHARE"} & kept.keys()


def test_runs_on_another_folder_are_told_apart(tmp_path, pets):
    other = fill(tmp_path / "other" / "my pets", cat=5, dog=5)
    run_here(*args(pets, tmp_path / "run", trainer="ZeroshotCLIP"))
    run_here("--skip-done", *args(pets, tmp_path / "run", trainer="ZeroshotCLIP"))
    with pytest.raises(SystemExit, match=r"holds a run with DATASET\.FOLDER 'my pets \w{16}', not 'my pets \w{16}'"):
        run_here("--skip-done", *args(other, tmp_path / "run", trainer="ZeroshotCLIP"))


def test_scripts_take_folders_from_where_the_caller_is(tmp_path, pets):
    pets.rename(tmp_path / "animals")
    environment = os.environ | {"PYTHON": "echo", "OMP_NUM_THREADS": "1"}
    for given in ("animals", "./animals", "no/place", "dtd"):
        command = ["bash", str(ROOT / "scripts/zsclip/main.sh"), given, "1", "demo_clip"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        expected = given if given == "dtd" else f"{tmp_path}/{given}"
        assert f"--datasets {expected} --shots" in done.stdout, done.stderr


def test_it_makes_no_difference_where_the_folder_lies(tmp_path, pets):
    moved = tmp_path / "elsewhere" / "my pets"
    shutil.copytree(pets, moved)
    for folder in (pets, moved):
        run_here(*args(folder, folder.parent / "run", "FEATURES.CROPS", 2))  # crops depend on a picture's name
    first, second = (read_record(folder.parent / "run") for folder in (pets, moved))
    assert same_record(first, second) == [] and first["config"] == second["config"]
