"""Kill -9 at random moments of every phase, the same command again, and the results against an undisturbed run's."""

import shutil
import time
from functools import partial
from pathlib import Path
from random import Random

from ccli.files.atomic import SCRATCH
from stress.chaos.compare import Tally, differences, half_written
from stress.chaos.work import OUTPUT, PHASES, PRESENT, Work, as_a_user, finish, kill, start, timed


def undisturbed(works: list[Work], place: Path) -> dict[str, dict[str, float]]:
    """Seconds of each phase by the work's name; the results stay for comparison."""
    return {work.name: timed(work, place / "whole" / work.name) for work in works}


def random_kills(works: list[Work], place: Path, count: int, rng: Random) -> Tally:
    """`count` kills in series of at most one per phase; after each series the command runs to its end."""
    spent, tally, series = undisturbed(works, place), Tally(), 0
    while tally.done.total() < count:
        work, series = works[series % len(works)], series + 1
        out = place / "broken" / f"{work.name}{series}"
        phases = [phase for phase in PHASES if spent[work.name][phase] and rng.random() < 0.7]
        for phase in phases[: count - tally.done.total()]:
            if _killed_in(work, out, phase, rng.uniform(0, spent[work.name][phase])):
                tally.done[phase] += 1
                tally.add(f"{out.name} killed in {phase}", half_written(out))
        _end(work, out, place, tally, again=rng.random() < 0.3)
    return tally


def _killed_in(work: Work, out: Path, phase: str, after: float) -> bool:
    """Kill a new process `after` seconds into a phase; False where it ended before."""
    child, wanted, begin = start(work, out), PHASES.index(phase), time.perf_counter()
    while child.is_alive() and PRESENT[0] != wanted:
        if time.perf_counter() > begin + 300:
            kill(child)
            raise TimeoutError(f"{out.name} hangs: {(out / OUTPUT).read_text()[-700:]}")
        time.sleep(0.0002)
    time.sleep(after)
    return kill(child)


def _end(work: Work, out: Path, place: Path, tally: Tally, again: bool = False) -> None:
    """Run the command to its end, `again` over the finished run, and compare the results."""
    for _ in range(1 + again):
        tally.more["restarts"] += 1
        if code := finish(start(work, out)):
            tally.add(out.name, [f"ended with {code}: {(out / OUTPUT).read_text()[-1500:]}"])
        tally.add(out.name, differences(out, place / "whole" / work.name))
    tally.more["runs compared"] += 1
    left = [path for path in out.rglob(".*") if path.name.endswith(SCRATCH)]
    tally.more["scratch files left, which nothing reads"] += len(left)
    shutil.rmtree(out)


def two_at_once(works: list[Work], place: Path, count: int, rng: Random) -> Tally:
    """Two processes on one store and one output folder; in every other pair one of them is killed."""
    tally = Tally()
    for k in range(count):
        work = works[k % len(works)]
        out = place / "pairs" / f"{work.name}{k}"
        both = [start(work, out), start(work, out)]
        if k % 2:
            time.sleep(rng.uniform(0, 1.5))
            tally.done["beside another process"] += kill(both.pop(rng.randrange(2)))
        tally.add(out.name, [f"one of two ended with {code}" for code in map(finish, both) if code])
        tally.add(out.name, half_written(out) + differences(out, place / "whole" / work.name))
        _end(work, out, place, tally)
    return tally


def real_processes(works: list[Work], place: Path, count: int, rng: Random) -> Tally:
    """The scripts as a user starts them, killed at any moment of the time that they take undisturbed."""
    tally, seconds = Tally(), {}
    for k in range(count):
        work = works[k % len(works)]
        out = place / "real" / f"{work.name}{k}"
        if work.name not in seconds:
            begin = time.monotonic()
            finish(start(work, out, partial(as_a_user, work, out)))
            seconds[work.name] = time.monotonic() - begin
            tally.add(f"{work.name}, a process", differences(out, place / "whole" / work.name))
            shutil.rmtree(out)
        child = start(work, out, partial(as_a_user, work, out))
        time.sleep(rng.uniform(0.2, 1) * seconds[work.name])
        tally.done["a process of its own"] += kill(child)
        tally.add(out.name, half_written(out))
        _end(work, out, place, tally)
    return tally
