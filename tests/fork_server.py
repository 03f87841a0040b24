"""Python commands in processes of their own, without the seconds that an interpreter takes to import torch.

`python()` is an executable that takes `SCRIPT WORDS`, `-m MODULE WORDS` or `-c CODE WORDS` as Python does. What it runs
is forked from a server (multiprocessing's) that has imported what the commands need and has computed nothing.
With PYTHONPATH in its environment, it imports this project's packages anew, from where they lie on that path.
Tests of what a process imports, of its threads, or of how it starts take sys.executable instead.
"""

import json
import multiprocessing
import os
import pickle
import runpy
import shlex
import signal
import subprocess
import sys
import tempfile
from functools import cache
from multiprocessing import forkserver, reduction
from pathlib import Path
from unittest import mock

IMPORTED = ["torch", "torch.utils.tensorboard", "dassl.engine", "sklearn.linear_model", "scipy.optimize", "tabulate"]
IMPORTED += ["open_clip", "ccli.estimator", "ccli.features.bundles", "ccli.trainers.ccli", "ccli.sweeps.config"]
SERVER = "TESTS_FORK_SERVER"
SHARED = "TESTS_SHARED_FORK_SERVER"
OWN = {"ccli", "dassl"}


@cache
def _server() -> str:
    """The address of the server, which is started unless the process that distributes the tests has done so."""
    if address := os.environ.get(SHARED):
        _use(address)
        return address
    multiprocessing.get_context("forkserver").set_forkserver_preload(IMPORTED)
    # The hub's library reads its variable when it is imported, here.
    own = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    with mock.patch.dict(os.environ, own):
        forkserver.ensure_running()
    return forkserver._forkserver._forkserver_address


def share() -> None:
    """Start the server for the processes that this one will start, too."""
    os.environ[SHARED] = _server()


@cache
def _path() -> list[str]:
    """sys.path of an interpreter, without the folder of its script, and this folder."""
    command = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.path[1:]))"]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout) + [str(Path(__file__).parent)]


@cache
def python() -> str:
    """The executable's path."""
    folder = Path(tempfile.mkdtemp(prefix="python-", dir=Path(_server()).parent))  # removed with the server's socket
    path = folder / "python"
    known = shlex.quote(json.dumps([_server(), _path()]))
    path.write_text(f'#!/bin/sh\n{SERVER}={known} exec "{sys.executable}" -E -s -S "{__file__}" "$@"\n')
    path.chmod(0o755)
    return str(path)


class Process:
    """A command that is running, with the part of subprocess.Popen's interface that tests use; `pid` is its own.

    The worker processes of a sweep are its children and start an interpreter each.

    Args:
        words: SCRIPT, -m MODULE or -c CODE, and the command's arguments.
        env: what it finds in the environment beside this process's variables.
    """

    def __init__(self, *words, cwd: Path, **env: str):
        _server()
        self.args = list(map(str, words))
        self._folder = tempfile.TemporaryDirectory(prefix="process-")
        self._streams = [Path(self._folder.name) / stream for stream in ("out", "err")]
        with open(os.devnull) as nothing, self._streams[0].open("w") as out, self._streams[1].open("w") as err:
            streams = _Streams(*(file.fileno() for file in (nothing, out, err)))
            self._process = _fork(self.args, cwd, os.environ | env, streams, _path())
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
        return [path.read_text(errors="surrogateescape") for path in self._streams]


class _Streams:
    """Three file descriptors on their way to another process."""

    def __init__(self, *numbers: int):
        self.numbers = numbers

    def __getstate__(self) -> list:
        return [reduction.DupFd(number) for number in self.numbers]

    def __setstate__(self, sent: list) -> None:
        self.numbers = [one.detach() for one in sent]


def _fork(words: list[str], cwd, env, streams: _Streams, path: list[str], address: str = ""):
    """Start a command in a process of the server; with the server's address, its workers are forked as well."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_run, args=(words, str(cwd), dict(env), streams, path, address))
    process.start()
    return process


def _run(words: list[str], cwd: str, env: dict[str, str], streams: _Streams, path: list[str], address: str) -> None:
    """In the forked process: become the command."""
    if address:
        _use(address)
        multiprocessing.get_context = _forked_context
    os.setsid()
    for number, descriptor in enumerate(streams.numbers):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)  # the server's cannot be told of other errors
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = [place for place in env.get("PYTHONPATH", "").split(os.pathsep) if place] + path
    _import_anew(env)
    first, *rest = words
    if first in ("-m", "-c", "-"):
        if not env.get("PYTHONSAFEPATH"):
            sys.path.insert(0, cwd)
        sys.argv = [first, *rest[1:]]
        if first == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            exec(compile(sys.stdin.read() if first == "-" else rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first.startswith("-"):
        sys.exit(f"{first}: take sys.executable for it")
    else:
        sys.argv = words
        if not env.get("PYTHONSAFEPATH"):
            sys.path.insert(0, str(Path(first).resolve().parent))
        runpy.run_path(first, run_name="__main__")


def _worker(target, args, **words):
    """A process of the command's own, which has its environment and not the server's."""
    inside = _Later(target, args), dict(os.environ), list(sys.path)
    return multiprocessing.context.ForkServerProcess(target=_work, args=inside, **words)


def _work(later: "_Later", env: dict[str, str], path: list[str]) -> None:
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = path
    _import_anew(env)
    target, args = later.read()
    target(*args)


class _Context(multiprocessing.context.ForkServerContext):
    Process = staticmethod(_worker)


_context_of = multiprocessing.get_context


def _forked_context(method: str | None = None):
    """multiprocessing.get_context, but what would start an interpreter is forked from the server instead."""
    if method == "fork":
        return _context_of(method)
    return _Context()


class _Later:
    """Objects on their way to another process, which looks for their classes when it reads them."""

    def __init__(self, *objects):
        self.objects = objects

    def __getstate__(self) -> bytes:
        return bytes(reduction.ForkingPickler.dumps(self.objects))

    def __setstate__(self, sent: bytes) -> None:
        self.sent = sent

    def read(self) -> tuple:
        return pickle.loads(self.sent)


def _import_anew(env: dict[str, str]) -> None:
    if env.get("PYTHONPATH"):
        for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
            del sys.modules[name]


def _use(address: str) -> None:
    """Let multiprocessing fork from a server that is running."""
    server = forkserver._forkserver
    server._forkserver_address, server.ensure_running = address, lambda: None
    if server._forkserver_alive_fd is None:  # it counts who may still ask
        server._forkserver_alive_fd = os.pipe()[1]


def main() -> None:
    """The executable: hand over arguments, environment and streams, forward signals, end as the command does."""
    address, path = json.loads(os.environ.pop(SERVER))
    _use(address)
    process = _fork(sys.argv[1:], os.getcwd(), os.environ, _Streams(0, 1, 2), path, address)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os.kill(process.pid, number))
    process.join()
    if process.exitcode < 0:
        if process.exitcode != -signal.SIGKILL:
            signal.signal(-process.exitcode, signal.SIG_DFL)
        os.kill(os.getpid(), -process.exitcode)
    sys.exit(process.exitcode)


if __name__ == "__main__":
    import fork_server  # by the name that the forked process knows

    fork_server.main()
