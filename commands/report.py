"""One page on finished runs, for a browser without a network, and the same figures for a paper.

With --concepts, a page on the concepts of one run of CCLI instead.
"""

import argparse
from pathlib import Path

from ccli.commands.parser import Parser
from ccli.commands.table import Found, read_runs, warn
from ccli.errors import CcliError
from ccli.files.atomic import write_whole
from ccli.results.aggregate import Task, collect, rows_of
from ccli.results.methods import method_order
from ccli.results.published import read_published

EXAMPLES = """
examples:
  Everything below a folder of runs, in report.html:
    PROG output
  Two folders in one page, with the difference to one trainer in each cell and rows of published numbers:
    PROG output/dtd output/eurosat --to few_shot.html --against CCLI --published published.csv
  The figures alone, each as PDF and PNG (curves_<data set>, curves_average, time):
    PROG output --figures figures
  The concepts of one run of CCLI with the images behind them, its classes, and test images explained:
    PROG --concepts output/dtd/CCLI/vit_b16_16shots/seed1 --to concepts.html

The page holds the tables, paired tests, curves with error bars, time, per-class accuracy and confusion of any run you
choose, chosen hyper-parameters and versions. Runs that failed or cannot be read are named here and in the page, and
the rest goes on. The same records give the same page, byte for byte.
"""


def parser(prog: str) -> Parser:
    parser = Parser(prog, __doc__, EXAMPLES)
    add = parser.add_argument
    add("output", nargs="*", metavar="OUTPUT", help="folder of runs (result.json at any depth)")
    add("--concepts", metavar="RUN", help="instead of OUTPUT: a run of CCLI whose concepts to show")
    add("--to", metavar="HTML", help="the page (default: report.html, or concepts.html; none with --figures alone)")
    add("--figures", metavar="DIR", help="a folder for the figures as PDF and PNG")
    add("--against", metavar="TRAINER", help="differences to this trainer, too")
    published = "published numbers in marked rows (columns dataset, trainer, backbone, shots, accuracy)"
    add("--published", metavar="CSV", help=published)
    return parser


def one_a_place(found: Found) -> tuple[Found, list[str]]:
    """(records, problems): of records that claim one seed of one cell the first, and none where they differ.

    Of a cell whose seeds are of different experiments (other options, other test images) none are kept.
    """
    seeds: dict[tuple, Found] = {}
    for row, (path, record) in zip(rows_of([record for _, record in found]), found):
        place = row, Task(record["dataset"], record["shots"]), record["seed"]
        seeds.setdefault(place, []).append((path, record))
    problems, cells = [], {}
    for (row, task, _), claims in seeds.items():
        if not _clash(claims, problems):
            cells.setdefault((row, task), []).append(claims[0])
    return [one for cell in cells.values() if not _clash(cell, problems) for one in cell], problems


def _clash(claims: Found, problems: list[str]) -> bool:
    """Whether records of one cell do not go together, which is then told in `problems`."""
    try:
        collect([record for _, record in claims])
    except CcliError as error:
        problems.append(f"left out {', '.join(str(path.parent) for path, _ in claims)}: {error}")
        return True
    return False


def report(args: argparse.Namespace) -> None:
    """Read, draw and write; a line on stdout for each thing written, one on stderr for each problem."""
    from ccli.results.plots import plots, save

    found, problems, empty = read_runs(args.output)
    found, clashes = one_a_place(found)
    remedy = "finish one, or leave the folder out"
    problems += [f"{folder} holds no finished run (no result.json below); {remedy}" for folder in empty] + clashes
    warn(problems, found, args.output)
    found.sort(key=lambda f: (*method_order(f[1]["trainer"]), f[1]["protocol"] == "paper"))  # as papers list methods
    published = read_published(args.published) if args.published else ()
    figures = plots([record for _, record in found])
    if args.to or not args.figures:
        from ccli.pages.report import render_page

        target = Path(args.to or "report.html")
        page = render_page(found, figures, problems, args.against or "", published)
        write_whole(target, page.encode(errors="replace"))  # names of files need not be text
        print(f"{target}: a page on {len(found)} run{'' if len(found) == 1 else 's'}")
    if args.figures:
        paths = save(figures, args.figures)
        print(f"{args.figures}: {', '.join(path.name for path in paths)}")


def report_concepts(args: argparse.Namespace) -> None:
    """The page about one run, and a line on stdout."""
    from ccli.pages.concepts import render_concepts
    from ccli.pages.concepts.contents import contents

    target = Path(args.to or "concepts.html")
    data = contents(args.concepts)
    write_whole(target, render_concepts(data).encode(errors="replace"))
    counts = f"{len(data['concepts'])} concepts, {len(data['classes'])} classes and {len(data['examples'])} test images"
    print(f"{target}: a page on {counts}")


def main(argv: list[str], prog: str) -> int:
    parse = parser(prog)
    args = parse.parse_args(argv)
    if args.concepts is None and not args.output:
        parse.error("the following arguments are required: OUTPUT (or --concepts RUN)")
    for name in ("output", "figures", "against", "published"):
        if args.concepts is not None and getattr(args, name):
            parse.error(f"argument --concepts: not allowed with {'OUTPUT' if name == 'output' else f'--{name}'}")
    report(args) if args.concepts is None else report_concepts(args)
    return 0
