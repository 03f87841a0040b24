"""A sweep on a Ray cluster: one task a run, placed by what it needs, tried again when its node dies.

The nodes see the checkout, its environment, the data, the feature store and the output folder under the same paths, as
they do on a shared file system.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from ccli.errors import CcliError, first_line
from ccli.runs import RECORD

from .encoding import Missing, encode
from .execute import Outcome, execute, keep_failure
from .plan import Run

RETRIES = 5  # of a task whose node or process died; what a run itself raises is its outcome
SHARE = 512  # images that one encoding task is given, at least


def run_all(
    runs: Sequence[Run], missing: Sequence[Missing], address: str, threads: int, gpus: float | None
) -> Iterator[list[Outcome]]:
    """Encode what is missing, by ranges of images, then carry out the runs; each run's outcomes as it ends.

    Args:
        address: of the cluster (host:port, ray://..., auto), or local: one on this machine, for this sweep alone.
        threads: CPUs that a run takes.
        gpus: GPUs that it takes; None is 1 where the cluster has any.

    Raises:
        CcliError: Ray is not installed, or nothing answers at the address.
    """
    ray = connect(address, threads)
    if gpus is None:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
    remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES)
    try:
        _encode_all(ray, remote(encode), missing)
        yield from _run_all(ray, remote(execute), runs)
    finally:
        ray.shutdown()


def connect(address: str, threads: int):
    """The module ray, connected."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    try:
        import ray
    except ModuleNotFoundError as error:
        raise CcliError('Ray is not installed here: pip install -e ".[ray]"') from error
    _refuse_unreachable(address)
    root = str(Path(__file__).parent.parent)
    environment = {"env_vars": {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "1000", "PYTHONPATH": root}}
    try:
        ray.init(address, runtime_env=environment, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise CcliError(
            f"no Ray cluster at {address}: {first_line(error)}; start one with `ray start --head`"
        ) from error
    return ray


def _refuse_unreachable(address: str) -> None:
    """Ray itself would try for a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        if address not in ("auto", "local"):
            raise CcliError(f"--ray {address}: give HOST:PORT, ray://HOST:PORT, auto or local")
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise CcliError(
            f"no Ray cluster answers at {address} ({first_line(error)}); `ray start --head` starts one"
        ) from error


def _encode_all(ray, task, missing: Sequence[Missing]) -> None:
    """Failures are left for the runs to name, which need the same images."""
    nodes = max(1, sum(node["Alive"] for node in ray.nodes()))
    shares = []
    for item in missing:
        size = max(SHARE, -(-len(item.paths) // (4 * nodes)))
        starts = range(0, len(item.paths), size)
        shares += [(item._replace(paths=item.paths[start : start + size]), f"lock-{start}") for start in starts]
    waiting = [task.remote(item, lock) for item, lock in shares]
    from tqdm import tqdm

    with tqdm(total=len(waiting), desc="Encoding", unit="share", disable=None if waiting else True, leave=False) as bar:
        while waiting:
            _, waiting = ray.wait(waiting, num_returns=1)
            bar.update()


def _run_all(ray, task, runs: Sequence[Run]) -> Iterator[list[Outcome]]:
    waiting = {task.remote(run): run for run in runs}
    while waiting:
        (ended,), _ = ray.wait(list(waiting), num_returns=1)
        run = waiting.pop(ended)
        try:
            outcomes = ray.get(ended)
        except ray.exceptions.RayError as error:  # its process or node died again and again
            outcomes = [Outcome(call.name, call.folder, first_line(error)) for call in run.calls()]
            keep_failure(run.folder, str(error))
        yield [_seen_here(outcome) for outcome in outcomes]


def _seen_here(outcome: Outcome) -> Outcome:
    if outcome.error or (outcome.folder / RECORD).exists():
        return outcome
    return outcome._replace(error="done on a node, but not to be seen here: the nodes must share the output folder")
