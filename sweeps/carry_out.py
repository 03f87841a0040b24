"""Carrying out the runs of a sweep, in local processes or on a Ray cluster, with a progress bar."""

import os
import sys
from collections.abc import Iterator, Sequence

from dassl.engine import TRAINER_REGISTRY
from tqdm import tqdm

from ccli.results.records import read_record
from ccli.sweeps import workers
from ccli.sweeps.encoding import Missing
from ccli.sweeps.execute import Outcome
from ccli.sweeps.plan import Run
from ccli.trainers.common.base import FeatureTrainer


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
    outcomes: list[Outcome] = []
    with tqdm(total=len(runs), unit="run", disable=None) as bar:
        for ended in _outcomes(runs, missing, jobs, threads, ray, gpus):
            outcomes += ended
            for outcome in ended:
                bar.write(f"{outcome.name}: {outcome.error or _accuracy(outcome)}", file=sys.stderr)
            bar.update()
    return outcomes


def _outcomes(runs, missing, jobs: int, threads: int | None, ray: str | None, gpus) -> Iterator[list[Outcome]]:
    foreign = {run.trainer for run in runs if not issubclass(TRAINER_REGISTRY.get(run.trainer), FeatureTrainer)}
    if ray:
        from ccli.sweeps import cluster

        return cluster.run_all(runs, missing, ray, threads or 1, gpus, foreign)
    if threads or jobs > 1:
        os.environ["OMP_NUM_THREADS"] = str(threads or max(1, (os.cpu_count() or 1) // jobs))
    return workers.run_all(runs, jobs, apart=foreign)


def _accuracy(outcome: Outcome) -> str:
    return f"{read_record(outcome.folder)['accuracy']:.2f} % ({outcome.seconds:.2f} s)"
