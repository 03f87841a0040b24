"""Labels for new pictures, with probabilities, by a finished run.

Needs only the run's folder. Pictures are read one after another, in any number. Those that cannot be read are named on
stderr; the others go on, and the exit status is 1.
"""

import argparse

from ccli.commands.answers import write_all
from ccli.commands.edit import add_without, load_without
from ccli.commands.explain import explain_class
from ccli.commands.export import write_onnx
from ccli.commands.parser import Parser, positive

EXAMPLES = """
examples:
  Every picture below a folder, the most likely label of each:
    PROG --model-dir output/try holiday/
  The three most likely labels with their probabilities, as a table for other programs:
    PROG --model-dir output/try a.jpg b.png --top 3 --csv > labels.csv
  No label if the most likely has a probability below 0.8:
    PROG --model-dir output/try holiday/ --reject 0.8
  What the labels are without two concepts that should not decide (a run with a sparse network):
    PROG --model-dir output/try holiday/ --without "brick wall" --without snowy

Folders are searched for pictures in all usual formats, at any depth, without links to folders and hidden ones.
Pictures that the run is known to have learned from (runs of CCLI) are marked "training" in --json and --csv.
With --json each line is an object, with --csv a row; these keep names as they are, and the plain form escapes them.
`ccli explain --help` and `ccli export --help` say more on reasons, classes and ONNX, `ccli edit --help` on --without.
"""


def parser(prog: str) -> Parser:
    """predict.py also has the options of `ccli explain` and `ccli export`."""
    parser = Parser(prog, __doc__, EXAMPLES)
    add = parser.add_argument
    parser.set_defaults(explain=False, name=None, against=None, export=None)
    add("images", nargs="*" if prog == "predict.py" else "+", metavar="IMAGE", help="pictures, and folders of pictures")
    add("--model-dir", required=True, metavar="RUN", help="the output folder of a finished run")
    add("--top", type=positive, default=1, metavar="K", help="labels of each picture (default: 1)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object per line")
    form.add_argument("--csv", action="store_true", help="comma-separated values with a header")
    add("--reject", type=_probability, default=0.0, metavar="P", help="no label below this probability")
    add_without(parser)
    add("--backbone", default="", help="where the run's backbone is now, if it has moved")
    if prog == "predict.py":
        add("--explain", action="store_true", help="the reasons for each label (not with --csv)")
        add("--class", dest="name", metavar="CLASS", help="instead of pictures: what marks this class")
        add("--against", metavar="CLASS", help="with --class: what separates it from this one")
        add("--export", metavar="ONNX", help="instead of pictures: write the classifier as ONNX")
    return parser


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a probability between 0 and 1, got {text!r}")
    return value


def main(argv: list[str], prog: str) -> int:
    parse = parser(prog)
    args = parse.parse_args(argv)
    given = {"IMAGE": args.images, "--class": args.name, "--export": args.export}
    tasks = [name for name in given if given[name]]
    if len(tasks) != 1:
        parse.error(f"give one of IMAGE, --class and --export{', not ' + ' and '.join(tasks) if tasks else ''}")
    if args.against and not args.name:
        parse.error("argument --against: needs --class")
    if args.explain and args.csv:
        parse.error("argument --explain: not allowed with --csv; use --json")
    run = load_without(args)
    if args.export:
        return write_onnx(run, args.export)
    if args.name:
        return explain_class(run, args.name, args.against or "", args.json)
    return write_all(run, args)
