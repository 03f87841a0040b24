"""Flags and KEY VALUE pairs in any order, and options that are checked before the first run."""

import argparse

import pytest
from helpers import bundle_args, bundle_file, run_here, sweep

from ccli.commands.sweep import arguments
from ccli.results.records import read_record
from ccli.sweeps import run
from ccli.sweeps.config import flags_and_pairs


@pytest.mark.parametrize(
    "words, flags, pairs",
    [
        ("A.B 1 --seed 2 C.D_E 3", "--seed 2", "A.B 1 C.D_E 3"),
        ("--seed=2 A.B 1 --dry-run", "--seed=2 --dry-run", "A.B 1"),
        ("--dry A.B 1 --seed 1", "--dry --seed 1", "A.B 1"),
        ("--out A.B C.D 1", "--out A.B", "C.D 1"),  # a folder may look like a key
        ("A.B --dry-run", "--dry-run", "A.B"),
        ("A.B --seed=1 C.D --x", "--seed=1", "A.B C.D --x"),  # a value may begin as a flag does
        ("A.B -1 --seeds 1 2 PROTOCOL fixed", "--seeds 1 2", "A.B -1 PROTOCOL fixed"),
    ],
)
def test_words_are_divided(words, flags, pairs):
    parser = argparse.ArgumentParser()
    parser.add_argument("--dry-run", action="store_true")
    for name in ("--seed", "--seeds", "--out"):
        parser.add_argument(name)
    assert flags_and_pairs(words.split(), parser) == (flags.split(), pairs.split())


def test_of_a_sweep():
    words = "TRAINER.GDA.WEIGHT 1,2 --datasets dtd --seeds 1 2 PROTOCOL fixed --dry-run"
    args = arguments(words.split())
    assert args.dry_run and args.seeds == [1, 2]
    assert args.opts == ["TRAINER.GDA.WEIGHT", "1,2", "PROTOCOL", "fixed"]


def test_of_a_run(tmp_path):
    words = [str(word) for word in bundle_args(bundle_file(tmp_path), tmp_path / "with space/run", trainer="GDA")]
    first = words.index("DATASET.NUM_SHOTS")
    run_here(*words[first:], *words[:first])
    assert read_record(tmp_path / "with space/run")["shots"] == 4
    assert run.arguments(["SEED", "1", "--eval-only", "USE_CUDA"]).opts == ["SEED", "1", "USE_CUDA"]


@pytest.mark.parametrize(
    "pairs, words",
    [
        (("PROTOCOL", "papers"), "PROTOCOL must be one of validation, fixed, paper, got 'papers'. Did you mean"),
        (("FEATURES.PRECISION", "fp16"), "FEATURES.PRECISION must be one of fp32, bf16, got 'fp16'"),
        (("TRAINER.CCLI.NETWORK", "lstm"), "NETWORK must be one of mlp, convex, sparse, got 'lstm'"),
    ],
)
def test_options_that_cannot_be_used_are_said_once_before_the_first_run(pairs, words, tmp_path):
    argv = ["--datasets", bundle_file(tmp_path), "--trainers", "CCLI", "GDA", "--shots", 2, 4, "--seeds", 1, 2]
    done = sweep(*argv, "--output", tmp_path / "o", *pairs)
    err, bad = done.stderr, 4 if "CCLI" in pairs[0] else 8
    assert done.returncode == 1
    assert f"{bad} runs cannot be made: " in err and err.count(words) <= 2, "in the plan and at the end"
    made = list((tmp_path / "o").rglob("result.json"))
    assert len(made) == 8 - bad and not list((tmp_path / "o").rglob("failed.txt"))
