"""Means over seeds from finished runs: CoOp's parse_test_res.py, and tables from records.

Imports nothing but the standard library, numpy and ccli, so it reads the logs of any machine.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from ccli.commands.parser import Parser
from ccli.errors import CcliError
from ccli.results.conflicts import Conflict
from ccli.results.paired import paired_tests
from ccli.results.published import read_published
from ccli.results.records import FAILURE, RECORD, find_records
from ccli.results.table_formats import FORMATS, render
from ccli.results.tables import build_table

TRAINED = ("Finish training", "Finished training")  # Dassl's line, and that of its first versions
TESTED = ("=> result",)

EXAMPLES = """
examples:
  The mean over seeds, from DIR/seed1/log.txt, DIR/seed2/log.txt, ... (the last value after the end of training):
    python parse_test_res.py output/dtd/CCLI/rn50_16shots
  The same with a 95 % confidence interval (1.96 * std / sqrt(seeds)) in place of the standard deviation:
    python parse_test_res.py output/dtd/CCLI/rn50_16shots --ci95
  Runs that only tested (train.py --eval-only), and another line of the result:
    python parse_test_res.py output/imagenetv2/CCLI/rn50_16shots --test-log --keyword macro_f1
  Each experiment in a folder (output/dtd/CCLI/{rn50_1shots,rn50_2shots,...}/seed*), and their average:
    python parse_test_res.py output/dtd/CCLI --multi-exp
  One table of every finished run below one or several folders, from result.json and so without rounding:
    python parse_test_res.py output --table
    python parse_test_res.py output/dtd output/eurosat --table --format simple
  Data sets as columns (or --columns shots), with a block of rows for each number of shots, and their average:
    python parse_test_res.py output --table --columns dataset
  For a paper (the booktabs package), and every number in full, one line for each row and column (pandas.read_csv):
    python parse_test_res.py output --table --columns dataset --format latex > table.tex
    python parse_test_res.py output --table --format csv > table.csv
  The difference to one trainer beside each column, and rows of published numbers:
    python parse_test_res.py output/dtd --table --against CCLI --published published.csv
  Is CCLI better than each other trainer? Paired tests over data sets, shots and seeds, and over images:
    python parse_test_res.py output --table --paired

+- in the log modes is the population standard deviation, as CoOp prints it; ± in a table is the sample standard
deviation (n - 1), the larger of the two. A table's last rows have CCLI's difference to the best other trainer.
"""


def build_parser() -> argparse.ArgumentParser:
    """CoOp's arguments, and ours for tables."""
    parser = Parser(
        prog="parse_test_res.py",
        description="Means over seeds from the log.txt or the result.json of finished runs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", nargs="+", metavar="DIR", help="folder of runs; several only with --table")
    parser.add_argument("--ci95", action="store_true", help="95%% confidence interval instead of standard deviation")
    parser.add_argument("--test-log", action="store_true", help="logs of runs that only tested")
    parser.add_argument("--multi-exp", action="store_true", help="every sub-folder of DIR is an experiment")
    parser.add_argument("--keyword", help="the line to read: accuracy (default), error, macro_f1")
    parser.add_argument("--table", action="store_true", help="a table of every result.json below DIR")
    parser.add_argument("--against", metavar="TRAINER", help="with --table: differences to this trainer, too")
    parser.add_argument("--published", metavar="CSV", help="with --table: published numbers in marked rows")
    parser.add_argument(
        "--columns", choices=("dataset", "shots"), help="of the table (default: each data set and number of shots)"
    )
    parser.add_argument("--format", choices=FORMATS, help="of the table (default: github)")
    parser.add_argument("--paired", action="store_true", help="with --table: tests of CCLI against each other trainer")
    return parser


def warn(message: str) -> None:
    """One line on stderr, so that stdout stays what CoOp prints."""
    print(f"parse_test_res.py: warning: {message}", file=sys.stderr)


def subfolders(directory: str, prefix: str = "") -> list[str]:
    """Visible sub-folders' names that start with prefix, sorted. Raises CcliError where there is no such folder."""
    if not os.path.isdir(directory):
        raise CcliError(f"no such folder: {directory}; give the folder that holds the runs")
    names = sorted(name for name in os.listdir(directory) if name.startswith(prefix) and not name.startswith("."))
    return [name for name in names if os.path.isdir(os.path.join(directory, name))]


def read_log(path: str, keyword: str, end_signals: tuple[str, ...]) -> float | None:
    """The last `* keyword: N%` after one of the end signals (percent), or None where there is none."""
    pattern = re.compile(rf"\* {re.escape(keyword)}: ([-+]?\d+\.?\d*(?:[eE][-+]?\d+)?)%")
    ended, value = False, None
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            ended = ended or line.strip() in end_signals
            match = pattern.search(line)
            if ended and match:
                value = float(match.group(1))
                if not 0 <= value <= 100:
                    raise CcliError(f"{path}: {keyword} is {value:g} %, which cannot be; repeat the run")
    return value


def seed_result(folder: str, keyword: str, end_signals: tuple[str, ...]) -> tuple[str, float] | None:
    """(log file, value) of one seed's folder: log.txt, or, where that has no result, the latest log that has one.

    Dassl never overwrites a log.txt: a run repeated in the same folder writes log.txt-YEAR-MONTH-DAY-H-M-S.
    """
    later = sorted((name for name in os.listdir(folder) if name.startswith("log.txt-")), reverse=True)
    for name in ["log.txt", *later]:
        path = os.path.join(folder, name)
        value = read_log(path, keyword, end_signals) if os.path.isfile(path) else None
        if value is not None:
            return path, value
    return None


def summarise(directory: str, keyword: str, end_signals: tuple[str, ...], ci95: bool) -> float:
    """Print one experiment's values and their mean in CoOp's format; return the mean in percent.

    Raises:
        CcliError: no seed of the folder has a result.
    """
    import numpy as np

    print(f"Parsing files in {directory}")
    values = []
    for name in subfolders(directory, "seed"):
        folder = os.path.join(directory, name)
        result = seed_result(folder, keyword, end_signals)
        if result is None:
            warn(f"{folder} has no result and is left out of the mean; finish its run")
            continue
        print(f"file: {result[0]}. {keyword}: {result[1]:.2f}%. ")
        values.append(result[1])
    if not values:
        raise CcliError(
            f"nothing found in {directory}: no seed*/log.txt has a line '* {keyword}: N%' after '{end_signals[0]}'; "
            f"finish the runs, use --test-log for runs that only tested, or --multi-exp for a folder of experiments"
        )
    spread = np.std(values)
    if ci95:
        spread = 1.96 * spread / np.sqrt(len(values))
    print("===")
    print(f"Summary of directory: {directory}")
    print(f"* {keyword}: {np.mean(values):.2f}% +- {spread:.2f}%")
    print("===")
    return float(np.mean(values))


def print_means(args: argparse.Namespace) -> None:
    """CoOp's two modes: one experiment, or every sub-folder and the average."""
    import numpy as np

    if len(args.directory) > 1:
        raise CcliError(f"{len(args.directory)} folders given, of which only --table can read several; give one")
    for option in ("format", "against", "published", "columns", "paired"):
        if getattr(args, option):
            raise CcliError(f"--{option} is for tables; add --table or leave it out")
    directory, keyword = args.directory[0], args.keyword or "accuracy"
    end_signals = TESTED if args.test_log else TRAINED
    if not args.multi_exp:
        summarise(directory, keyword, end_signals, args.ci95)
        return
    experiments = [os.path.join(directory, name) for name in subfolders(directory)]
    if not experiments:
        raise CcliError(
            f"nothing found in {directory}: it has no sub-folders; leave --multi-exp out or give their parent"
        )
    means = [summarise(experiment, keyword, end_signals, args.ci95) for experiment in experiments]
    print("Average performance")
    print(f"* {keyword}: {np.mean(means):.2f}%")


def without_result(directory: str) -> list[str]:
    """One line for each empty folder and each folder of a seed that holds neither a record nor a failure."""
    root = Path(directory)
    runs = {path.parent for name in (RECORD, FAILURE) for path in root.rglob(name)}
    above = {parent for run in runs for parent in run.parents}
    if root not in runs | above:
        return [f"{root} has no {RECORD} in it; finish its runs or leave it out"]
    folders = [path for path in sorted(root.rglob("*")) if path.is_dir() and not {path, *path.parents} & runs]
    bare = [path for path in folders if path.name.startswith("seed") or not any(path.iterdir())]
    return [f"{path} has no {RECORD}; finish its run" for path in bare if path not in above]


def print_table(args: argparse.Namespace) -> None:
    """One table of every readable record below the folders; what is missing or unreadable is named on stderr."""
    for option in ("ci95", "test_log", "multi_exp", "keyword"):
        if getattr(args, option):
            raise CcliError(f"--{option.replace('_', '-')} is for logs, --table reads records; leave one of them out")
    found, problems, bare = {}, {}, {}
    for directory in args.directory:
        records, bad = find_records(directory)
        for path, record in records:  # folders may overlap
            found.setdefault(os.path.realpath(path), (str(path), record))
        problems |= dict.fromkeys(bad)
        bare |= dict.fromkeys(without_result(directory))
    for problem in [*problems, *(bare if found else ())]:
        warn(problem)
    if not found:
        raise CcliError(
            f"nothing found in {', '.join(args.directory)}: no readable result.json below; finish a run first"
        )
    published = read_published(args.published) if args.published else ()
    records = [record for _, record in found.values()]
    try:
        table = build_table(records, args.columns, args.against or "", published)
        tests = paired_tests(records) if args.paired else None
    except Conflict as conflict:
        files = [path for path, record in found.values() if any(record is one for one in conflict.records)]
        raise CcliError(f"{' and '.join(files)}: {conflict}") from conflict
    print(render(table, args.format or "github", tests))


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = build_parser().parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name may hold half a character
    try:
        print_table(args) if args.table else print_means(args)
    except (CcliError, OSError) as error:
        print(f"parse_test_res.py: error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"parse_test_res.py: error: {error.name} is not installed here; use .venv/bin/python", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
