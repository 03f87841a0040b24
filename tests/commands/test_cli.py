"""ccli, and the scripts under CoOp's names: help, one style of errors, one convention of exit statuses."""

import errno
import subprocess
import sys

import pytest
from helpers import ROOT

import ccli
from benchmarks import startup
from ccli import cli
from ccli.commands import table, train
from ccli.errors import CcliError


def test_help_is_one_screen_and_names_every_command(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert cli.main(["--help"]) == 0 and capsys.readouterr().out == text
    assert len(text.splitlines()) <= 25 and max(map(len, text.splitlines())) < 100
    assert all(f"\n  {name} " in text for name in cli.COMMANDS)
    assert all(f"\n  ccli {name} " in text for name in ("sweep", "table", "report", "predict", "explain", "export"))


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_under_its_name(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([name, "--help"])
    text = capsys.readouterr().out
    assert (
        text.startswith(f"usage: ccli {name} ")
        and "PROG" not in text
        and f"    ccli {name} " in text.replace(f"\n  ccli {name} ", f"\n    ccli {name} ")
    )


def test_version_and_unknown_commands(capsys):
    assert cli.main(["--version"]) == 0 and capsys.readouterr().out == f"ccli {ccli.__version__}\n"
    assert cli.main(["sweeep"]) == 2
    assert capsys.readouterr().err == "ccli: error: unknown command 'sweeep'; see ccli --help\n"


def test_python_m_ccli():
    done = subprocess.run([sys.executable, "-m", "ccli", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"ccli {ccli.__version__}\n")


def test_table_reads_records_and_coops_script_logs(tmp_path, capsys):
    assert cli.main(["table", str(tmp_path)]) == 2 and "no readable result.json" in capsys.readouterr().err
    assert cli.main(["table", str(tmp_path), "--logs"]) == 2 and "no seed*/log.txt" in capsys.readouterr().err
    assert cli.run("table", "parse_test_res.py", [str(tmp_path)]) == 2
    assert "no seed*/log.txt" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(["table", str(tmp_path), "--ci95"])
    assert capsys.readouterr().err.startswith("ccli table: error: argument --ci95: only for logs")


ENDS = {
    "refused": (CcliError("no; try yes"), 2, "ccli train: error: no; try yes\n"),
    "not finite": (FloatingPointError("loss is nan"), 2, "ccli train: error: loss is nan\n"),
    "disk": (OSError(errno.ENOSPC, "No space", "a"), 2, "ccli train: error: a: No space; make room, and"),
    "permission": (PermissionError(errno.EACCES, "Permission denied", "b"), 2, "ccli train: error: b: Permission den"),
    "module": (ModuleNotFoundError(name="x"), 2, "ccli train: error: x is not installed here: run `bash scripts/inst"),
    "interrupted": (KeyboardInterrupt(), 130, "interrupted; the same command resumes\n"),
}


@pytest.mark.parametrize("what", ENDS)
def test_how_commands_end(what, monkeypatch, capsys):
    problem, status, words = ENDS[what]

    def failing(argv, prog):
        raise problem

    monkeypatch.setattr(train, "main", failing)
    assert cli.main(["train"]) == status
    err = capsys.readouterr().err
    assert err.startswith(words) and err.count("\n") == 1
    monkeypatch.setattr(table, "main", failing)
    assert cli.run("table", "parse_test_res.py", []) == status
    err = capsys.readouterr().err
    assert err.startswith("interrupted\n" if what == "interrupted" else "parse_test_res.py: error: ")


def test_other_errors_keep_their_traceback(monkeypatch):
    for problem in (ValueError("a mistake"), OSError("without a file")):
        monkeypatch.setattr(train, "main", lambda argv, prog, problem=problem: (_ for _ in ()).throw(problem))
        with pytest.raises(type(problem)):
            cli.main(["train"])


@pytest.mark.parametrize("name", startup.SCRIPTS)
def test_scripts_say_where_nothing_is_installed(name):
    command = [sys.executable, "-S", str(ROOT / f"{name}.py"), "--help"]  # -S: without the environment's packages
    done = subprocess.run(command, capture_output=True, text=True)
    remedy = "is not installed here: run `bash scripts/install.sh` and use .venv/bin/python\n"
    assert done.returncode == 2 and done.stderr == f"{name}.py: error: ccli.commands {remedy}"
