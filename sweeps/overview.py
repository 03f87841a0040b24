"""A sweep: finished runs, runs to do and their cost; carrying them out; results and failures."""

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from dassl.engine import TRAINER_REGISTRY
from tqdm import tqdm

from ccli.errors import CcliError, warn
from ccli.results.identity import State, folder_state
from ccli.results.records import FAILURE, read_record
from ccli.results.table_formats import render
from ccli.results.tables import build_table
from ccli.sweeps import cluster, workers
from ccli.sweeps.encoding import Missing
from ccli.sweeps.execute import Outcome, holds_its_record
from ccli.sweeps.plan import Run, claimed_twice
from ccli.trainers.common.base import FeatureTrainer


class Plan:
    """The runs of a sweep: done, to do, and refused."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = list(runs)
        self.done: list[Run] = []
        self.to_do: list[Run] = []
        self.refused: list[Outcome] = []
        self.unfinished = 0
        claimed = claimed_twice(runs)
        for run in tqdm(self.runs, desc="Looking for finished runs", leave=False, disable=len(runs) < 100 or None):
            double = next((call.folder for call in run.calls() if call.folder in claimed), None)
            if double:
                others = " and ".join(call.source() for call in claimed[double])
                count = "two" if len(claimed[double]) == 2 else len(claimed[double])
                why = f"{count} runs claim this folder: those of {others}; rename a bundle"
                self.refused.append(Outcome(run.name, double, why))
            elif all(holds_its_record(call) for call in run.calls()):
                self.done.append(run)
            else:
                self.to_do.append(run)
                self.unfinished += folder_state(run.folder).state is State.UNFINISHED

    def refuse(self, problems: dict[Path, str]) -> None:
        """Take out runs, and evaluations of runs, that cannot be made. `problems`: their output folders -> why."""
        to_do = []
        for run in self.to_do:
            bad = [call for call in run.calls() if call.folder in problems and not holds_its_record(call)]
            if run.folder in (call.folder for call in bad):
                bad = bad[:1]  # its evaluations go with it
            else:
                to_do.append(run._replace(tests=tuple(test for test in run.tests if test not in bad)))
            self.refused += [Outcome(call.name, call.folder, problems[call.folder]) for call in bad]
        self.to_do = to_do


def print_plan(plan: Plan, missing: Sequence[Missing], file: TextIO) -> None:
    """Print how many runs there are, how long they may take and the images to encode; on stdout every folder, too."""
    import tabulate

    heads = ["trainer", "runs", "done", "to do", "time"]
    print(tabulate.tabulate(_lines(plan), heads, disable_numparse=True), file=file)
    _print_refused(plan, file)
    for item in missing:
        views = f"{item.views[0]} views each of " if item.views else ""
        print(f"to be encoded first: {views}{len(item.paths):,} images ({item.run.dataset}, {item.run.cfg})", file=file)
    if plan.unfinished:
        print(f"{plan.unfinished} unfinished runs are resumed", file=file)
    if file is sys.stdout:
        for call in (call for run in plan.to_do for call in run.calls()):
            print(call.folder)


def _print_refused(plan: Plan, file: TextIO) -> None:
    for why, count in Counter(outcome.error for outcome in plan.refused).items():
        print(f"{count} run{'s' if count > 1 else ''} cannot be made: {why}", file=file)


def _lines(plan: Plan) -> list[list]:
    """A line per trainer; its time is estimated from finished runs, without encoding."""
    known, done = known_seconds(plan.done), set(plan.done)
    counted: dict[str, Counter] = defaultdict(Counter)
    for run in plan.runs:
        counted[run.trainer].update({"runs": 1, "done": int(run in done)})
    for run in plan.to_do:
        seconds = known.get((run.trainer, run.dataset, run.shots)) or known.get((run.trainer,))
        counted[run.trainer].update({"to do": 1, "unknown": seconds is None, "seconds": seconds or 0})
    return [
        [name, of["runs"], of["done"], of["to do"], "not known yet" if of["unknown"] else _time(of["seconds"])]
        for name, of in counted.items()
    ]


def known_seconds(done: Sequence[Run]) -> dict[tuple, float]:
    """Mean seconds of finished runs, without encoding, by (trainer, data set, shots) and by (trainer,)."""
    found: dict[tuple, list[float]] = defaultdict(list)
    for run in done:
        spent = sum(value for phase, value in read_record(run.folder)["seconds"].items() if phase != "encode")
        found[run.trainer, run.dataset, run.shots].append(spent)
        found[run.trainer,].append(spent)
    return {key: sum(values) / len(values) for key, values in found.items()}


def _time(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60} s" if seconds else ""


def carry_out(
    runs: Sequence[Run], missing: Sequence[Missing], jobs: int, threads: int | None, ray: str | None,
    gpus: float | None,
) -> list[Outcome]:  # fmt: skip
    """Carry out runs, each named on stderr with its result as it ends.

    Args:
        missing: images to encode first, on a cluster.
        jobs: local processes at a time.
        threads: of each run; None divides the cores among the jobs (1 on a cluster).
        ray: address of a Ray cluster; None uses local processes.
        gpus: of each run on the cluster; None is 1 if the cluster has any.
    """
    foreign = {run.trainer for run in runs if not issubclass(TRAINER_REGISTRY.get(run.trainer), FeatureTrainer)}
    if ray:
        all_ended = cluster.run_all(runs, missing, ray, threads or 1, gpus, foreign)
    else:
        if threads or jobs > 1:
            os.environ["OMP_NUM_THREADS"] = str(threads or max(1, (os.cpu_count() or 1) // jobs))
        all_ended = workers.run_all(runs, jobs, foreign)
    outcomes: list[Outcome] = []
    with tqdm(total=len(runs), unit="run", disable=None) as bar:
        for ended in all_ended:
            outcomes += ended
            for one in ended:
                record = {} if one.error else read_record(one.folder)
                how = one.error or f"{record['accuracy']:.2f} % ({one.seconds:.2f} s)"
                for text in record.get("warnings", ()):
                    warn(text)
                bar.write(f"{one.name}: {how}", file=sys.stderr)
            bar.update()
    return outcomes


def print_end(plan: Plan, outcomes: Sequence[Outcome]) -> None:
    """Print how the sweep ended: its failures by their folders, and again the runs that could not be made.

    Args:
        outcomes: of the runs that were attempted.
    """
    failed = [outcome for outcome in outcomes if outcome.error]
    now, in_vain = len(outcomes) - len(failed), len(failed) + len(plan.refused)
    print(f"{len(plan.done)} done before, {now} done now, {in_vain} failed", file=sys.stderr)
    _print_refused(plan, sys.stderr)
    for outcome in failed:
        where = f"; the traceback is in {FAILURE} there" if outcome.traced else ""
        print(f"{outcome.folder}: {outcome.error}{where}", file=sys.stderr)


def print_table(plan: Plan, outcomes: Sequence[Outcome], against: str) -> None:
    """Print the results of this plan's runs, in its order; not those of other runs in the folders of refused ones."""
    stand_for = {call.folder for run in plan.done for call in run.calls()}
    stand_for |= {outcome.folder for outcome in outcomes if not outcome.error}
    folders = [call.folder for run in plan.runs for call in run.calls()]
    records = [read_record(folder) for folder in folders if folder in stand_for]
    if not records:
        return
    several = all(len({record[field] for record in records}) > 1 for field in ("dataset", "shots"))
    columns = "dataset" if several else None
    try:
        table = build_table(records, columns, against)
    except CcliError as error:
        table = build_table(records, columns)  # raises by itself, unless only the difference was wrong
        print(f"warning: {error}; the table is without differences", file=sys.stderr)
    print(render(table))
