"""Many runs: data sets x trainers x shots x seeds x options, in few processes, resumable.

Prints the plan and its cost, skips finished runs and carries out the others, each as `ccli train` would, in
OUTPUT/DATASET/TRAINER/CFG_SHOTSshots[/VARIANT]/seedK. A failed run leaves its traceback there as failed.txt (unless the
folder holds the result of another run) and does not stop the others. The same command resumes after an interruption and
repeats failed runs.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ccli.commands.parser import Parser, positive
from ccli.errors import CcliError, nearest
from ccli.sweeps.config import flags_and_pairs
from ccli.sweeps.plan import PAPER_SHOTS, TRAINERS, Grid, runs_of

EXAMPLES = """
examples:
  The plan and its cost:
    PROG --datasets concept_shapes --dry-run
  Two methods on a bundle of features and on a data set, 4 shots, in two processes:
    PROG --datasets features/pets.npz dtd --trainers CCLI GDA --shots 4 --jobs 2
  A grid over options (six variants, each in a folder of its own):
    PROG --datasets concept_shapes --trainers CCLI --shots 16 \\
        TRAINER.CCLI.TOP_K 1,3,5 TRAINER.CCLI.SOURCE visual,text
  Domain generalisation: every run is tested on the targets, too:
    PROG --datasets concept_shapes --trainers CCLI --shots 16 --targets concept_shapes_v2 concept_shapes_r
  On a Ray cluster, one task per run (pip install -e ".[ray]"):
    PROG --datasets dtd --ray auto

The plan and the progress go to stderr, the table of the runs to stdout. `ccli table OUTPUT` and `ccli report OUTPUT`
make more tables, and figures.
"""


def parser(prog: str) -> Parser:
    parser = Parser(prog, __doc__, EXAMPLES)
    add = parser.add_argument
    add("--datasets", nargs="+", required=True, help="yaml stems, or paths of feature bundles and folders of pictures")
    add("--trainers", nargs="+", default=list(TRAINERS), help="default: all of them")
    shots = 'training images per class; "all" (default) is 1 2 4 8 16; -1 is the whole training set'
    add("--shots", nargs="+", type=_shots, default=[PAPER_SHOTS], help=shots)
    add("--seeds", nargs="+", type=_seed, default=[1, 2, 3], help="default: 1 2 3")
    add("--cfg", default="", help="stem of the trainers' yaml (default: demo_clip on concept_shapes, else rn50)")
    add("--targets", nargs="+", default=[], metavar="DATASET", help="data sets that every run is tested on, too")
    add("--root", default="data", help="folder of the data sets (default: data)")
    add("--output", default="output", type=Path, help="folder of the runs (default: output)")
    add("--variant", default="", help="name of the folder for runs with KEY VALUE pairs (default: made of them)")
    add("--jobs", type=positive, default=1, help="processes at a time (default: 1)")
    add("--threads", type=positive, help="threads of a run; last bits may depend on them (default: cores / --jobs)")
    add("--ray", metavar="ADDRESS", help="use a Ray cluster: HOST:PORT, ray://HOST:PORT, auto, or local")
    add("--gpus", type=float, help="with --ray: GPUs per run, may be a fraction (default: 1 if the cluster has any)")
    add("--deterministic", action="store_true", help="give the same bits each time on a GPU, too (slower)")
    add("--against", default="", metavar="TRAINER", help="differences to this trainer in the table")
    add("--dry-run", action="store_true", help="only print the plan")
    add("opts", nargs="*", metavar="KEY VALUE", help="options; several values, separated by commas, make a grid")
    return parser


def _shots(word: str) -> tuple[int, ...]:
    try:
        return PAPER_SHOTS if word == "all" else (int(word),)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be integers or all, got {word!r}") from None


def _seed(word: str) -> int:
    if not word.isdecimal():
        raise argparse.ArgumentTypeError(f"must be integers >= 0, got {word!r}; an unseeded run cannot be repeated")
    return int(word)


def arguments(argv: Sequence[str], prog: str = "ccli sweep") -> argparse.Namespace:
    """Parse a sweep's command line. KEY VALUE pairs are split off first: --seeds 1 2 would take them for seeds."""
    parse = parser(prog)
    flags, pairs = flags_and_pairs(argv, parse)
    args = parse.parse_args(flags)
    args.opts += pairs
    args.shots = [number for several in args.shots for number in several]
    return args


def main(argv: list[str], prog: str) -> int:
    args = arguments(argv, prog)
    grid = Grid(
        args.datasets, args.trainers, args.shots, args.seeds, args.cfg, args.root, args.output, args.targets,
        args.opts, args.variant, args.deterministic,
    )  # fmt: skip
    if args.against and args.against not in args.trainers:
        raise CcliError(
            f"--against {args.against}: the table has rows of {', '.join(args.trainers)} alone; give one of them."
            f"{nearest(args.against, args.trainers)}"
        )
    _refuse_unusable(args.output)
    from ccli.sweeps.encoding import missing_images  # imports torch, which --help must not
    from ccli.sweeps.overview import Plan, carry_out, print_end, print_plan, print_table

    plan = Plan(runs_of(grid))
    missing, problems = missing_images(plan.to_do)
    plan.refuse(problems)
    print_plan(plan, missing, sys.stdout if args.dry_run else sys.stderr)
    if args.dry_run:
        return 0
    outcomes = carry_out(plan.to_do, missing, args.jobs, args.threads, args.ray, args.gpus) if plan.to_do else []
    print_end(plan, outcomes)
    print_table(plan, outcomes, args.against)
    return 1 if plan.refused or any(outcome.error for outcome in outcomes) else 0


def _refuse_unusable(output: Path) -> None:
    """Raise CcliError if no run could write to the output folder."""
    there = next(path for path in (output.absolute(), *output.absolute().parents) if os.path.lexists(path))
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        why = "cannot be written to" if there.is_dir() else "is not a folder"
        raise CcliError(f"--output {output}: {there} {why}; choose another")
