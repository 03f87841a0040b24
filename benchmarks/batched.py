"""Runs trained as one against the same ones one at a time: python -m benchmarks.batched

A generated bundle (clusters of images, 24 classes of 512 numbers), the trainers that have epochs, several shots, many
seeds. Both sides are carried out in this process, in turns, from the run's first line to its record. Prints the least
times of each trainer and shots, their ratio, how many runs were trained as one, and in how many of them other epochs or
weights were chosen; then, of three seeds that are trained for all epochs (PROTOCOL fixed), how far the two sides are
apart: parameters, logits of the test images, predictions that differ.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import tabulate
import torch
from ccli.sweeps.execute import execute, train_script
from ccli.sweeps.plan import Grid, Run, runs_of
from ccli.sweeps.together import execute_group, grouped
from torch.nn import functional as F
from tqdm import tqdm

from ccli.bundles import Bundle, write_bundle
from ccli.methods import together
from ccli.runs import read_record
from ccli.task import Split

CFGS = {"CLIPAdapter": "rn50", "TaskRes": "rn50", "TipAdapterF": "rn50", "CCLI": "rn50_plain"}


def rows(count: int, width: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def clusters(centres: torch.Tensor, per_class: int, seed: int) -> Split:
    labels = torch.arange(len(centres)).repeat_interleave(per_class)
    return Split(F.normalize(centres[labels] + 4 * rows(len(labels), centres.shape[1], seed), dim=-1), labels)


def bundle(classes: int, width: int) -> Bundle:
    centres = rows(classes, width, 1)
    text = F.normalize(centres + 4 * rows(classes, width, 2), dim=-1)  # middling, so that training goes on for long
    return Bundle(
        tuple(f"class {k}" for k in range(classes)), text, torch.full((classes,), 8.0), 20.0,
        train=clusters(centres, 40, 3), val=clusters(centres, 8, 4), test=clusters(centres, 50, 5),
        concepts=tuple(f"concept {k}" for k in range(400)), concept_features=rows(400, width, 6),
    )  # fmt: skip


def runs_in(place: Path, side: str, trainer: str, shots: int, seeds: int, *opts: str) -> list[Run]:
    datasets, output = [str(place / "generated.npz")], place / side
    return runs_of(Grid(datasets, [trainer], [shots], range(1, seeds + 1), CFGS[trainer], output=output, options=opts))


def alone(runs: list[Run]) -> float:
    start = time.perf_counter()
    assert not any(outcome.error for run in runs for outcome in execute(run))
    return time.perf_counter() - start


def as_one(runs: list[Run]) -> float:
    start = time.perf_counter()
    ended = [outcomes for group in grouped(runs) for outcomes in execute_group(group)]
    assert not any(outcome.error for outcomes in ended for outcome in outcomes)
    return time.perf_counter() - start


def answers(run: Run, test: Split) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A finished run's numbers, and its logits of the test images."""
    train = train_script()
    cfg = train.setup_cfg(train.arguments(list(run.argv)))
    from dassl.engine import TRAINER_REGISTRY

    last = run.folder / "head" / (run.folder / "head" / "checkpoint").read_text().strip()
    state = torch.load(last, weights_only=True)["state_dict"]
    trainer = TRAINER_REGISTRY.get(cfg.TRAINER.NAME)
    with torch.no_grad():
        return state, trainer.head_from_state(None, state).eval()(test.features)


def apart(a: list[Run], b: list[Run], test: Split) -> list:
    """The furthest parameters and logits of two sides, and the number of predictions that differ."""
    furthest, logits, predictions = 0.0, 0.0, 0
    for one, other in zip(a, b):
        (state, left), (state_too, right) = answers(one, test), answers(other, test)
        furthest = max(furthest, *(float((state[name] - state_too[name]).abs().max()) for name in state))
        logits = max(logits, float((left - right).abs().max()))
        predictions += int((left.argmax(1) != right.argmax(1)).sum())
    return [f"{furthest:.1e}", f"{logits:.1e}", predictions]


def compared(case: tuple, place: Path, test: Split, repeats: int) -> list:
    """A line of the table: what to train (trainer, shots, seeds, options), how often, both sides."""
    times, sides = [], []
    for k in range(repeats):
        sides = [runs_in(place, f"{side}{k}", *case) for side in ("alone", "batched")]
        times.append((alone(sides[0]), as_one(sides[1])))
    slow, fast = map(min, zip(*times))
    records = [[read_record(run.folder) for run in side] for side in sides]
    marked = sum("batched" in record for record in records[1])
    chosen = sum(a["hyper_parameters"] != b["hyper_parameters"] for a, b in zip(*records))
    trainer, shots, seeds, *opts = case
    ends = [runs_in(place, side, trainer, shots, 3, *opts, "PROTOCOL", "fixed") for side in ("alone", "batched")]
    alone(ends[0]), as_one(ends[1])
    times = [f"{slow:.2f} s", f"{fast:.2f} s", f"{slow / fast:.2f}"]
    return [trainer, shots, *times, f"{marked} of {seeds}", chosen, *apart(*ends, test)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--trainers", nargs="+", default=list(CFGS), choices=list(CFGS))
    add("--shots", nargs="+", type=int, default=[1, 4, 16])
    add("--seeds", type=int, default=3, help="how many (default: 3)")
    add("--classes", type=int, default=24)
    add("--width", type=int, default=512)
    add("--epochs", type=int, default=0, help="of every trainer; 0 (default) is each one's own number")
    add("--repeats", type=int, default=2, help="of which the fastest counts (default: 2)")
    add("--threads", type=int, help="default: all cores")
    add("--most", type=int, default=together.MOST_PRODUCTS, help="in place of ccli.methods.together.MOST_PRODUCTS")
    args = parser.parse_args()
    together.MOST_PRODUCTS = args.most
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        place, data = Path(folder), bundle(args.classes, args.width)
        write_bundle(place / "generated.npz", data)
        alone(
            runs_in(place, "warm", args.trainers[0], args.shots[0], 1, "OPTIM.MAX_EPOCH", "1")
        )  # imports are nobody's
        opts = ("OPTIM.MAX_EPOCH", str(args.epochs)) if args.epochs else ()
        cases = [(trainer, shots, args.seeds, *opts) for trainer in args.trainers for shots in args.shots]
        lines = [compared(case, place, data.test, args.repeats) for case in tqdm(cases, disable=None)]
    heads = [
        "trainer",
        "shots",
        "alone",
        "batched",
        "ratio",
        "as one",
        "choices",
        "parameters",
        "logits",
        "predictions",
    ]
    print(f"{args.classes} classes, width {args.width}, {args.seeds} seeds, {torch.get_num_threads()} threads")
    print(tabulate.tabulate(lines, heads, disable_numparse=True))


if __name__ == "__main__":
    main()
