"""Accuracy against the number of concepts per class: the data sets, shots and seeds, and results that are kept."""

import io
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.console import flag, table
from ccli.errors import CcliError
from ccli.features.task import FewShotTask, Split
from ccli.files.atomic import moved_into_place
from ccli.results.drawing import style
from ccli.sweeps import run

Rows = dict[str, list[float]]  # what is compared -> accuracy in percent with 1, 2, ... concepts per class
Cells = dict[str, list[Rows]]  # "DATA, SHOTS" -> of each seed


def trainer_of(data: str, shots: int, seed: int, root: str):
    """The trainer of a run of CCLI on a bundle or on concept_shapes, before training."""
    bundle = Path(data).suffix == ".npz"
    dataset = ["FeatureBundle", "DATASET.BUNDLE", data] if bundle else ["ConceptShapes"]
    yaml = "vit_b32" if bundle else "demo_clip"
    words = ["--root", root, "--seed", str(seed), "--trainer", "CCLI", "--output-dir", f"{root}/unused"]
    words += ["--config-file", f"configs/trainers/CCLI/{yaml}.yaml", "DATASET.NUM_SHOTS", str(shots)]
    return run.prepare(run.arguments([*words, "DATASET.NAME", *dataset]))


def task_of(data: str, shots: int, seed: int, root: str, rotate: bool = False) -> FewShotTask:
    """The few-shot task that a run of CCLI has; with `rotate` the shots and the test are drawn from all images."""
    with redirect_stdout(io.StringIO()):  # of Dassl: the configuration
        trainer = trainer_of(data, shots, seed, root)
        task = trainer.make_task()
    return rotated(task, trainer.source.bundle.train, shots, seed) if rotate else task


def rotated(task: FewShotTask, pool: Split, shots: int, seed: int) -> FewShotTask:
    """Shots, and three test images per class, drawn from the pool and the test set together, without validation."""
    features, labels = torch.cat([pool.features, task.test.features]), torch.cat([pool.labels, task.test.labels])
    every = Split(features, labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    of_class = [order[labels[order] == k] for k in range(task.num_classes)]
    train, test = torch.cat([rows[:shots] for rows in of_class]), torch.cat([rows[-3:] for rows in of_class])
    return replace(task, train=every.take(train), val=None, test=every.take(test))


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return 100 * float((logits.argmax(1) == labels).double().mean())


def of_cells(main: Callable) -> Callable:
    """Decorate a script's main function with the arguments that `cells` reads."""
    for add in (
        flag("data", nargs="*", metavar="DATA", help="feature bundles, or concept_shapes; none: print what is kept"),
        flag("--shots", nargs="+", type=int, default=[4]),
        flag("--seeds", nargs="+", type=int, default=list(range(1, 11))),
        flag("--most", type=int, default=5, metavar="M", help="the most concepts per class"),
        flag("--rotate", action="store_true", help="draw shots and test from pool and test set together"),
        flag("--root", default="data", help="where concept_shapes is drawn"),
        flag("--kept", type=Path, metavar="FILE", help="keep results here: they are not made again, and all are shown"),
        flag("--to", type=Path, metavar="FILE", help="the tables as markdown"),
    ):
        main = add(main)
    return main


def cells(args, rows_of: Callable[[FewShotTask, int], Rows]) -> Cells:
    """Results of all data sets, shots and seeds, and of those that are kept.

    Args:
        rows_of: makes those of a task and a seed.

    Raises:
        CcliError: there are no results.
    """
    found = _read(args.kept)
    for data in args.data:
        for shots in args.shots:
            for seed in args.seeds:
                key = (f"{Path(data).stem}, {shots}", seed)
                if key not in found:
                    found[key] = rows_of(task_of(data, shots, seed, args.root, args.rotate), seed)
                    _keep(args.kept, key, found[key])
                    print(f"{key[0]} shots, seed {seed}", file=sys.stderr, flush=True)
    by_cell = defaultdict(list)
    for (cell, _), rows in found.items():
        by_cell[cell].append(rows)
    if not by_cell:
        raise CcliError("no results; give DATA, or a FILE to --kept that has some")
    return dict(sorted(by_cell.items(), key=lambda pair: (pair[0].split(", ")[0], int(pair[0].split(", ")[1]))))


def _read(path: Path | None) -> dict[tuple[str, int], Rows]:
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path and path.exists() else ():
        try:
            one = json.loads(line)
        except ValueError:  # cut short when the process was killed
            continue
        found[one["cell"], one["seed"]] = one["rows"]
    return found


def _keep(path: Path | None, key: tuple[str, int], rows: Rows) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"cell": key[0], "seed": key[1], "rows": rows}) + "\n")


def means(found: Sequence[Rows]) -> Rows:
    """Mean over seeds."""
    return {name: torch.tensor([rows[name] for rows in found]).double().mean(0).tolist() for name in found[0]}


def curve_table(found: Cells, what: str) -> str:
    """A line per cell and row; a column per number of concepts."""
    lines = [[cell, name, values] for cell, seeds in found.items() for name, values in means(seeds).items()]
    most = max(len(values) for _, _, values in lines)
    cut = [[cell, name, *(f"{x:.2f}" for x in values), *["-"] * (most - len(values))] for cell, name, values in lines]
    return table(cut, ["data set, shots", what, *map(str, range(1, most + 1))])


def write_picture(path: Path | None, found: Cells) -> None:
    """Draw a panel per cell, where there is a path: accuracy against the number of concepts; rows of one as lines."""
    if not path:
        return
    from matplotlib.figure import Figure

    with style():
        columns = min(4, len(found))
        lines = -(-len(found) // columns)
        figure = Figure((2.6 * columns, 2.3 * lines), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, (cell, seeds) in zip(panels, found.items()):
            for name, values in means(seeds).items():
                if len(values) == 1:
                    panel.axhline(values[0], label=name, color="black", linestyle=(0, (1, len(name) % 5)))
                else:
                    panel.plot(range(1, len(values) + 1), values, label=name, marker=".")
            panel.set_xticks(range(1, max(map(len, seeds[0].values())) + 1))
            panel.set_title(cell)
        for panel in panels[len(found) :]:
            panel.set_axis_off()
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=min(len(names), 6))
        figure.supxlabel("concepts per class")
        figure.supylabel("test accuracy, %")
        with moved_into_place(path) as scratch:
            figure.savefig(scratch, format="png", dpi=90)
