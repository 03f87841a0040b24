"""Which options make another run: one table, asked through both callers, and what a folder holds."""

import copy
import json

import pytest
from helpers import bundle_args, bundle_file, run_here
from table_records import make, results_table

from ccli.errors import CcliError
from ccli.results.conflicts import Conflict
from ccli.results.identity import State, differing_options, folder_state
from ccli.results.records import RECORD
from ccli.trainers.common.checkpoints import check_same_run, write_run

CONFIG = {
    "SEED": 1,
    "DATASET": {"NAME": "DescribableTextures", "ROOT": "", "NUM_SHOTS": 16, "PICKS": "a.json 1"},
    "TRAINER": {"NAME": "CCLI", "CCLI": {"TOP_K": 3}, "GDA": {"WEIGHT": 1.0}},
    "INPUT": {"SIZE": [224, 224]},
    "DATALOADER": {"NUM_WORKERS": 4, "TRAIN_X": {"BATCH_SIZE": 32}},
    "MODEL": {"BACKBONE": {"NAME": "RN50"}, "HEAD": {"NAME": ""}},
}
UNSET = object()
SAME, OTHER, SEED = "the same run", "another run", "another seed of one experiment"
OPTIONS = [
    ("TRAINER.CCLI.TOP_K", 3, 5, OTHER),
    ("TRAINER.CCLI.TOP_K", UNSET, 3, OTHER),
    ("TRAINER.GDA.WEIGHT", 1.0, 2.0, SAME),
    ("TRAINER.COOP.N_CTX", 16, 4, SAME),
    ("TRAINER.COOP.N_CTX", UNSET, 16, SAME),
    ("TRAINER.FIXMATCH.CONF_THRE", 0.95, UNSET, SAME),
    ("TRAINER.NAME", "CCLI", "GDA", OTHER),
    ("PROTOCOL", "validation", "fixed", OTHER),
    ("PROTOCOL", UNSET, "validation", OTHER),
    ("OPTIM.LR", 0.1, 0.2, OTHER),
    ("MODEL.BACKBONE.NAME", "RN50", "RN101", OTHER),
    ("DATASET.NUM_SHOTS", 16, 8, OTHER),
    ("DATALOADER.TRAIN_X.BATCH_SIZE", 32, 64, OTHER),
    ("FEATURES.VIEWS", UNSET, 10, OTHER),
    ("FEATURES.STORE", "", "/store", SAME),
    ("DATASET.ROOT", "/a", "/b", SAME),
    ("OUTPUT_DIR", "a", "b", SAME),
    ("RESUME", "", "a", SAME),
    ("VERSION", 1, UNSET, SAME),
    ("USE_CUDA", True, False, SAME),
    ("VERBOSE", True, False, SAME),
    ("DATALOADER.NUM_WORKERS", 4, 8, SAME),
    ("TEST.SPLIT", "test", "val", SAME),
    ("TRAIN.PRINT_FREQ", 5, UNSET, SAME),
    ("INPUT.COLORJITTER_H", 0.4, 0.1, SAME),
    ("INPUT.SIZE", [224, 224], [32, 32], SAME),
    ("MODEL.HEAD.NAME", "", "mlp", SAME),
    ("MODEL.INIT_WEIGHTS", "", "x.pth", SAME),
    ("MODEL.BACKBONE.PRETRAINED", True, UNSET, SAME),
    ("DATALOADER.TRAIN_U.BATCH_SIZE", 32, 64, SAME),
    ("DATASET.CIFAR_C_LEVEL", UNSET, 1, SAME),
    ("DATASET.STL10_FOLD", -1, UNSET, SAME),
    ("DATASET.STL10_FOLD", -1, 3, OTHER),
    ("DATASET.SPLIT_FILE", "split.json 1", "split.json 2", OTHER),
    ("MODEL.BACKBONE.FILES", "12", "34", OTHER),
    ("SEED", 1, 2, SEED),
    ("SEED", 1, 0, SEED),
    ("DATASET.PICKS", "a.json 1", "b.json 2", SEED),
    ("DATASET.PICKS", "", "b.json 2", OTHER),
]


def with_option(config, option, value):
    """The configuration with another value of an option; without it for UNSET."""
    config = copy.deepcopy(config)
    *sections, name = option.split(".")
    node = config
    for section in sections:
        node = node.setdefault(section, {})
    node.pop(name, None)
    if value is not UNSET:
        node[name] = value
    return config


def is_one_run(folder, before, now) -> bool:
    """What resuming says."""
    write_run(folder, ["a"], ["a"], before)
    try:
        check_same_run(folder, now)
    except CcliError as error:
        assert "\n" not in str(error) and "choose another --output-dir" in str(error)
        return False
    return True


def is_one_experiment(before, now) -> bool:
    """What a table says of two seeds."""
    try:
        return "61.00 ± 1.41" in results_table([make(60, 1, config=before), make(62, 2, config=now)])
    except Conflict:
        return False


@pytest.mark.parametrize(("option", "before", "now", "verdict"), OPTIONS)
def test_an_option_makes_another_run(option, before, now, verdict, tmp_path):
    configs = [with_option(CONFIG, option, value) for value in (before, now)]
    for pair in (configs, configs[::-1]):
        assert is_one_run(tmp_path, *pair) == (verdict == SAME)
        assert is_one_experiment(*pair) == (verdict in (SAME, SEED))


@pytest.mark.parametrize("option", ["DATASET.SPLIT_FILE", "MODEL.BACKBONE.FILES"])
def test_files_that_are_gone_may_be_the_same(option, tmp_path):
    there = with_option(CONFIG, option, "x 12")
    assert is_one_run(tmp_path, there, CONFIG) and not is_one_run(tmp_path, CONFIG, there)
    assert not is_one_experiment(there, CONFIG) and not is_one_experiment(CONFIG, there)


def test_a_trainer_from_elsewhere_may_read_any_option(tmp_path):
    theirs = with_option(CONFIG, "TRAINER.NAME", "Theirs")
    for option, value in (("TRAINER.GDA.WEIGHT", 2.0), ("INPUT.SIZE", [32, 32]), ("MODEL.HEAD.NAME", "mlp")):
        other = with_option(theirs, option, value)
        assert [one.option for one in differing_options(theirs, other)] == [option]
        assert not is_one_run(tmp_path, theirs, other) and not is_one_experiment(theirs, other)
    assert is_one_run(tmp_path, theirs, with_option(theirs, "DATALOADER.NUM_WORKERS", 8))


def test_differences_are_sorted_and_in_words():
    other = with_option(with_option(CONFIG, "TRAINER.CCLI.TOP_K", 5), "DATASET.BUNDLE", "a.npz 1")
    assert differing_options(CONFIG, other) == [
        ("DATASET.BUNDLE", "not set", "'a.npz 1'"),
        ("TRAINER.CCLI.TOP_K", "3", "5"),
    ]
    assert differing_options("a text", CONFIG)[0].before == "'a text'"


def test_what_a_folder_holds(tmp_path):
    folder = tmp_path / "run"
    assert folder_state(folder).state is State.ABSENT
    write_run(folder, ["a"], ["a"], {})
    assert folder_state(folder).state is State.UNFINISHED
    bundle = bundle_file(tmp_path)
    run_here(*bundle_args(bundle, folder, trainer="ZeroshotCLIP"))
    record = json.loads((folder / RECORD).read_text())
    config = record["config"]
    assert folder_state(folder).state is folder_state(folder, lambda: config).state is State.DONE
    found = folder_state(folder, lambda: with_option(config, "PROTOCOL", "paper"))
    assert found.state is State.ANOTHER and found.differing == [("PROTOCOL", "'validation'", "'paper'")]
    run_here("--eval-only", "--model-dir", folder, *bundle_args(bundle, tmp_path / "test", trainer="ZeroshotCLIP"))
    assert folder_state(tmp_path / "test", lambda: config).state is State.EVALUATION
    (folder / RECORD).write_text("{")
    found = folder_state(folder, lambda: config)
    assert found.state is State.DAMAGED and "delete it and repeat the run" in found.problem and found.record is None


def test_skip_done_takes_a_run_made_under_the_other_toolbox(tmp_path):
    """One record with upstream's keys more, one with keys fewer, other workers, another trainer's options."""
    command = ["--skip-done", *bundle_args(bundle_file(tmp_path), tmp_path / "run", trainer="ZeroshotCLIP")]
    run_here(*command)
    path = tmp_path / "run" / RECORD
    record = json.loads(path.read_text())
    del record["digest"]
    upstream = copy.deepcopy(record["config"])
    for option, value in (
        ("TRAINER.FIXMATCH.CONF_THRE", 0.95), ("DATASET.STL10_FOLD", -1), ("DATASET.CIFAR_C_TYPE", ""),
        ("INPUT.COLORJITTER_H", 0.1), ("TRAIN.COUNT_ITER", UNSET), ("DATALOADER.NUM_WORKERS", 8),
        ("TRAINER.COOP", UNSET),
    ):  # fmt: skip
        upstream = with_option(upstream, option, value)
    path.write_text(json.dumps(record | {"config": upstream}))
    assert "is done; skipped" in run_here(*command)
    path.write_text(json.dumps(record | {"config": "a text"}))
    with pytest.raises(SystemExit, match=r"^error: .*holds a run with options 'a text', not options that are known"):
        run_here(*command)
