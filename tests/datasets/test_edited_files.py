"""Text files that a person edits may begin with a byte order mark, as editors on Windows write them."""

import json

import pytest
from helpers import build, bundle_args, bundle_file

from ccli.datasets.common.draw import read_picks
from ccli.datasets.common.splits import read_lines, read_split
from ccli.errors import CcliError

MARK = "\ufeff"
TRAIN, TEST = [["a/1.jpg", 0, "a"], ["b/1.jpg", 1, "b"]], [["a/2.jpg", 0, "a"]]


def test_split_picks_and_lists(tmp_path):
    split, picks, lines = (tmp_path / name for name in ("split.json", "picks.json", "train.txt"))
    split.write_text(MARK + json.dumps({"train": TRAIN, "val": [], "test": TEST}), encoding="utf-8")
    picks.write_text(MARK + json.dumps({"train": [["b/1.jpg", 1], ["a/1.jpg", 0]], "val": []}), encoding="utf-8")
    lines.write_text(f"{MARK}one.jpg\r\n\r\ntwo.jpg\r\n", encoding="utf-8")
    pools = read_split(split)
    assert [list(item) for item in pools.train] == TRAIN
    assert read_picks(picks, pools.train, pools.val, 1) == ([1, 0], [])
    assert read_lines(lines) == ["one.jpg", "two.jpg"]


def test_a_configuration(tmp_path):
    yaml = tmp_path / "mine.yaml"
    yaml.write_text(f"{MARK}TRAINER:\n  GDA:\n    WEIGHT: 3.5\n", encoding="utf-8")
    args = bundle_args(bundle_file(tmp_path), tmp_path / "run", trainer="GDA")
    args[args.index("--config-file") + 1] = yaml
    assert build(*args).cfg.TRAINER.GDA.WEIGHT == 3.5


@pytest.mark.parametrize("path", ["a\\1.jpg", "..\\a.jpg"])
def test_a_path_with_a_backslash_says_what_to_write(path, tmp_path):
    (tmp_path / "split.json").write_text(json.dumps({"train": [[path, 0, "a"]], "val": [], "test": TEST}))
    with pytest.raises(CcliError, match=r"has a backslash; write / between folders"):
        read_split(tmp_path / "split.json")
