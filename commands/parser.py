"""An argument parser for all commands. Nothing heavy is imported: --help and wrong arguments are answered at once."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line.

    Args:
        prog: the command's name, such as "ccli train" or "train.py".
        description: shown above the arguments.
        epilog: shown below them; PROG stands for the call of the command.
    """

    def __init__(self, prog: str, description: str | None, epilog: str = "") -> None:
        epilog = epilog.replace("PROG", f"python {prog}" if prog.endswith(".py") else prog)
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, epilog=epilog, formatter_class=form)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def positive(text: str) -> int:
    """The type of an argument that is an integer >= 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, got {text!r}")
    return int(text)
