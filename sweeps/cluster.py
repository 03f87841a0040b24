"""A sweep on a Ray cluster: one task per run, placed by the CPUs and GPUs it needs, repeated if its node dies.

The nodes must see the environment, the data, the feature store and the output folder under the same paths, as on a
shared file system.
"""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from tqdm import tqdm

from ccli.errors import CcliError, first_line, in_one_line, os_errors
from ccli.results.records import RECORD
from ccli.sweeps.encoding import Missing, encode, shares
from ccli.sweeps.execute import Outcome, cut_off, execute
from ccli.sweeps.plan import Run

RETRIES = 3  # of a task whose node or process died; an error that a run raises is its outcome
ANSWERS_WITHIN = 10  # seconds; Ray itself would try for minutes
SEEN_WITHIN = 60  # seconds: a shared file system may show a new file late
HANDED_ON = ("CCLI_STORE", "HF_HOME", "HF_HUB_OFFLINE", "TORCH_HOME", "XDG_CACHE_HOME", "TOKENIZERS_PARALLELISM")


def run_all(
    runs: Sequence[Run], missing: Sequence[Missing], address: str, threads: int, gpus: float | None,
    apart: Collection[str],
) -> Iterator[list[Outcome]]:  # fmt: skip
    """Encode what is missing, by ranges of images, then carry out the runs; each run's outcomes as it ends.

    Args:
        address: of the cluster (host:port, ray://host:port, auto), or local: one on this machine, for this sweep alone.
        threads: CPUs that a run takes.
        gpus: GPUs that it takes; None is 1 where the cluster has any.
        apart: trainers whose runs get a new process each, because they may leave it changed.

    Raises:
        CcliError: Ray is not installed, nothing answers at the address, or no node has that many CPUs and GPUs.
    """
    ray = connect(address, threads)
    try:
        gpus, folder = _placeable(ray, threads, gpus), os.getcwd()

        def task(work: Callable, **options):
            def from_here(*args):  # paths may be relative
                os.chdir(folder)
                return work(*args)

            return ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES, **options)(from_here)

        _encode_all(ray, task(encode, scheduling_strategy="SPREAD"), missing)
        yield from _run_all(ray, task(execute), task(execute, max_calls=1), runs, apart)
    finally:
        ray.shutdown()  # whatever is still at work ends with it


def connect(address: str, threads: int):
    """The module ray, connected."""
    _refuse_unreachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    options = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address == "local":  # others on this machine stay out, and no token is left in the user's home
        if "RAY_AUTH_MODE" not in os.environ:
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        options["include_dashboard"] = False
    try:
        import ray
    except ModuleNotFoundError as error:
        raise CcliError('Ray is not installed here: pip install -e ".[ray]"') from error
    if address != "local" and not address.startswith("ray://"):
        _refuse_unhealthy(address)
    handed_on = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    environment = {"env_vars": handed_on | {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "1000"}}
    with in_one_line((ConnectionError, ValueError, RuntimeError), f"no Ray cluster at {address}", "see `ray status`"):
        ray.init(address, runtime_env=environment, **options)
    return ray


def _refuse_unreachable(address: str) -> None:
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal() and int(port) < 2**16):
        raise CcliError(f"--ray {address}: give HOST:PORT, ray://HOST:PORT, auto or local")
    with os_errors(f"no Ray cluster answers at {address}", "`ray start --head` starts one"):
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN).close()


def _refuse_unhealthy(address: str) -> None:
    """Ask in another process, which can be given up: something else may listen there, or want another token."""
    where = [] if address == "auto" else ["--address", address]
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", *where]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWERS_WITHIN)
        if asked.returncode == 0:
            return
        why = (asked.stderr.strip() or asked.stdout.strip() or "no reason given").splitlines()[-1]
    except subprocess.TimeoutExpired:
        why = f"no answer in {ANSWERS_WITHIN} s"
    if "AuthenticationError" in why:
        why = "it wants a token; set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN unless the token is in ~/.ray"
    raise CcliError(f"no usable Ray cluster at {address}: {why}")


def _placeable(ray, threads: int, gpus: float | None) -> float:
    """The GPUs of a run, where some node can hold it: a task that fits nowhere would wait for ever."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    sizes = [(has.get("CPU", 0), has.get("GPU", 0)) for has in resources]
    if gpus is None:
        gpus = 1 if any(has for _, has in sizes) else 0
    if gpus < 0 or (gpus > 1 and gpus % 1):
        raise CcliError(f"--gpus {gpus:g}: give a share of one GPU, or a whole number")
    if not any(cpus >= threads and has >= gpus for cpus, has in sizes):
        there = ", ".join(f"{cpus:g} and {has:g}" for cpus, has in sorted(set(sizes), reverse=True))
        raise CcliError(
            f"no node of the cluster has {threads} CPUs and {gpus:g} GPUs for a run (they have {there}); "
            "give smaller --threads and --gpus"
        )
    return gpus


def _encode_all(ray, task, missing: Sequence[Missing]) -> None:
    """Failures are left for the runs to name, which need the same images."""
    nodes = sum(node["Alive"] for node in ray.nodes())
    waiting = [task.remote(share, f"lock-{k}") for k, share in enumerate(shares(missing, nodes))]
    with tqdm(total=len(waiting), desc="Encoding", unit="share", disable=None if waiting else True, leave=False) as bar:
        while waiting:
            _, waiting = ray.wait(waiting, num_returns=1)
            bar.update()


def _run_all(ray, task, task_apart, runs: Sequence[Run], apart: Collection[str]) -> Iterator[list[Outcome]]:
    waiting = {(task_apart if run.trainer in apart else task).remote(run): run for run in runs}
    patience = SEEN_WITHIN
    while waiting:
        (ended,), _ = ray.wait(list(waiting), num_returns=1)
        run = waiting.pop(ended)
        try:
            outcomes = ray.get(ended)
        except ray.exceptions.RayError as error:
            why = _why(ray, error)
            outcomes = cut_off(run, why, f"{error}\n{why}\n")
        seen = [_seen_here(outcome, patience) for outcome in outcomes]
        if seen != outcomes:
            patience = 0
        yield seen


def _why(ray, error: Exception) -> str:
    if isinstance(error, ray.exceptions.RayTaskError):  # such as no such folder there, or no ccli
        return f"its node cannot run it: {type(error.cause).__name__}: {first_line(error.cause)}"
    if isinstance(error, ray.exceptions.WorkerCrashedError | ray.exceptions.NodeDiedError):
        return f"its process or node died {RETRIES + 1} times: {first_line(error)}"
    return first_line(error)


def _seen_here(outcome: Outcome, patience: float) -> Outcome:
    until = time.time() + patience
    while not (outcome.error or (outcome.folder / RECORD).exists()):
        if time.time() > until:
            return outcome._replace(error="done on a node, but not visible here: the nodes must share the output")
        time.sleep(0.5)
    return outcome
