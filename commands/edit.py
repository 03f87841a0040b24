"""Take concepts out of a trained classifier, such as a background that should not decide.

RUN is a finished run of CCLI with a sparse network (configs/trainers/CCLI/BACKBONE.yaml), or the folder of an earlier
edit. NEW gets the classifier without the concepts. Its other weights are fitted anew on the run's training images where
these are still in their places, else they stay as they are. The run itself is not changed.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from ccli.commands.answers import load
from ccli.commands.parser import Parser
from ccli.errors import CcliError, os_errors
from ccli.features.decoding import shown
from ccli.files.regular import refuse_special

EXAMPLES = """
examples:
  See which concepts decide, for one picture and for a class:
    ccli explain --model-dir output/try a.jpg
    ccli explain --model-dir output/try --class "snow leopard"
  Try the answers without two of them, before anything is written:
    ccli predict --model-dir output/try --without "brick wall" --without snowy holiday/
  Take them out, and use what is left:
    PROG output/try --drop "brick wall" --drop snowy --to output/edited
    ccli predict --model-dir output/edited holiday/

A concept is called by its name as `ccli explain` prints it, or by the name of another concept that was merged into it.
All concepts of that name are dropped, in all classes. Probabilities keep the calibration of the run.
"""
CLASSES = 12  # that are listed for a concept


def main(argv: list[str], prog: str) -> int:
    parser = Parser(prog, __doc__, EXAMPLES)
    add = parser.add_argument
    add("model_dir", metavar="RUN", help="the output folder of a finished run, or of an edit")
    add("--drop", action="append", default=[], metavar="CONCEPT", help="a concept to take out; may be repeated")
    add("--drop-file", metavar="FILE", help="concepts to take out, one name per line")
    add("--to", required=True, metavar="NEW", help="the folder to write; made if absent")
    add("--no-refit", action="store_true", help="keep the other weights as they are")
    add("--backbone", default="", help="where the run's backbone is now, if it has moved")
    args = parser.parse_args(argv)
    if not args.drop and not args.drop_file:
        parser.error("the following arguments are required: --drop or --drop-file")
    from ccli.inference.saving import save

    run, names = load(args), names_of(args.drop, args.drop_file)
    there = _edit_in(args.to, run, names)
    edited, said = edit(run, names, not args.no_refit)
    if there is not None and there.edited["refitted"] and not edited.edited["refitted"]:
        raise CcliError(f"{shown(args.to)} holds this edit with refitted weights, and now {said}; give another folder")
    save(edited, args.to)
    print("\n".join([*_counted(run, names), said, shown(args.to)]))
    return 0


def add_without(parser: Parser) -> None:
    """The options of commands that answer without some concepts; see `load_without`."""
    add = parser.add_argument
    what = "answer without this concept, as `ccli edit` would leave the run; may be repeated"
    add("--without", action="append", default=[], metavar="CONCEPT", help=what)
    add("--without-file", metavar="FILE", help="concepts to answer without, one name per line")


def load_without(args: argparse.Namespace) -> Any:
    """The classifier in --model-dir without the concepts that `add_without`'s options name."""
    run = load(args)
    if not args.without and not args.without_file:
        return run
    names = names_of(args.without, args.without_file)
    edited, said = edit(run, names, True)
    print(f"without {', '.join(map(shown, names))}: {said}", file=sys.stderr)
    return edited


def names_of(given: list[str], file: str | None) -> list[str]:
    """The names given, and those in a file: UTF-8, one per line, without blank lines and lines that start with #."""
    if not file:
        return given
    refuse_special(file)
    with os_errors(f"cannot read {shown(file)}", "give a text file with one concept per line"):
        content = Path(file).read_bytes()
    try:
        lines = map(str.strip, content.decode("utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise CcliError(f"{shown(file)} is not UTF-8 text; save it as UTF-8") from error
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise CcliError(f"{shown(file)} names no concept; write one per line")
    return [*given, *found]


def edit(run: Any, names: list[str], refit: bool) -> tuple[Any, str]:
    """The classifier without the concepts, and a line on whether its other weights were fitted anew."""
    from ccli.inference.editing import concepts_of, stored_shots, without

    concepts_of(run, names)  # refuses unknown names before any picture is encoded
    shots, why = stored_shots(run) if refit else (None, "--no-refit was given")
    edited = without(run, names, shots, refit=shots is not None)
    if shots is None:
        return edited, f"the other weights stay as they were: {why}"
    return edited, f"the other weights were refitted on {len(shots)} training images"


def _counted(run: Any, names: list[str]) -> list[str]:
    """A line for each name: the concepts that it means, and the classes that they counted for."""
    from ccli.errors import listed
    from ccli.inference.editing import class_weights, concepts_of

    lines = []
    for name, rows in concepts_of(run, names).items():
        own = sorted({run.concepts.names[row] for row in rows} - {name})
        weights = [f"{shown(label)} {weight:+.3f}" for label, weight in class_weights(run, rows).items()]
        also = f" ({', '.join(map(shown, own))})" if own else ""
        lines.append(f"dropped {shown(name)}{also}, which counted for {listed(weights, CLASSES) or 'no class'}")
    return lines


def _edit_in(folder: str, run: Any, names: list[str]) -> Any | None:
    """The same edit, where the folder holds it already; None where it holds none. Another classifier is refused."""
    from ccli.inference.editing import without
    from ccli.inference.saving import FACTS, load_run

    if not (Path(folder) / FACTS).exists():
        return None
    old, new = load_run(folder), without(run, names, refit=False)
    dropped = old.edited and old.edited["dropped"]
    if (dropped, old.classnames) != (new.edited["dropped"], new.classnames) or old.concepts.names != new.concepts.names:
        raise CcliError(f"{shown(folder)} holds another classifier; give another folder, or delete that one")
    return old
