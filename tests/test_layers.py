"""The rooms' order, which pyproject.toml lists for import-linter, and what no room of the library may know."""

import ast
import re
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT

FOLDERS = ("commands", "configs", "datasets", "sweeps", "trainers")  # subpackages of ccli, as in setup.py
LINT = "from importlinter.cli import lint_imports_command as lint; lint()"
# dassl.optim: types that checkpoints of other programs hold
OPTION = re.compile(r"\b[A-Z]{2,}\.[A-Z_]{2,}|\b(yacs|dassl)\b(?!\.optim)")
TABLE_OF_OPTIONS = "identity.py"  # of ccli.results: which options of a record's configuration tell runs apart


@pytest.fixture
def tree(tmp_path):
    """A folder in which ccli and dassl have all their subpackages, as an installed wheel has."""
    sources = shutil.ignore_patterns("__pycache__", "*.json", "*.safetensors", "*.yaml", "*.png")
    shutil.copytree(ROOT / "ccli", tmp_path / "ccli", ignore=sources)
    shutil.copytree(ROOT / "toolbox/dassl", tmp_path / "dassl", ignore=sources)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / "ccli" / name, ignore=sources)
    return tmp_path


def lint(tree) -> tuple[int, str]:
    """Exit status and output of lint-imports, which takes packages from the working directory first."""
    command = [sys.executable, "-c", LINT, str(ROOT / "pyproject.toml"), "--no-cache"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_imports(tree):
    status, said = lint(tree)
    assert status == 0, said


BAD_FILES = {
    "clip/bad.py": "from ccli.methods import gda",
    "results/bad.py": "def f():\n    import torch\n    from ccli.pages import report",
    "trainers/common/bad.py": "import ccli.sweeps.plan",
    "features/bad.py": "import ccli.results.tables",
    "concepts/bad.py": "import ccli.concepts.worse",
    "concepts/worse.py": "import ccli.concepts.bad",
    "methods/bad.py": "from yacs.config import CfgNode",
    "fitting/bad.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ccli.estimator",
    "new/__init__.py": "",
}
FOUND = (
    "ccli.clip.bad -> ccli.methods",
    "ccli.results.bad -> ccli.pages.report (l.3)",
    "ccli.trainers.common.bad -> ccli.sweeps.plan",
    "ccli.features.bad -> ccli.results.tables",
    "No cycles are allowed in ccli.concepts",
    "ccli.results.bad -> torch",
    "ccli.methods.bad -> yacs",
    "not listed as layers:\n\n- ccli.new",
)


def test_bad_imports_are_found(tree):
    for name, content in BAD_FILES.items():
        (tree / "ccli" / name).parent.mkdir(exist_ok=True)
        (tree / "ccli" / name).write_text(content + "\n")
    status, said = lint(tree)
    assert status == 1 and not [words for words in FOUND if words not in said], said
    assert "fitting.bad" not in said  # it imports for a type checker alone


def modules(room: str) -> list[str]:
    paths = sorted((ROOT / "ccli" / room).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in names]


def test_results_without_torch():
    code = f"import importlib, sys\nfor name in {modules('results')}: importlib.import_module(name)\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stdout + done.stderr


def options_in(path) -> list[str]:
    """Where texts of a file, docstrings included, name an option of a configuration, yacs or dassl."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := OPTION.search(node.value)):
            found.append(f"{path}:{node.lineno}: {match[0]}")
    return found


def test_the_library_names_no_options():
    paths = [path for path in sorted((ROOT / "ccli").rglob("*.py")) if path.name != TABLE_OF_OPTIONS]
    found = [line for path in paths for line in options_in(path)]
    assert not found, "\n".join(found)


def test_a_named_option_is_found(tmp_path):
    (tmp_path / "bad.py").write_text('raise ValueError(f"{x} must be a number; set OPTIM.LR")')
    assert options_in(tmp_path / "bad.py") == [f"{tmp_path / 'bad.py'}:1: OPTIM.LR"]
