"""Tables of finished runs from their records, and CoOp's way to average over seeds from their logs.

Imports nothing but the standard library, numpy and ccli, so it reads the runs of any machine.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ccli.commands.parser import Parser
from ccli.errors import CcliError
from ccli.results.conflicts import Conflict
from ccli.results.paired import paired_tests
from ccli.results.published import read_published
from ccli.results.records import FAILURE, RECORD, find_records
from ccli.results.table_formats import FORMATS, render
from ccli.results.tables import build_table

Found = list[tuple[Path, dict[str, Any]]]  # records with their paths
OF_LOGS = ("ci95", "test_log", "multi_exp", "keyword")  # options
OF_TABLES = ("format", "against", "published", "columns", "paired")
EXAMPLES = """
examples:
  The mean over seeds, from DIR/seed1/log.txt, DIR/seed2/log.txt, ... (the last value after the end of training):
    PROG output/dtd/CCLI/rn50_16shots{logs}
  Runs that only tested (train.py --eval-only), and another line of the result:
    PROG output/imagenetv2/CCLI/rn50_16shots --test-log --keyword macro_f1{logs}
  Each experiment in a folder (output/dtd/CCLI/{{rn50_1shots,rn50_2shots,...}}/seed*), and their average:
    PROG output/dtd/CCLI --multi-exp{logs}
  One table of every finished run below one or several folders, from result.json and so without rounding:
    PROG output{table}
    PROG output/dtd output/eurosat{table} --format simple
  For a paper (booktabs): data sets as columns, a block of rows for each number of shots, and their average; every
  number in full, one line for each row and column (pandas.read_csv):
    PROG output{table} --columns dataset --format latex > table.tex
    PROG output{table} --format csv > table.csv
  The difference to one trainer beside each column, and rows of published numbers:
    PROG output/dtd{table} --against CCLI --published published.csv
  Is CCLI better than each other trainer? Paired tests over data sets, shots and seeds, and over images:
    PROG output{table} --paired

+- in the log modes is the population standard deviation, as CoOp prints it, or with --ci95 1.96 * std / sqrt(seeds);
± in a table is the sample one (n - 1). A table's last rows have CCLI's difference to the best other trainer.
"""


def parser(prog: str) -> Parser:
    """CoOp's arguments for logs, and those of tables. CoOp's script reads logs by default, `ccli table` records."""
    coop = prog == "parse_test_res.py"
    examples = EXAMPLES.format(table=" --table" if coop else "", logs="" if coop else " --logs")
    parser = Parser(prog, "Means over seeds from the result.json or the log.txt of finished runs.", examples)
    add = parser.add_argument
    add("directory", nargs="+", metavar="DIR", help="folder of runs; several only for tables")
    if coop:
        add("--table", action="store_true", help="a table of every result.json below DIR")
    else:
        add("--logs", dest="table", action="store_false", help="read DIR/seed*/log.txt instead of every result.json")
    add("--ci95", action="store_true", help="of logs: 95%% confidence interval instead of standard deviation")
    add("--test-log", action="store_true", help="of logs: the runs only tested")
    add("--multi-exp", action="store_true", help="of logs: every sub-folder of DIR is an experiment")
    add("--keyword", help="of logs: the line to read: accuracy (default), error, macro_f1")
    add("--against", metavar="TRAINER", help="of the table: differences to this trainer, too")
    add("--published", metavar="CSV", help="of the table: published numbers in marked rows")
    add("--columns", choices=("dataset", "shots"), help="of the table (default: each data set and number of shots)")
    add("--format", choices=FORMATS, help="of the table (default: github)")
    add("--paired", action="store_true", help="of the table: tests of CCLI against each other trainer")
    return parser


def main(argv: list[str], prog: str) -> int:
    parse = parser(prog)
    args = parse.parse_args(argv)
    wrong = next((name for name in (OF_LOGS if args.table else OF_TABLES) if getattr(args, name)), "")
    if wrong:
        parse.error(f"argument --{wrong.replace('_', '-')}: only for {'logs' if args.table else 'tables'}")
    if not args.table and len(args.directory) > 1:
        parse.error(f"{len(args.directory)} folders given, and logs are read in one; give one, or make a table")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    if args.table:
        print_table(args)
    else:
        from ccli.commands.logs import print_means  # imports numpy

        print_means(args.directory[0], args.keyword or "accuracy", args.test_log, args.multi_exp, args.ci95)
    return 0


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


def read_runs(folders: list[str]) -> tuple[Found, list[str], list[str]]:
    """Records with their paths below all folders, each once; problems; folders that hold neither."""
    found, problems, empty = {}, {}, {}
    for folder in folders:
        records, bad = find_records(folder)
        for path, record in records:  # folders may overlap
            found.setdefault(os.path.realpath(path), (path, record))
        problems |= dict.fromkeys(bad)
        empty |= {} if records or bad else {folder: None}
    return list(found.values()), list(problems), list(empty)


def warn(problems: Iterable[str], found: Found, folders: list[str]) -> None:
    """Name problems on stderr. Raises CcliError if the folders hold no readable record."""
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    if not found:
        raise CcliError(f"nothing found in {', '.join(folders)}: no readable result.json below; finish a run first")


def print_table(args: argparse.Namespace) -> None:
    """Print one table of every readable record below the folders."""
    found, problems, _ = read_runs(args.directory)
    unfinished = [line for folder in args.directory for line in without_result(folder)] if found else []
    warn(dict.fromkeys(problems + unfinished), found, args.directory)
    published = read_published(args.published) if args.published else ()
    records = [record for _, record in found]
    try:
        table = build_table(records, args.columns, args.against or "", published)
        tests = paired_tests(records) if args.paired else None
    except Conflict as clash:
        files = [str(path) for path, record in found if any(record is one for one in clash.records)]
        raise CcliError(f"{' and '.join(files)}: {clash}") from clash
    print(render(table, args.format or "github", tests))
