"""Scripts of the root in processes of their own, without the seconds that an interpreter takes to import torch.

Each is forked from a server (multiprocessing's) that has imported what the commands need and has computed nothing.
Tests of how a process starts, or of its threads, start an interpreter instead.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parent.parent
IMPORTED = ["torch", "torch.utils.tensorboard", "dassl.engine", "sklearn.linear_model", "scipy.optimize", "tabulate"]
IMPORTED += ["open_clip", "ccli.features.bundles", "ccli.trainers.ccli"]


@cache
def _context():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}):
        forkserver.ensure_running()
    return context


class Script:
    """`python NAME.py WORDS` that is running, with the part of subprocess.Popen's interface that tests use.

    Args:
        cwd: its working directory.
        fork: let the server fork the worker processes of a sweep, too, which otherwise start an interpreter each.
        env: what it finds in the environment beside this process's variables.
    """

    def __init__(self, name: str, *words, cwd: Path, fork: bool = False, **env: str):
        self.args = [f"{name}.py", *map(str, words)]
        self._folder = tempfile.TemporaryDirectory(prefix="script-")
        files = [Path(self._folder.name) / stream for stream in ("out", "err")]
        self._streams = files
        context = _context()
        address = forkserver._forkserver._forkserver_address if fork else None
        self._process = context.Process(target=_run, args=(self.args, cwd, os.environ | env, files, address))
        self._process.start()
        self.pid, self.kill = self._process.pid, self._process.kill

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def communicate(self, timeout: float | None = None) -> list[str]:
        """What it has printed and what it has said on stderr, when it has ended."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return [path.read_text(errors="surrogateescape") if path.exists() else "" for path in self._streams]


def run_script(name: str, *words, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    """Run `python NAME.py WORDS` to its end; its workers are forks, too."""
    process = Script(name, *words, cwd=cwd, fork=True, **env)
    try:
        stdout, stderr = process.communicate(300)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def _run(words: list[str], cwd: Path, env: dict[str, str], files: list[Path], address: str | None) -> None:
    if address:  # of the server
        server, context = forkserver._forkserver, multiprocessing.get_context("forkserver")
        server._forkserver_address, server.ensure_running = address, lambda: None
        multiprocessing.get_context = lambda method=None: context
    os.setsid()
    for descriptor, path in enumerate(files, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [str(ROOT / words[0]), *words[1:]]
    sys.path.insert(0, str(ROOT))
    runpy.run_path(sys.argv[0], run_name="__main__")
