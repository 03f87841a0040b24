"""interpret_prompt.py: the words nearest to a learned context."""

import os
import subprocess

import helpers
import pytest
import torch
from fork_server import python
from helpers import ROOT

from ccli.clip.model import FrozenClip
from ccli.commands import words
from ccli.trainers.common.checkpoints import write_run

demo = FrozenClip("demo-clip")


def call(*argv) -> str:
    """The script in this process; what it printed. SystemExit passes through."""
    return helpers.call("interpret_prompt", *argv)


def error(*argv) -> str:
    with pytest.raises(SystemExit) as caught:
        call(*argv)
    message = str(caught.value)
    assert message.startswith("error: ") and "\n" not in message
    return message


def context(*texts):
    """The embeddings of words, [M, 64] for a text, [N, M, 64] for several."""
    ids = [demo.tokenize([text])[0] for text in texts]
    rows = [demo.text_tower.embed(row[1 : row.argmax()]) for row in ids]
    return rows[0] if len(rows) == 1 else torch.stack(rows)


def our_run(folder, ctx, trainer="CoOp", names=("dog", "red panda"), key="ctx"):
    (folder / "head").mkdir(parents=True)
    torch.save({"state_dict": {key: ctx}, "epoch": 2}, folder / "head" / "model.pth.tar-2")
    (folder / "head" / "checkpoint").write_text("model.pth.tar-2\n")
    options = {"TRAINER": {"NAME": trainer}, "MODEL": {"BACKBONE": {"NAME": "demo-clip"}}}
    write_run(str(folder), list(names), [f"n{k}" for k in range(len(names))], options)
    return folder


def test_words_are_found_again_at_distance_0(tmp_path):
    lines = call(our_run(tmp_path / "run", context("a photo of")), "--top", 2).splitlines()
    assert lines[0] == "context of 3 vectors, backbone demo-clip"
    assert lines[1].startswith("a word of its 49408 is typically ")
    assert [line.split()[:3] for line in lines[2:]] == [
        ["1:", "a", "0.0000"], ["2:", "photo", "0.0000"], ["3:", "of", "0.0000"],
    ]  # fmt: skip
    assert all(len(line.split()) == 5 for line in lines[2:])


def test_distances_by_hand():
    vocabulary = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    texts = ["photo ", "pho", "<end_of_text>"]
    ctx = torch.tensor([[0.0, 0.0], [3.0, 5.0]])
    # from (0, 0): 0, 5, 1; from (3, 5): sqrt(34), 1, 5
    assert words.words_of(ctx, vocabulary, 3, texts.__getitem__) == [
        "1: photo 0.0000  <end_of_text> 1.0000  pho- 5.0000",
        "2: pho- 1.0000  <end_of_text> 5.0000  photo 5.8310",
    ]
    assert words.words_of(ctx, vocabulary, 1, ["a ", "\n", "b "].__getitem__) == ["1: a 0.0000", r"2: '\n-' 1.0000"]
    assert words.typical_distance(torch.arange(300.0)[:, None] * 2) == 2


def test_each_class_of_a_class_specific_context(tmp_path):
    lines = call(our_run(tmp_path / "run", context("a photo", "the picture")), "--top", 1).splitlines()
    assert lines[0] == "context of 2 vectors for each class, backbone demo-clip"
    assert lines[2:] == ["", "dog", "1: a 0.0000", "2: photo 0.0000"] + [
        "", "red panda", "1: the 0.0000", "2: picture 0.0000",
    ]  # fmt: skip


@pytest.mark.parametrize("top", [["3"], ["--top", "3"]])
def test_coops_own_runs_and_its_second_argument(tmp_path, top):
    (tmp_path / "prompt_learner").mkdir()
    file = tmp_path / "prompt_learner" / "model.pth.tar-50"
    torch.save({"state_dict": {"ctx": context("photo"), "token_prefix": torch.zeros(1)}, "epoch": 50}, file)
    for place in (tmp_path, file):
        assert "model.pth.tar-50 does not record its backbone" in error(place)
        lines = call(place, *top, "--backbone", "demo-clip").splitlines()
        assert lines[2].startswith("1: photo 0.0000  ") and len(lines) == 3 and len(lines[2].split()) == 7


def test_another_backbone_takes_the_place_of_the_runs(tmp_path, tiny_clip_folder):
    run = our_run(tmp_path / "run", context("a photo"))
    assert call(run, "--backbone", tiny_clip_folder).startswith(f"context of 2 vectors, backbone {tiny_clip_folder}\n")


def test_what_cannot_be_interpreted(tmp_path):
    assert "no such file or folder" in error(tmp_path / "gone")
    assert "there is nothing" in error(tmp_path)
    assert "run of CCLI, which learns no context" in error(our_run(tmp_path / "a", context("a"), "CCLI", key="beta"))
    wide = our_run(tmp_path / "b", torch.zeros(4, 512))
    assert "vectors are 512 wide and the words of demo-clip 64" in error(wide)
    assert "unknown backbone 'RN5O'" in error(wide, "--backbone", "RN5O")
    (wide / "head" / "checkpoint").unlink()
    assert "without a checkpoint; finish that run" in error(wide)


def test_from_the_command_line(tmp_path):
    run = our_run(tmp_path / "run", context("a photo"))

    def started(*argv):
        return subprocess.run(
            [python(), str(ROOT / "interpret_prompt.py"), *map(str, argv)],
            capture_output=True, text=True, timeout=120, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    done = started(run, "--top", 1)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.splitlines()[2:] == ["1: a 0.0000", "2: photo 0.0000"]
    done = started(tmp_path / "gone")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("interpret_prompt.py: error: no such file")
    done = started(run, "--top", 0)
    assert done.returncode == 2 and "argument --top: must be an integer >= 1, got '0'" in done.stderr
    text = started("--help").stdout
    assert "--backbone RN50" in text and "Euclidean" in text
