"""Many runs in one go: data sets x trainers x shots x seeds x options, in few processes, resumable.

    python sweep.py --datasets concept_shapes --trainers CCLI TipAdapterF --shots 1 4 16 --seeds 1 2 3

prints the plan and its cost, skips what is done and carries out the rest, each run as train.py would, in
OUTPUT/DATASET/TRAINER/CFG_SHOTSshots[/VARIANT]/seedK. A failed run leaves its traceback there as failed.txt (unless the
folder holds the result of another run, which stays as it is) and does not stop the others; the same command goes on
after an interruption and tries failed runs again.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ccli.errors import CcliError, nearest
from ccli.results.records import read_record
from ccli.sweeps import workers
from ccli.sweeps.execute import Outcome, train_script
from ccli.sweeps.overview import Plan, print_end, print_plan, print_table
from ccli.sweeps.plan import PAPER_SHOTS, TRAINERS, Grid, Run, runs_of

if TYPE_CHECKING:
    from ccli.sweeps.encoding import Missing

OPTION = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)+|PROTOCOL|USE_CUDA|VERBOSE|SEED|OUTPUT_DIR|CFG_NAME")  # a KEY
EXAMPLES = """
examples:
  What would be run, and what it would cost:
    python sweep.py --datasets concept_shapes --dry-run
  Two methods on a bundle of features and on a data set, 4 shots, in two processes:
    python sweep.py --datasets features/pets.npz dtd --trainers CCLI GDA --shots 4 --jobs 2
  A grid over options (six variants, each in a folder of its own):
    python sweep.py --datasets concept_shapes --trainers CCLI --shots 16 \\
        TRAINER.CCLI.TOP_K 1,3,5 TRAINER.CCLI.SOURCE visual,text
  Domain generalisation: every run is tested on the targets, too:
    python sweep.py --datasets concept_shapes --trainers CCLI --shots 16 --targets concept_shapes_v2 concept_shapes_r
  On a Ray cluster, one task a run (pip install -e ".[ray]"):
    python sweep.py --datasets dtd --ray auto
The plan and how far it is go to stderr, the table of the runs at the end to stdout. More tables and figures:
python parse_test_res.py --table OUTPUT, python report.py OUTPUT.
"""


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="sweep.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--datasets",
        nargs="+",
        required=True,
        help="yaml stems in configs/datasets, or paths of feature bundles and of folders of pictures",
    )
    add("--trainers", nargs="+", default=list(TRAINERS), help="default: all of them")
    add(
        "--shots",
        nargs="+",
        default=["all"],
        help='training images a class; "all" (default) is 1 2 4 8 16; -1 is all there are',
    )
    add("--seeds", nargs="+", type=int, default=[1, 2, 3], help="default: 1 2 3")
    add(
        "--cfg",
        default="",
        help="stem of a yaml that every trainer has (default: demo_clip on concept_shapes, else rn50)",
    )
    add("--targets", nargs="+", default=[], metavar="DATASET", help="data sets that every run is tested on, too")
    add("--root", default="data", help="folder of the data sets (default: data)")
    add("--output", default="output", type=Path, help="where runs go (default: output)")
    add("--variant", default="", help="name of the folder for runs with KEY VALUE pairs (default: made of them)")
    add("--jobs", type=int, default=1, help="processes at a time (default: 1)")
    add(
        "--threads",
        type=int,
        help="threads of a run (default: all cores divided by --jobs); they may change its last bits",
    )
    add(
        "--ray",
        metavar="ADDRESS",
        help="carry out the runs on a Ray cluster: HOST:PORT, ray://HOST:PORT, auto, or local",
    )
    add("--gpus", type=float, help="with --ray: GPUs a run takes, fractions too (default: 1 where the cluster has any)")
    add(
        "--deterministic", action="store_true", help="as in train.py: the same bits from the same command on a GPU, too"
    )
    add("--against", default="", metavar="TRAINER", help="differences to this trainer in the table at the end")
    add("--dry-run", action="store_true", help="only print the plan")
    add("opts", nargs="*", metavar="KEY VALUE", help="options; several values, separated by commas, make a grid")
    words = list(sys.argv[1:] if argv is None else argv)
    first = next((k for k, word in enumerate(words) if OPTION.fullmatch(word) and not _of_a_flag(words, k)), len(words))
    args = parser.parse_args(words[:first])  # apart, because --seeds 1 2 and its like would take the pairs for theirs
    args.opts += words[first:]
    args.shots = _shots(parser, args.shots)
    if args.jobs < 1 or (args.threads is not None and args.threads < 1):
        parser.error("--jobs and --threads are 1 or more")
    if min(args.seeds) < 0:
        parser.error("--seeds are 0 or more: an unseeded run can be neither resumed nor repeated")
    return args


def _of_a_flag(words: Sequence[str], k: int) -> bool:
    """Whether a word is the value of the flag before it, such as a folder that is called RUNS.V2."""
    before = words[k - 1] if k else ""
    return before.startswith("--") and "=" not in before and not "--dry-run".startswith(before)


def _shots(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[int]:
    shots: list[int] = []
    for word in words:
        try:
            shots += PAPER_SHOTS if word == "all" else [int(word)]
        except ValueError:
            parser.error(f"--shots are whole numbers or all, not {word!r}")
    return shots


def main() -> int:
    args = arguments()
    try:
        train_script().share_cores()
        return sweep(args)
    except CcliError as error:
        print(f"sweep.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130


def sweep(args: argparse.Namespace) -> int:
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
    from ccli.sweeps.encoding import missing_images  # and with it torch, which --help does without

    plan = Plan(runs_of(grid))
    missing, problems = missing_images(plan.to_do)
    print_plan(plan, missing, problems, sys.stdout if args.dry_run else sys.stderr)
    if args.dry_run:
        return 0
    outcomes = plan.refused + (carry_out(plan.to_do, missing, args) if plan.to_do else [])
    print_end(plan, outcomes)
    print_table(plan, outcomes, args.against)
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _refuse_unusable(output: Path) -> None:
    """Where no run could write to it: every one of them would fail."""
    there = next(path for path in (output.absolute(), *output.absolute().parents) if os.path.lexists(path))
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        why = "cannot be written to" if there.is_dir() else "is no folder"
        raise CcliError(f"--output {output}: {there} {why}; choose another")


def carry_out(runs: Sequence[Run], missing: Sequence[Missing], args: argparse.Namespace) -> list[Outcome]:
    """Every run's outcomes, under a progress bar."""
    outcomes: list[Outcome] = []
    with tqdm(total=len(runs), unit="run", disable=None) as bar:
        for ended in _stream(runs, missing, args):
            outcomes += ended
            for outcome in ended:
                bar.write(f"{outcome.name}: {outcome.error or _accuracy(outcome)}", file=sys.stderr)
            bar.update()
    return outcomes


def _stream(runs: Sequence[Run], missing: Sequence[Missing], args: argparse.Namespace) -> Iterator[list[Outcome]]:
    if args.ray:
        from ccli.sweeps import cluster

        return cluster.run_all(runs, missing, args.ray, args.threads or 1, args.gpus, _foreign(runs))
    if args.threads or args.jobs > 1:
        os.environ["OMP_NUM_THREADS"] = str(args.threads or max(1, (os.cpu_count() or 1) // args.jobs))
    return workers.run_all(runs, args.jobs, apart=_foreign(runs))


def _accuracy(outcome: Outcome) -> str:
    return f"{read_record(outcome.folder)['accuracy']:.2f} % ({outcome.seconds:.2f} s)"


def _foreign(runs: Sequence[Run]) -> set[str]:
    """Trainers that are none of the feature-space ones."""
    from dassl.engine import TRAINER_REGISTRY

    from ccli.trainers.common.base import FeatureTrainer

    return {run.trainer for run in runs if not issubclass(TRAINER_REGISTRY.get(run.trainer), FeatureTrainer)}


if __name__ == "__main__":
    sys.exit(main())
