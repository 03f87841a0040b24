"""Inside another plugin's checkout, with folders of the same names as ours; and the library's boundary."""

import ast
import subprocess
import sys

import pytest
from helpers import ROOT

FOREIGN = {
    "trainers/__init__.py": "",
    "trainers/coop.py": "HERE = 'foreign'\n",
    "trainers/ccli.py": "raise AssertionError('the foreign checkout has a file of this name, too')\n",
    "datasets/__init__.py": "HERE = 'foreign'\n",
    "configs/__init__.py": "HERE = 'foreign'\n",
}

SCRIPT = """
import sys
assert sys.path[0] == sys.argv[1], sys.path
import ccli.trainers.ccli
import trainers.coop, datasets, configs
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
assert TRAINER_REGISTRY.registered_names() == ["CCLI"], TRAINER_REGISTRY.registered_names()
assert DATASET_REGISTRY.registered_names() == [], DATASET_REGISTRY.registered_names()
assert {trainers.coop.HERE, datasets.HERE, configs.HERE} == {"foreign"}
assert ccli.trainers.__name__ == "ccli.trainers" and ccli.trainers is not trainers
cfg = get_cfg_default()
before = set(cfg.TRAINER)
ccli.trainers.ccli.extend_cfg(cfg)
assert set(cfg.TRAINER) - before == {"CCLI"}
assert cfg.TRAINER.CCLI.SOURCE == "visual" and cfg.PROTOCOL == "validation"
cfg.TRAINER.CCLI.TOP_K = 7
ccli.trainers.ccli.extend_cfg(cfg)  # again: keeps what is there
assert cfg.TRAINER.CCLI.TOP_K == 7
print("all well")
"""


@pytest.mark.parametrize("name", ["main.py", "train.py"])
def test_a_checkout_with_folders_of_the_same_names(tmp_path, name):
    for path, text in FOREIGN.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / name).write_text(SCRIPT)  # a script's own folder comes first on sys.path
    ended = subprocess.run(
        [sys.executable, str(tmp_path / name), str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0 and ended.stdout.strip() == "all well", ended.stderr


def imported(path) -> set[str]:
    """Top-level names and full names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {".".join(name.split(".")[:k]) for name in names for k in range(1, name.count(".") + 2)}


def test_the_library_stands_alone():
    files = sorted((ROOT / "ccli").rglob("*.py"))
    assert len(files) > 15
    outside = {"dassl", "yacs", "ccli.trainers", "ccli.datasets", "ccli.configs", "trainers", "datasets", "configs"}
    for path in files:
        assert not imported(path) & outside, path


def test_imports_run_one_way():
    for folder, never in (("datasets", "ccli.trainers"), ("toolbox/dassl", "ccli")):
        for path in (ROOT / folder).rglob("*.py"):
            assert never not in imported(path), path


def test_the_scan_sees_imports(tmp_path):
    (tmp_path / "a.py").write_text("def f():\n    from dassl.engine import TrainerX\n    import yacs.config as y\n")
    assert {"dassl", "dassl.engine", "dassl.engine.TrainerX", "yacs", "yacs.config"} == imported(tmp_path / "a.py")
