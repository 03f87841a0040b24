"""The command line and the tables of benchmarks, experiments and stress tests."""

import argparse
from collections.abc import Sequence

import tabulate


class _Format(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    pass


def parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose help is the script's docstring, and names each default."""
    return argparse.ArgumentParser(description=doc, formatter_class=_Format)


def table(rows: Sequence[Sequence], heads: Sequence[str]) -> str:
    """A table in markdown; numbers stay as they were formatted."""
    return tabulate.tabulate(rows, heads, tablefmt="github", disable_numparse=True)
