"""What a command does not import, in processes that list their modules as they end, or after each of some runs."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from fork_server import python
from helpers import ROOT, bundle_args, bundle_file, run_here

from benchmarks import startup
from ccli.datasets.concept_shapes import ConceptShapes

UNUSED = {
    "PIL", "gdown", "jinja2", "matplotlib", "open_clip", "pandas", "ray", "requests", "scipy", "sklearn", "sympy",
    "tensorboard", "torch._dynamo", "torch.utils.tensorboard", "torchvision",
}  # fmt: skip
AS_MAIN = """
import atexit, runpy, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def imports_of(script: str, *words) -> tuple[int, set[str]]:
    """A script's exit status and the modules that it has imported by its end."""
    command = [sys.executable, "-c", AS_MAIN, str(ROOT / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("name", [*startup.SCRIPTS, "explain", "edit", "export", "ablation"])
def test_help_comes_without_torch(name):
    words = [f"{name}.py"] if name in startup.SCRIPTS else ["ccli/__main__.py", name]
    code, modules = imports_of(*words, "--help")
    assert code == 0 and "argparse" in modules
    assert not modules & {"torch", "numpy", "dassl", "ccli.trainers", *UNUSED}


@pytest.mark.parametrize("words", [["--seed", "one"], ["--no-such-flag"], ["--config-file"]])
def test_a_wrong_argument_is_refused_without_torch(words):
    code, modules = imports_of("train.py", *words)
    assert code == 2 and "argparse" in modules
    assert not modules & {"torch", "dassl", "ccli.trainers"}


RUNS = """
import runpy, sys
for line in sys.stdin:
    sys.argv = line.rstrip("\\n").split("\\t")
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    print(*sys.modules, file=sys.stderr)
"""


TRAINERS = [pytest.param("ZeroshotCLIP", marks=pytest.mark.slow), "CCLI"]  # it imports all that the other does


@pytest.fixture(scope="module", params=TRAINERS)
def runs(request, tmp_path_factory):
    """The modules after each of three runs of train.py, made one after another in a process, and their folder."""
    trainer, folder = request.param, tmp_path_factory.mktemp("runs")
    bundle = bundle_file(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConceptShapes, "counts", {"train": 1, "val": 1, "test": 1})
        patch.setenv("CCLI_STORE", str(folder / "store"))
        patch.setenv("OMP_NUM_THREADS", "1")
        stored = [
            *("--root", folder / "data", "--seed", 1, "--trainer", trainer),
            *("--dataset-config-file", ROOT / "configs/datasets/concept_shapes.yaml"),
            *("--config-file", ROOT / f"configs/trainers/{trainer}/demo_clip.yaml"),
            *("DATASET.NUM_SHOTS", 1, "FEATURES.CROPS", 0, "OUTPUT_DIR"),
        ]
        run_here(*stored, folder / "first")  # draws, and fills the store
        commands = (
            bundle_args(bundle, folder / "bundle", trainer=trainer, shots=1),
            [*stored, folder / "second"],
            bundle_args(bundle, folder / "taskres", "OPTIM.MAX_EPOCH", 1, trainer="TaskRes", shots=1),
        )
        lines = ["\t".join(map(str, [ROOT / "train.py", *words])) + "\n" for words in commands]
        command = [sys.executable, "-c", RUNS]
        done = subprocess.run(command, input="".join(lines), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = [set(line.split()) for line in done.stderr.splitlines() if " torch " in line]
    on_bundle, on_stored, by_epochs = modules
    return SimpleNamespace(folder=folder, on_bundle=on_bundle, on_stored=on_stored, by_epochs=by_epochs)


def test_a_run_on_a_bundle_imports_what_it_uses(runs):
    assert {"torch", "dassl.engine", "ccli.trainers.ccli"} <= runs.on_bundle
    assert not runs.on_bundle & UNUSED
    assert (runs.folder / "bundle/result.json").exists() and not (runs.folder / "bundle/tensorboard").exists()


def test_a_run_on_stored_features_imports_neither_the_model_nor_pillow(runs):
    assert (runs.folder / "second/result.json").exists() and not runs.on_stored & UNUSED


def test_what_a_run_uses_is_seen(runs):
    """The other tests' way of looking finds what is imported: TensorBoard, where something is trained by epochs."""
    assert {"tensorboard", "torch.utils.tensorboard"} <= runs.by_epochs


def test_the_benchmark(monkeypatch, capsys, tmp_path):
    argv = ["startup", "--root", str(tmp_path), "--repeats", "1", "--only", "train.py --help"]
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "executable", python())  # its numbers are not looked at
    startup.main()
    names = re.findall(r"^\| (\w.*?) +\|", capsys.readouterr().out, re.MULTILINE)
    assert names == ["import torch", "train.py --help"]
