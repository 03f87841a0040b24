"""Accuracy against the number of concepts per class: python -m experiments.concepts_per_class DATA ... --to FILE

DATA are feature bundles, or concept_shapes. Each is drawn for every number of shots and seed; a sparse network is then
fitted with 1 to M concepts per class from each source: visual concepts, cross-modal ones (the share of the text is
chosen from the shots), texts alone, means of three random images, random vectors; "images, all sizes" are random groups
of the sizes that visual concepts have. With --names the network stands beside zero-shot and has class names among its
concepts, and the penalty is chosen from the shots, too; without, concepts alone decide. Prints the mean
test accuracy over seeds, in percent.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.console import flag, script, table, write_table
from ccli.concepts import candidates
from ccli.features.task import FewShotTask, Split
from ccli.fitting import selection
from ccli.methods.ccli import CcliSettings, Sparse, SparseParts, build, choose_alpha, chosen, sparse_scores
from ccli.sweeps import run

SHARES = (0.0, 0.33, 0.67, 1.0)
CONTROLS = {  # the row: source, sizes of groups of images
    "images": ("images", (3,)), "random": ("random", (1,)), "images, all sizes": ("images", candidates.SIZES),
}  # fmt: skip
SPARSE = CcliSettings(
    distinctive=1.0,
    network="sparse",
    representation="space",
    temperature=0.5,
    alphas=(0.0, 1.0),
    criterion="likelihood",
)
NAMES = replace(SPARSE, penalties=(0.3, 1.0), penalty=0.3)
BOTTLENECK = replace(SPARSE, representation="cosine", class_names=False, penalties=(0.03,), penalty=0.03)
DENSE = replace(NAMES, network="convex", text_share=1.0, penalty=0.2)


def trainer_of(data: str, shots: int, seed: int, root: str):
    """The trainer of a run of CCLI on a bundle or on concept_shapes, before training."""
    bundle = Path(data).suffix == ".npz"
    dataset = ["FeatureBundle", "DATASET.BUNDLE", data] if bundle else ["ConceptShapes"]
    yaml = "vit_b32" if bundle else "demo_clip"
    words = ["--root", root, "--seed", str(seed), "--trainer", "CCLI", "--output-dir", f"{root}/unused"]
    words += ["--config-file", f"configs/trainers/CCLI/{yaml}.yaml", "DATASET.NUM_SHOTS", str(shots)]
    return run.prepare(run.arguments([*words, "DATASET.NAME", *dataset]))


def task_of(data: str, shots: int, seed: int, root: str, rotate: bool) -> FewShotTask:
    """The few-shot task that a run of CCLI has; with `rotate` the shots and the test are drawn from all images."""
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


def accuracy(head: torch.nn.Module, images: Split) -> float:
    with torch.no_grad():
        return 100 * float((head(images.features).argmax(1) == images.labels).double().mean())


def candidates_of(task: FewShotTask, s: CcliSettings, seed: int) -> dict[Sparse, tuple[float, float]]:
    """The log-likelihood on held-out images, 0 where there are none, and the test accuracy of each network."""
    how, parts, found = selection.selected_by("validation", task), SparseParts(task, s, seed), {}
    scores = {} if how == "validation" else sparse_scores(selection.splits(how, task, seed), s, seed)
    for key, head in parts.heads():
        if how == "validation":
            with torch.no_grad():
                logits = head(task.val.features)
            scores[key] = float(selection.log_likelihoods(logits, task.val.labels).max())
        found[key] = scores.get(key, 0.0), accuracy(head, task.test)
    return found


def best(found: dict[Sparse, tuple[float, float]], shares: Sequence[float], most: int) -> list[float]:
    """The test accuracy at 1, 2, ... `most` concepts per class of the likeliest network with one of the shares.

    At one shot without validation images none is likelier; the middle share is taken.
    """
    known = any(score for score, _ in found.values())
    shares = shares if known else shares[len(shares) // 2 :][:1]
    rows = [[key for key in found if key[2] == m and key[0] in shares] for m in range(1, most + 1)]
    return [found[max(keys, key=lambda key: found[key][0])][1] for keys in rows]


def method(task: FewShotTask, settings: CcliSettings, seed: int) -> float:
    """The test accuracy of the form to use: all that is chosen is chosen, zero-shot among the candidates."""
    how = selection.selected_by("validation", task)
    s = chosen(task, settings, how, seed)
    head = build(task, s, seed)
    pairs = selection.held_out(how, task, head, lambda part: build(part, s, seed), seed)
    if how in selection.HELD_OUT:
        head.alpha.fill_(choose_alpha(pairs, s))
    return accuracy(head, task.test)


def rows_of(task: FewShotTask, names: bool, most: int, seed: int) -> dict[str, list[float]]:
    s, found = replace(NAMES if names else BOTTLENECK, concepts_per_class=most), {}
    every = candidates_of(task, replace(s, text_shares=SHARES), seed)
    for row, shares in (("cross-modal", SHARES), ("visual", SHARES[:1]), ("text", SHARES[-1:])):
        found[row] = best(every, shares, most)
    for row, (source, sizes) in CONTROLS.items():
        one = replace(s, source=source, sizes=sizes, text_shares=(0.0,))
        found[row] = best(candidates_of(task, one, seed), (0.0,), most)
    if names:
        sparse = replace(s, text_shares=SHARES[1:], text_share=SHARES[2])
        found["sparse, all chosen"] = [method(task, sparse, seed)]
        found["dense"] = [method(task, DENSE, seed)]
    zero_shot = replace(task.test, features=task.test.features @ task.text_features.T)
    return found | {"zero-shot": [accuracy(torch.nn.Identity(), zero_shot)]}


@script
@flag("data", nargs="+", metavar="DATA", help="feature bundles, or concept_shapes")
@flag("--shots", nargs="+", type=int, default=[4, 16])
@flag("--seeds", nargs="+", type=int, default=list(range(1, 11)))
@flag("--most", type=int, default=5, metavar="M", help="the most concepts per class")
@flag("--names", action="store_true", help="beside zero-shot, with class names among the concepts")
@flag("--rotate", action="store_true", help="draw shots and test from pool and test set together")
@flag("--root", default="data", help="where concept_shapes is drawn")
@flag("--to", type=Path, metavar="FILE", help="the table as markdown")
def main(args) -> None:
    lines = []
    for data in args.data:
        for shots in args.shots:
            found = defaultdict(list)
            for seed in args.seeds:
                task = task_of(data, shots, seed, args.root, args.rotate)
                for source, values in rows_of(task, args.names, args.most, seed).items():
                    found[source].append(values)
                print(f"{data}, {shots} shots, seed {seed}", file=sys.stderr, flush=True)
            means = {source: torch.tensor(values).double().mean(0).tolist() for source, values in found.items()}
            for source, values in means.items():
                cells = [f"{x:.2f}" for x in values] + ["-"] * (args.most - len(values))
                lines.append([f"{Path(data).stem}, {shots}", source, *cells])
    printed = table(lines, ["data set, shots", "concepts", *map(str, range(1, args.most + 1))])
    print(printed)
    write_table(args.to, printed)
