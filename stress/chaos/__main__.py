"""Disturbed runs against undisturbed ones: python -m stress.chaos --kills 200 --flips 1000 --faults

--kills N: N processes killed at random moments of all phases of train.py and sweep.py, then the same command until it
is done. --real N: of processes as a user starts them. --pairs N: two at once on one store and one output. --faults: a
full disk and a lost one, at each write and each read in turn. --flips N: one bit of a store's, a run's or a
checkpoint's file turned. Prints what was done and whether anything was lost; exit status 1 where something was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from stress.chaos import faults, flips, kills
from stress.chaos.work import WORKS, prepare, works


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("kills", "real", "pairs", "flips"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument(
        "--faults", type=int, nargs="?", const=10**6, default=0, help="at most so many places of each kind"
    )
    parser.add_argument("--works", nargs="+", default=WORKS, choices=WORKS, help="what is disturbed (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="where the work is done (default: a folder that is removed)")
    return parser.parse_args()


def main() -> int:
    args, begin, lost = arguments(), time.monotonic(), False
    with tempfile.TemporaryDirectory() as scratch:
        place = (args.output or Path(scratch)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        some = [work for work in works(place) if work.name in args.works]
        prepare()
        parts = {
            "kills": lambda: kills.random_kills(some, place, args.kills, args.seed),
            "pairs": lambda: kills.two_at_once(some, place, args.pairs, args.seed),
            "real": lambda: kills.real_processes(some, place, args.real, args.seed),
            "faults": lambda: faults.each_in_turn(some, place, args.faults, args.seed),
            "flips": lambda: flips.random_flips(some, place, args.flips, args.seed),
        }
        if not args.kills:
            kills.undisturbed(some, place)
        for name, part in parts.items():
            if getattr(args, name):
                tally = part()
                lost |= bool(tally.wrong)
                print(f"{name}: " + "\n  ".join(tally.lines()), flush=True)
    print(f"{time.monotonic() - begin:.0f} s; {'something was lost' if lost else 'nothing was lost'}")
    return int(lost)


if __name__ == "__main__":
    sys.exit(main())
