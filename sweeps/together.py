"""Runs of a sweep that are trained as one (sweep.py --batched): which go together, and how a group is carried out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

from ccli.atomic import LOCK, alone
from ccli.runs import FAILURE, RECORD

from .execute import Outcome, execute, holds_its_record, train_script
from .plan import Run

MOST = 16  # runs in a group
# Options that change numbers and no shape; everything else but the seed is equal within a group
VALUES = (
    "TRAINER.CLIPADAPTER.RATIO", "TRAINER.TASKRES.RESIDUAL_SCALE", "TRAINER.CCLI.TOP_K", "TRAINER.CCLI.TEXT_SHARE",
    "TRAINER.CCLI.TEMPERATURE", "TRAINER.CCLI.ALPHA", "TRAINER.CCLI.ALPHAS", "TRAINER.CCLI.CRITERION",
)  # fmt: skip


def grouped(runs: Sequence[Run]) -> list[tuple[Run, ...]]:
    """Runs that may be trained as one together, the others each by itself; in the order of each one's first run."""
    from ccli.trainers.checkpoints import HEAD, has_checkpoint

    by_key: dict[tuple, list[Run]] = {}
    for run in runs:
        key = ("alone", run.folder) if has_checkpoint(str(run.folder), HEAD) else _key(run)
        by_key.setdefault(key, []).append(run)
    groups: list[tuple[Run, ...]] = []
    for alike in by_key.values():
        size = MOST if len(alike) > 1 and _may_be(alike[0]) else 1
        groups += [tuple(alike[start : start + size]) for start in range(0, len(alike), size)]
    return groups


def execute_group(runs: Sequence[Run]) -> list[list[Outcome]]:
    """Train them as one where that can be done, then carry out what is left of each: its evaluations, or all of it."""
    trained = _train_as_one([run.calls()[0] for run in runs]) if len(runs) > 1 else {}
    return [execute(run, trained.get(run.folder)) for run in runs]


def _key(run: Run) -> tuple:
    """What two runs have in common that may be trained as one."""
    args = train_script().arguments(list(run.argv))
    pairs = zip(args.opts[::2], args.opts[1::2])
    equal = [pair for pair in pairs if pair[0] not in (*VALUES, "CFG_NAME")]
    flags = {name: str(value) for name, value in vars(args).items() if name not in ("seed", "output_dir", "opts")}
    return (*sorted(flags.items()), *equal)


def _may_be(run: Run) -> bool:
    from ccli.trainers.together import may_be

    from ccli.errors import CcliError

    train = train_script()
    try:
        return may_be(train.setup_cfg(train.arguments(list(run.argv))))
    except CcliError:  # the run itself will say it
        return False


def _train_as_one(calls: Sequence[Run]) -> dict[Path, Outcome]:
    """Outcomes of those that have their records by it, each with its share of the seconds; none where it failed."""
    start = time.time()
    with ExitStack() as locks:
        try:
            for call in sorted(calls, key=lambda call: call.folder):  # in one order, so that two sweeps never cross
                locks.enter_context(alone(call.folder))
            left = [call for call in calls if not ((call.folder / RECORD).exists() and holds_its_record(call))]
        except Exception:  # such as a folder that cannot be written to: its own run will say it
            return {}
        if len(left) < 2:
            return {}
        before = {call.folder: set(call.folder.rglob("*")) for call in left}
        why = _try_as_one(left)
        if why:
            print(f"{left[0].name} and {len(left) - 1} more are carried out one at a time: {why}", file=sys.stderr)
        done = [call for call in left if (call.folder / RECORD).exists()]
        for call in left:
            if call in done:
                (call.folder / FAILURE).unlink(missing_ok=True)
            else:
                _leave_as_before(call.folder, before[call.folder])
    share = (time.time() - start) / max(1, len(done))
    return {call.folder: Outcome(call.name, call.folder, "", share, batched=True) for call in done}


def _try_as_one(calls: Sequence[Run]) -> str:
    """Train them; why that failed, in a line, "" where it did not or was not worth trying."""
    from ccli.trainers.together import Apart, Member, train_together

    members: list[Member] = []
    with ExitStack() as logs:
        try:
            sink = logs.enter_context(open(os.devnull, "w"))
            for call in calls:
                members.append(_set_up(call, sink, logs, first=not members))
            train_together(members)
        except Apart:
            return ""
        except Exception as problem:  # of one of them, which will meet it again by itself, and be named with it
            return " ".join(str(problem).split()) or type(problem).__name__
        finally:
            for member in members:
                member.trainer.close_writer()
    return ""


def _set_up(call: Run, sink, logs: ExitStack, first: bool):
    """A run up to its first epoch, as train.py would take it there."""
    from ccli.trainers.together import Apart, Member, check_worth

    train = train_script()
    with redirect_stdout(sink):
        try:
            trainer = train.prepare(train.arguments(list(call.argv)))
        finally:
            if sys.stdout is not sink:
                logs.callback(sys.stdout.close)  # the toolbox's logger, and with it log.txt
        if trainer is None:
            raise Apart("it is done")
        if first:
            check_worth(trainer)
        trainer.as_one = True
        trainer.before_train()
        return Member(trainer, redirect_stdout(sys.stdout))


def _leave_as_before(folder: Path, before: set[Path]) -> None:
    """Take away what an attempt has left, so that the run by itself finds its folder as it was."""
    for path in sorted(set(folder.rglob("*")) - before, reverse=True):  # what is in a folder before the folder
        if path.name != LOCK:
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
