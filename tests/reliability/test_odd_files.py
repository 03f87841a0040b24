"""Files that are none, and checkpoints of something else: a line, at once, and nothing is read without end."""

import os
import shutil
import subprocess

import pytest
import torch
from fork_server import python
from helpers import ROOT, bundle_args, bundle_file, run_here
from picture_folders import args, draw, fill

from ccli import load_run
from ccli.concepts.vocabulary import Vocabulary, fingerprint
from ccli.errors import CcliError
from ccli.features.decoding import digest, open_image
from ccli.files.regular import refuse_special
from ccli.results.records import find_records, read_record


def pipe(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def device(path):
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


ENDLESS = pytest.mark.parametrize("make", [pipe, device])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(bundle, a finished run of GDA, one of TaskRes)."""
    place = tmp_path_factory.mktemp("finished")
    bundle = bundle_file(place)
    for trainer in ("GDA", "TaskRes"):
        run_here(*bundle_args(bundle, place / trainer, "OPTIM.MAX_EPOCH", 2, trainer=trainer))
    return bundle, place / "GDA", place / "TaskRes"


def told(script, *argv):
    """What a script that ends in a second, however, says on stderr."""
    command = [python(), str(ROOT / script), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT).stderr


@ENDLESS
def test_a_record(make, tmp_path):
    make(tmp_path / "result.json")
    with pytest.raises(CcliError, match="is not a regular file but a pipe"):
        read_record(tmp_path)
    assert "is not a regular file" in find_records(tmp_path)[1][0]
    make(tmp_path / "failed.txt")
    (tmp_path / "result.json").unlink()
    assert "is not a regular file" in find_records(tmp_path)[1][0]


@ENDLESS
@pytest.mark.parametrize("name", ["classifier.json", "classifier.safetensors"])
def test_a_classifier(make, name, finished, tmp_path):
    run = shutil.copytree(finished[1], tmp_path / "run")
    make(run / name)
    with pytest.raises(CcliError, match=rf"{name}' is not a regular file"):
        load_run(run)


@ENDLESS
def test_a_picture_and_a_log(make, tmp_path):
    make(tmp_path / "a.png")
    for read in (open_image, digest):
        with pytest.raises(CcliError, match=r"a\.png' is not a regular file"):
            read(tmp_path / "a.png")
    (tmp_path / "seed1").mkdir()
    make(tmp_path / "seed1/log.txt")
    assert "seed1 has no result" in told("parse_test_res.py", tmp_path)


def test_what_is_left_to_others(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path, tmp_path / "none", tmp_path / "loop", "a\0b", draw(tmp_path / "a.png")):
        refuse_special(path)


def test_a_link_to_itself_among_the_pictures(tmp_path):
    pets = fill(tmp_path / "pets", cat=5, dog=5)
    run_here(*args(pets, tmp_path / "run", trainer="ZeroshotCLIP"))
    (pets / "cat/1.jpg").symlink_to("1.jpg")
    command = [python(), str(ROOT / "predict.py"), "--model-dir", str(tmp_path / "run"), str(pets / "cat")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 5, done.stderr


def test_a_concept_that_is_not_utf_8():
    assert fingerprint(Vocabulary(("a\ud800",), ("",))) != fingerprint(Vocabulary(("a",), ("",)))


def other(state, *, drop=(), cut=(), types=None, sparse=False):
    found = {name: x for name, x in state.items() if name not in drop}
    for name in cut:
        found[name] = found[name][:-1, :-1]
    found = {name: x.to(types) if types and x.is_floating_point() else x for name, x in found.items()}
    return {name: x.to_sparse() if sparse and x.ndim > 1 else x for name, x in found.items()}


CHANGES = {
    "a tensor is gone": {"drop": ["text_features"]}, "another width": {"cut": ["text_features"]},
    "half precision": {"types": torch.float16}, "complex": {"types": torch.complex64}, "sparse": {"sparse": True},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Validating sparse", "ignore:Casting complex")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("trainer", ["GDA", "TaskRes"])
def test_a_checkpoint_of_something_else(change, trainer, finished, tmp_path):
    bundle = finished[0]
    run = shutil.copytree(bundle.parent / trainer, tmp_path / "run")
    (run / "head/model-best.pth.tar").unlink(missing_ok=True)
    (path,) = run.glob("head/model.pth.tar-*")
    content = torch.load(path, weights_only=True)
    torch.save(content | {"state_dict": other(content["state_dict"], **CHANGES[change])}, path)
    with pytest.raises(SystemExit, match=rf"^error: the checkpoint in .*run does not fit {trainer} and these features"):
        run_here("--eval-only", "--model-dir", run, *bundle_args(bundle, tmp_path / "eval", trainer=trainer))


@pytest.mark.parametrize(
    "change",
    [{"state_dict": {}}, {"optimizer": [1]}, {"scheduler": "x"}, {"epoch": -3}, {"epoch": "two"}, {"optimizer": {}}],
    ids=str,
)
def test_a_checkpoint_that_cannot_be_resumed_from(change, finished, tmp_path):
    bundle = finished[0]
    run = shutil.copytree(finished[2], tmp_path / "run")
    (run / "result.json").unlink()
    (path,) = run.glob("head/model.pth.tar-*")
    torch.save(torch.load(path, weights_only=True) | change, path)
    with pytest.raises(SystemExit, match=r"^error: cannot resume from .*; remove that folder to start anew$"):
        run_here(*bundle_args(bundle, run, "OPTIM.MAX_EPOCH", 2, trainer="TaskRes"))


def test_a_file_where_checkpoints_go(tmp_path):
    bundle = bundle_file(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/head").touch()
    with pytest.raises(SystemExit, match=r"/head is not a folder, and checkpoints go into one of that name; remove it"):
        run_here(*bundle_args(bundle, tmp_path / "run"))
