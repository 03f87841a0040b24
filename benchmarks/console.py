"""What benchmarks, experiments and stress tests share: the command line, tables and the clock."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import tabulate

from ccli.errors import CcliError
from ccli.files.atomic import moved_into_place


class _Format(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    pass


def flag(*names: str, **options) -> Callable[[Callable], Callable]:
    """Decorate a script's main function with an argument, as `add_argument` takes it."""

    def add(main: Callable) -> Callable:
        main.flags = [(names, options), *getattr(main, "flags", ())]
        return main

    return add


def script(main: Callable[[argparse.Namespace], object]) -> Callable[[], int]:
    """Make `main(args)`, the last function of a module, the command that the module is when it is run.

    args: the values of its flags, and `scratch`, a temporary folder. The help is the module's docstring, with each
    default. The exit status is what main returns, 0 for None; a CcliError is one line and status 2.
    """

    @wraps(main)
    def run() -> int:
        parser = argparse.ArgumentParser(description=main.__globals__["__doc__"], formatter_class=_Format)
        for names, options in getattr(main, "flags", ()):
            parser.add_argument(*names, **options)
        args = parser.parse_args()
        with tempfile.TemporaryDirectory() as scratch:
            args.scratch = Path(scratch)
            try:
                return int(main(args) or 0)
            except CcliError as error:
                print(f"{Path(main.__globals__['__file__']).stem}: error: {error}", file=sys.stderr)
                return 2

    if main.__module__ == "__main__":
        sys.exit(run())
    return run


def table(rows: Sequence[Sequence], heads: Sequence[str]) -> str:
    """A table in markdown; numbers stay as they were formatted."""
    return tabulate.tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def write_table(path: Path | None, printed: str) -> None:
    """Write a table below the command that made it, where there is a path; moved into place when complete."""
    if path:
        module = sys.modules["__main__"].__spec__
        command = " ".join(["python", "-m", module.name if module else Path(sys.argv[0]).stem, *sys.argv[1:]])
        with moved_into_place(path) as scratch:
            scratch.write_text(f"`{command}`\n\n{printed}\n", encoding="utf-8")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a call, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def fastest(rounds: int, works: Sequence[Callable[[], Any]]) -> tuple[list[float], list[Any]]:
    """The least seconds of each work over `rounds`, and the results of the first round.

    The works are taken in turn, so that a noisy machine is as noisy to each.
    """
    found = [[timed(work) for work in works] for _ in range(rounds)]
    return [min(seconds for seconds, _ in column) for column in zip(*found)], [result for _, result in found[0]]
