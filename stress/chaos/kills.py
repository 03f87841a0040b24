"""Kill -9 at random moments of every phase, the same command again, and the results against an undisturbed run's."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from stress.chaos.compare import differences, half_written, leftovers
from stress.chaos.work import PHASES, PRESENT, ROOT, Work, finish, kill, start, timed


@dataclass
class Tally:
    """What was done and what came of it."""

    kills: Counter = field(default_factory=Counter)  # by phase
    restarts: int = 0
    ends: int = 0  # runs that came to their end after kills, and were compared
    wrong: list[str] = field(default_factory=list)
    left: int = 0  # scratch files that stay

    def add(self, name: str, problems: list[str]) -> None:
        self.wrong += [f"{name}: {problem}" for problem in problems]

    def lines(self) -> list[str]:
        phases = ", ".join(f"{phase} {count}" for phase, count in sorted(self.kills.items()))
        return [
            f"{self.kills.total()} kills ({phases}), {self.restarts} restarts, {self.ends} runs compared: "
            f"{len(self.wrong)} differences or half-written files; {self.left} scratch files stay, which nothing reads",
            *self.wrong[:20],
        ]  # fmt: skip


def undisturbed(works: list[Work], place: Path) -> dict[str, dict[str, float]]:
    return {work.name: timed(work, place / "whole" / work.name) for work in works}


def random_kills(works: list[Work], place: Path, count: int, seed: int) -> Tally:
    """`count` kills; after each series of them, at most one a phase, the command comes to its end."""
    spent, rng, tally, episode = undisturbed(works, place), random.Random(seed), Tally(), 0
    while tally.kills.total() < count:
        work, episode = works[episode % len(works)], episode + 1
        out = place / "broken" / f"{work.name}{episode}"
        phases = [phase for phase in PHASES if spent[work.name][phase] and rng.random() < 0.7]
        for phase in phases[: count - tally.kills.total()]:
            if _killed_in(work, out, phase, rng.uniform(0, spent[work.name][phase])):
                tally.kills[phase] += 1
                tally.add(f"{out.name} killed in {phase}", half_written(out))
        _end(work, out, place, tally, again=rng.random() < 0.3)
    return tally


def _killed_in(work: Work, out: Path, phase: str, after: float) -> bool:
    """Whether the process was still there so long after it had come into a phase."""
    child, wanted, moment = start(work, out), PHASES.index(phase), 0.0
    begin = time.perf_counter()
    while not moment or time.perf_counter() < moment:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        if time.perf_counter() > begin + 300:
            kill(child)
            raise TimeoutError(f"{out.name} hangs: {(out / 'said.txt').read_text()[-700:]}")
        if not moment and PRESENT[0] == wanted:
            moment = time.perf_counter() + after
        time.sleep(0.0002)
    kill(child)
    return True


def _end(work: Work, out: Path, place: Path, tally: Tally, again: bool = False) -> None:
    """To the end, `again` over the finished run; then compare."""
    for _ in range(1 + again):
        tally.restarts += 1
        code = finish(start(work, out))
        problems = [f"ended with {code}: {(out / 'said.txt').read_text()[-1500:]}"] if code else []
        tally.add(out.name, problems + differences(out, place / "whole" / work.name))
    tally.ends += 1
    tally.left += len(leftovers(out))
    shutil.rmtree(out)


def two_at_once(works: list[Work], place: Path, count: int, seed: int) -> Tally:
    """Two processes on one store and one output folder, every other time one of them killed."""
    rng, tally = random.Random(seed), Tally()
    for k in range(count):
        work = works[k % len(works)]
        out = place / "pairs" / f"{work.name}{k}"
        both = [start(work, out), start(work, out)]
        if k % 2:
            time.sleep(rng.uniform(0, 1.5))
            victim = both.pop(rng.randrange(2))
            if not os.waitpid(victim, os.WNOHANG)[0]:
                kill(victim)
                tally.kills["beside another process"] += 1
        tally.add(out.name, [f"one of two ended with {code}" for code in map(finish, both) if code])
        tally.add(out.name, half_written(out) + differences(out, place / "whole" / work.name))
        _end(work, out, place, tally)
    return tally


def real_processes(works: list[Work], place: Path, count: int, seed: int) -> Tally:
    """The scripts as a user starts them, killed at any moment of their time."""
    rng, tally, seconds = random.Random(seed), Tally(), {}
    for k in range(count):
        work = works[k % len(works)]
        if work.name not in seconds:
            begin = time.monotonic()
            _process(work, place / "real" / "timed").wait()
            seconds[work.name] = time.monotonic() - begin
            tally.add(f"{work.name}, a process", differences(place / "real" / "timed", place / "whole" / work.name))
            shutil.rmtree(place / "real")
        out = place / "real" / f"{work.name}{k}"
        process = _process(work, out)
        time.sleep(rng.uniform(0.2, 1) * seconds[work.name])
        if process.poll() is None:
            kill(process.pid)
            tally.kills["a process of its own"] += 1
        tally.add(out.name, half_written(out))
        _end(work, out, place, tally)
    return tally


def _process(work: Work, out: Path) -> subprocess.Popen:
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / f"{work.script}.py"), *work.argv(out)]
    env = os.environ | {"CCLI_STORE": str(out / "store"), "OMP_NUM_THREADS": "1"}
    with open(out / "said.txt", "a") as said:
        return subprocess.Popen(command, stdout=said, stderr=said, env=env, start_new_session=True)
