"""The concepts that speak for and against a picture's label, or that mark a class (runs of CCLI).

The terms of each label add up to its logit. Each concept is listed with the training pictures behind it.
"""

import json
from dataclasses import asdict
from typing import Any

from ccli.commands.answers import reasons_text, write_all
from ccli.commands.edit import add_without, load_without
from ccli.commands.parser import Parser, positive

EXAMPLES = """
examples:
  Why these labels:
    PROG --model-dir output/try a.jpg b.jpg
  What marks a class (without --against), or separates it from another:
    PROG --model-dir output/try --class "striped star" --against "blue cross"
  The reasons that are left without a concept (a run with a sparse network; `ccli edit` takes it out for good):
    PROG --model-dir output/try a.jpg --without "brick wall"
"""


def main(argv: list[str], prog: str) -> int:
    parser = Parser(prog, __doc__, EXAMPLES)
    parser.set_defaults(csv=False, reject=0.0, explain=True)
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE", help="pictures, and folders of pictures")
    add("--model-dir", required=True, metavar="RUN", help="the output folder of a finished run")
    add("--class", dest="name", metavar="CLASS", help="instead of pictures: what marks this class")
    add("--against", metavar="CLASS", help="with --class: what separates it from this one")
    add("--top", type=positive, default=1, metavar="K", help="labels that are listed of each picture (default: 1)")
    add("--json", action="store_true", help="one JSON object per line")
    add_without(parser)
    add("--backbone", default="", help="where the run's backbone is now, if it has moved")
    args = parser.parse_args(argv)
    if bool(args.images) == bool(args.name):
        parser.error("give either IMAGE or --class")
    if args.against and not args.name:
        parser.error("argument --against: needs --class")
    run = load_without(args)
    return explain_class(run, args.name, args.against or "", args.json) if args.name else write_all(run, args)


def explain_class(run: Any, name: str, against: str, as_json: bool) -> int:
    """Print what marks a class, or what separates it from another; returns the exit status."""
    why = asdict(run.explain_class(name, against))
    print(json.dumps(why) if as_json else "\n".join(reasons_text(why)))
    return 0
