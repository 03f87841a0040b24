"""`ccli COMMAND ...`, and the scripts of CoOp's names: one style of error and one convention of exit statuses.

Exit statuses: 0 done; 1 the command ran, but part of it failed (a run of a sweep, an unreadable picture); 2 wrong
arguments, or nothing could be done; 130 interrupted; 141 the reader of the output left before the work was done.

This module lies outside ccli.commands because it can be imported where only the checkout is there and nothing is
installed. Then it says so in one line.
"""

import codecs
import io
import os
import sys
from importlib import import_module
from pathlib import Path

from ccli import __version__
from ccli.errors import CcliError, of_the_disk, warnings_into

COMMANDS = {
    "train": "one run: train a method on a data set, or evaluate a finished run",
    "sweep": "many runs: data sets x methods x shots x seeds x options",
    "table": "tables of finished runs: mean and deviation over seeds, differences, paired tests",
    "report": "one page on finished runs, figures for a paper, or the concepts of one run",
    "predict": "labels and probabilities for pictures, by a finished run",
    "explain": "the concepts that decided a picture's label, or that separate two classes",
    "edit": "a finished run's classifier without some concepts, such as a background",
    "export": "a finished run's classifier as an ONNX model",
    "download": "download a benchmark data set, or check the one that is there",
    "ablation": "table and figure of runs that differ from a method in one option",
    "words": "the words nearest to a learned context of CoOp",
}
WORKING = ("train", "sweep", "download")  # after an interruption the same command resumes their work
HELP = """\
usage: ccli COMMAND ...
Few-shot classification with CLIP features.

commands:
{commands}

examples:
  ccli sweep --datasets concept_shapes --trainers CCLI ZeroshotCLIP --shots 16
  ccli table output
  ccli report output --to report.html
  ccli predict --model-dir output/concept_shapes/CCLI/demo_clip_16shots/seed1 PICTURE ...
  ccli explain --model-dir output/concept_shapes/CCLI/demo_clip_16shots/seed1 PICTURE
  ccli export --model-dir output/concept_shapes/CCLI/demo_clip_16shots/seed1 model.onnx

`ccli COMMAND --help` explains a command; `ccli --version` prints the version.
"""


def main(argv: list[str] | None = None) -> int:
    """Run `ccli COMMAND ...`; returns the exit status."""
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in ("-h", "--help"):
        print(HELP.format(commands="\n".join(f"  {name:9} {what}" for name, what in COMMANDS.items())), end="")
        return 0
    if command == "--version":
        print(f"ccli {__version__}")
        return 0
    if command not in COMMANDS:
        print(f"ccli: error: unknown command {command!r}; see ccli --help", file=sys.stderr)
        return 2
    return run(command, f"ccli {command}", rest)


def run(command: str, prog: str, argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status.

    Args:
        command: a name in COMMANDS.
        prog: the command's name in messages and help, such as "ccli train" or "train.py".
        argv: its arguments; None takes those of the process.
    """
    # Before torch is imported: threads that spin for long while they wait make small steps 60 times slower where
    # another process wants the cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    codecs.register_error("escape", _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="escape")
    try:
        with warnings_into([], sys.stderr):
            status = import_module(f"ccli.commands.{command}").main(sys.argv[1:] if argv is None else argv, prog)
        sys.stdout.flush()
        return status
    except (CcliError, FloatingPointError) as error:
        problem = str(error)
    except ModuleNotFoundError as error:
        problem = _not_installed(error)
    except BrokenPipeError:  # such as of `| head`; Python's flush at exit must not fail on what is left in the buffer
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
        return 141 if command in WORKING else 0
    except OSError as error:
        problem = of_the_disk(error) or (f"{error.filename}: {error.strerror}" if error.filename else "")
        if not problem:
            raise
    except KeyboardInterrupt:
        print(f"interrupted{'; the same command resumes' if command in WORKING else ''}", file=sys.stderr)
        return 130
    print(f"{prog}: error: {problem}", file=sys.stderr)
    return 2


def _escape(error: UnicodeError) -> tuple[bytes, int]:
    """What a terminal cannot print: a name's bytes that are no text as they are, other characters as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    how = ("surrogateescape" if "\udc80" <= one <= "\udcff" else "backslashreplace" for one in text)
    return b"".join(one.encode("ascii", errors) for one, errors in zip(text, how)), error.end


def _not_installed(error: ModuleNotFoundError) -> str:
    in_checkout = (Path(__file__).parents[1] / "scripts/install.sh").is_file()
    remedy = "run `bash scripts/install.sh` and use .venv/bin/python" if in_checkout else "install it with pip"
    return f"{error.name} is not installed here: {remedy}"
