"""Disturbed runs against undisturbed ones: python -m stress.chaos --kills 200 --flips 1000 --faults

--kills N: N processes killed at random moments of all phases of train.py and sweep.py, then the same command until it
is done. --real N: of processes as a user starts them. --pairs N: two at once on one store and one output. --faults: a
full disk and a lost one, at each write and each read in turn. --flips N: one bit of a store's, a run's or a
checkpoint's file turned. Prints the counts and every problem; exit status 1 where there is one.
"""

import time
from pathlib import Path
from random import Random

from benchmarks.console import flag, script
from stress.chaos import faults, flips, kills
from stress.chaos.work import WORKS, prepare, works

PARTS = {
    "kills": kills.random_kills,
    "pairs": kills.two_at_once,
    "real": kills.real_processes,
    "faults": faults.each_in_turn,
    "flips": flips.random_flips,
}


@script
@flag("--kills", type=int, default=0, metavar="N", help="how many")
@flag("--real", type=int, default=0, metavar="N", help="how many")
@flag("--pairs", type=int, default=0, metavar="N", help="how many")
@flag("--flips", type=int, default=0, metavar="N", help="how many")
@flag("--faults", type=int, nargs="?", const=10**6, default=0, help="places of each kind, at most")
@flag("--works", nargs="+", default=WORKS, choices=WORKS, help="the commands that are disturbed")
@flag("--seed", type=int, default=0, help="of all random choices")
@flag("--output", type=Path, help="a folder that is kept, instead of a temporary one")
def main(args) -> bool:
    begin, lost, place = time.monotonic(), False, (args.output or args.scratch).absolute()
    place.mkdir(parents=True, exist_ok=True)
    chosen = [work for work in works(place) if work.name in args.works]
    prepare()
    if not args.kills:
        kills.undisturbed(chosen, place)
    for name, part in PARTS.items():
        if count := getattr(args, name):
            tally = part(chosen, place, count, Random(args.seed))
            lost |= bool(tally.problems)
            print(f"{name}: {tally}", flush=True)
    print(f"{time.monotonic() - begin:.0f} s; {'something was lost' if lost else 'nothing was lost'}")
    return lost
