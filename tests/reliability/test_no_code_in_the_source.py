"""The repository's own code has no call that runs what it reads."""

import ast
import subprocess
from pathlib import Path

import pytest
from helpers import ROOT

NEVER = {
    *("eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open"),
    *("dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads", "joblib.load", "torch.jit.load"),
    *("torch.hub.load", "pandas.read_pickle", "os.system", "os.popen"),
}


def files() -> list[Path]:
    """Every Python file under version control that is no test."""
    names = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = [ROOT / name for name in names.split("\n") if name and not name.startswith("tests/")]
    return [path for path in found if path.exists()]


def problem(call: ast.Call) -> str:
    """Why a call is refused; "" where it is not."""
    name, given = ast.unparse(call.func), {word.arg: word.value for word in call.keywords}
    true = lambda key: isinstance(given.get(key), ast.Constant) and given[key].value is True  # noqa: E731
    if name in NEVER or (name.endswith(".read_pickle") or name.rpartition(".")[2] == "Unpickler"):
        return f"{name} runs what it reads"
    if name == "torch.load" and not true("weights_only"):
        return "torch.load without weights_only=True"
    if name in ("np.load", "numpy.load") and "allow_pickle" in given and not _is_false(given["allow_pickle"]):
        return "np.load with allow_pickle"
    if name.endswith(("extractall", "unpack_archive")) or true("shell") or true("trust_remote_code"):
        return f"{name} trusts what it is given"
    return ""


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def problems(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and problem(node):
            found.append(f"{node.lineno}: {problem(node)}")
        if isinstance(node, ast.Import) and {a.name for a in node.names} & {"pickle", "marshal", "shelve", "dill"}:
            found.append(f"{node.lineno}: imports {ast.unparse(node)}")
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "marshal", "shelve", "dill"):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def test_no_file_runs_what_it_reads():
    found = {str(path.relative_to(ROOT)): problems(path.read_text()) for path in files()}
    assert {name: lines for name, lines in found.items() if lines} == {} and len(found) > 100


@pytest.mark.parametrize(
    "line",
    ["pickle.load(f)", "import pickle", "from pickle import loads", "torch.load(p)", "torch.load(p, weights_only=no)",
     "np.load(p, allow_pickle=True)", "yaml.load(f)", "eval(x)", "exec(x)", "tar.extractall(p)", "run(x, shell=True)"],
)  # fmt: skip
def test_the_check_sees_it(line):
    assert problems(line)


@pytest.mark.parametrize("line", ["torch.load(p, weights_only=True)", "np.load(p)", "model.eval()", "re.compile(x)"])
def test_the_check_lets_it(line):
    assert not problems(line)
