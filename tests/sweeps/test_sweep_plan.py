"""A sweep's grid: which runs there are, in which folders, with which options."""

from pathlib import Path

import pytest
from helpers import ROOT

from ccli.errors import CcliError
from ccli.sweeps.plan import Grid, claimed_twice, runs_of


def grid(tmp_path, *options, **changed):
    given = {"datasets": ["dtd"], "trainers": ["CCLI"], "shots": [4], "seeds": [1], "output": tmp_path} | changed
    return Grid(options=options, **given)


def test_a_run_is_a_call_of_train(tmp_path):
    (run,) = runs_of(grid(tmp_path, root="DATA"))
    assert run.folder == tmp_path / "dtd/CCLI/rn50_4shots/seed1" and run.name == "dtd, CCLI, rn50, 4 shots, seed 1"
    argv = list(run.argv)
    flags = {"--root": "DATA", "--seed": "1", "--trainer": "CCLI", "--output-dir": str(run.folder)}
    assert {name: argv[argv.index(name) + 1] for name in flags} == flags
    yamls = [Path(argv[argv.index(name) + 1]) for name in ("--dataset-config-file", "--config-file")]
    assert yamls == [ROOT / "configs/datasets/dtd.yaml", ROOT / "configs/trainers/CCLI/rn50.yaml"]
    assert argv[-2:] == ["DATASET.NUM_SHOTS", "4"]


def test_every_combination_once_and_what_shares_features_together(tmp_path):
    runs = runs_of(
        grid(tmp_path, datasets=["dtd", "eurosat", "dtd"], trainers=["CCLI", "GDA"], shots=[1, 2], seeds=[3, 1])
    )
    assert len(runs) == len({run.folder for run in runs}) == 2 * 2 * 2 * 2
    assert [run.dataset for run in runs] == ["dtd"] * 8 + ["eurosat"] * 8
    assert [(run.trainer, run.shots, run.seed) for run in runs[:5]] == [
        ("CCLI", 1, 3), ("CCLI", 1, 1), ("CCLI", 2, 3), ("CCLI", 2, 1), ("GDA", 1, 3),
    ]  # fmt: skip


def folders(runs, tmp_path):
    return [str(run.folder.relative_to(tmp_path / "dtd/CCLI/rn50_4shots").parent) for run in runs]


def test_a_grid_over_options(tmp_path):
    runs = runs_of(grid(tmp_path, "TRAINER.CCLI.TOP_K", "1,3", "FEATURES.CROP", "(0.5, 1.0)"))
    assert folders(runs, tmp_path) == ["TOP_K-1_CROP-0.5_1.0", "TOP_K-3_CROP-0.5_1.0"]
    names = ("CFG_NAME", "rn50/TOP_K-3_CROP-0.5_1.0")
    assert runs[1].argv[-6:] == (*names, "TRAINER.CCLI.TOP_K", "3", "FEATURES.CROP", "(0.5, 1.0)")
    assert runs[1].cfg == "rn50/TOP_K-3_CROP-0.5_1.0"


@pytest.mark.parametrize(
    ("options", "variant", "expected"),
    [
        ((), "", ["."]),
        (("TRAINER.CCLI.TOP_K", "5"), "", ["TOP_K-5"]),
        (("TRAINER.CCLI.TOP_K", "5"), "mine", ["mine"]),
        ((), "again", ["again"]),
        (("TRAINER.CCLI.TOP_K", "5,7"), "mine", ["mine-TOP_K-5", "mine-TOP_K-7"]),
        (("DATALOADER.TEST.BATCH_SIZE", "5", "DATALOADER.TRAIN_X.BATCH_SIZE", "6"), "",
         ["DATALOADER.TEST.BATCH_SIZE-5_DATALOADER.TRAIN_X.BATCH_SIZE-6"]),
        (("DATASET.PICKS", "../../etc/x"), "", ["PICKS-etc_x"]),
    ],
)  # fmt: skip
def test_folders_of_variants(tmp_path, options, variant, expected):
    assert folders(runs_of(grid(tmp_path, *options, variant=variant)), tmp_path) == expected


def test_evaluations_follow_their_run(tmp_path):
    (run,) = runs_of(grid(tmp_path, datasets=["imagenet"], targets=["imagenet_a", "imagenet_r"]))
    first, a, r = run.calls()
    assert first.folder == tmp_path / "imagenet/CCLI/rn50_4shots/seed1" and "--eval-only" not in first.argv
    assert [call.folder for call in (a, r)] == [
        tmp_path / name / "CCLI/rn50_4shots/from_imagenet/seed1" for name in ("imagenet_a", "imagenet_r")
    ]
    where = a.argv.index("--eval-only")
    assert a.argv[where : where + 3] == ("--eval-only", "--model-dir", str(first.folder))
    assert r.name == "imagenet_r, CCLI, rn50, 4 shots, seed 1, from imagenet"


def test_bundles_are_known_by_their_name_and_have_no_text_tower(tmp_path, capsys):
    runs = runs_of(grid(tmp_path, datasets=[str(tmp_path / "my pets.npz")], trainers=["CoOp", "GDA"]))
    assert [run.trainer for run in runs] == ["GDA"] and "CoOp is left out" in capsys.readouterr().err
    assert runs[0].folder == tmp_path / "my pets/GDA/rn50_4shots/seed1"
    assert runs[0].argv[-2:] == ("DATASET.BUNDLE", str(tmp_path / "my pets.npz"))


def test_default_configurations(tmp_path):
    for dataset, expected in (("concept_shapes_v2", "demo_clip"), ("dtd", "rn50")):
        assert runs_of(grid(tmp_path, datasets=[dataset]))[0].cfg == expected
    plain = runs_of(grid(tmp_path, trainers=["CCLI", "ZeroshotCLIP"], cfg="rn101_plain"))
    assert [run.cfg for run in plain] == ["rn101_plain", "rn101"]  # zero-shot has one yaml a backbone


def test_a_data_set_in_other_words_is_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "link.npz").symlink_to("x.npz")  # another name, another folder
    spelled = ["a/../x.npz", "x.npz", str(tmp_path / "x.npz"), "dtd", "dtd", "link.npz"]
    runs = runs_of(grid(tmp_path, datasets=spelled, targets=["eurosat", "./x.npz", "eurosat", "x.npz"]))
    assert [run.dataset for run in runs] == ["x", "dtd", "link"] and not claimed_twice(runs)
    assert [[test.dataset for test in run.tests] for run in runs] == [["eurosat", "x"]] * 3


def test_unknown_data_sets_are_not_told_of_the_yaml_of_bundles(tmp_path):
    with pytest.raises(CcliError, match="there are caltech101") as error:
        runs_of(grid(tmp_path, datasets=["dtdd"]))
    assert "feature_bundle" not in str(error.value)


def test_a_folder_claimed_twice(tmp_path):
    runs = runs_of(grid(tmp_path, datasets=["a/x.npz", "b/x.npz", "b/y.npz"]))
    claimed = claimed_twice(runs)
    assert claimed == {tmp_path / "x/CCLI/rn50_4shots/seed1": runs[:2]}


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"datasets": ["dtdd"]}, (), r"unknown data set 'dtdd'.*Did you mean 'dtd'"),
        (
            {"datasets": ["feature_bundle"]},
            (),
            "feature_bundle stands for any bundle: give the path of yours",
        ),
        ({"trainers": ["GAD"]}, (), r"unknown trainer 'GAD'.*Did you mean 'GDA'"),
        ({"trainers": ["GDA"], "cfg": "rn50_plain"}, (), "GDA has no configuration 'rn50_plain'; it has demo_clip"),
        ({"targets": ["imagenet-a"]}, (), "Did you mean 'imagenet_a'"),
        ({"datasets": ["a/x.npz"], "targets": ["b/x.npz"]}, (), "target b/x.npz is called x, as a/x.npz is"),
        ({"variant": "../../x"}, (), r"--variant \.\./\.\./x: give the name of a folder"),
        ({"variant": "a/../../x"}, ("A.B", "1,2"), "give the name of a folder"),
        ({"variant": "/tmp/x"}, (), "--variant /tmp/x: give the name of a folder"),
        ({"variant": "."}, (), "give the name of a folder"),
        ({}, ("TRAINER.CCLI.TOP_K",), "'TRAINER.CCLI.TOP_K' stands alone"),
        ({}, ("DATASET.NUM_SHOTS", "4"), "--shots"),
        ({}, ("A.B", "1", "A.B", "2"), "A.B is given twice"),
        ({}, ("A.B", "x y,x_y"), "one folder"),
    ],
)
def test_what_is_refused(tmp_path, changed, options, message):
    with pytest.raises(CcliError, match=message):
        runs_of(grid(tmp_path, *options, **changed))
