"""Accuracy against the number of concepts per class: python -m experiments.concepts_per_class DATA ... --to FILE

DATA are feature bundles, or concept_shapes. Each is drawn for every number of shots and seed; a sparse network is then
fitted with 1 to M concepts per class from each source: visual concepts, cross-modal ones (the share of the text is
chosen from the shots), texts alone, means of three random images, random vectors; "images, all sizes" are random groups
of the sizes that visual concepts have. With --names the network stands beside zero-shot and has class names among its
concepts, and the penalty is chosen from the shots, too; without, concepts alone decide. Prints the mean test accuracy
over seeds, in percent; then how far cross-modal concepts are above the others or, with --names, the form to use beside
the dense form and zero-shot. --kept FILE gathers the results of several commands (with and without --names in two
files), each seed as soon as it is made.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.console import flag, script, table, write_table
from ccli.concepts import candidates
from ccli.features.task import FewShotTask
from ccli.fitting import selection
from ccli.methods.ccli import (
    CcliSettings,
    Sparse,
    SparseParts,
    build,
    choose_alpha,
    chosen,
    fewer_classes,
    sparse_scores,
)
from experiments.curves import Cells, Rows, accuracy, cells, curve_table, means, of_cells, write_picture

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
OURS, BESIDE = "cross-modal", "sparse, all chosen"


def of_test(head: torch.nn.Module, task: FewShotTask) -> float:
    with torch.no_grad():
        return accuracy(head(task.test.features), task.test.labels)


def candidates_of(task: FewShotTask, s: CcliSettings, seed: int) -> dict[Sparse, tuple[float, float]]:
    """The log-likelihood on held-out images, 0 where there are none, and the test accuracy of each network."""
    how, parts, found = selection.selected_by("validation", task), SparseParts(task, s, seed), {}
    splits = selection.splits(how, fewer_classes(task), seed)
    scores = {} if how == "validation" else sparse_scores(splits, s, seed)
    for key, head in parts.heads():
        if how == "validation":
            with torch.no_grad():
                logits = head(task.val.features)
            scores[key] = float(selection.log_likelihoods(logits, task.val.labels).max())
        found[key] = scores.get(key, 0.0), of_test(head, task)
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
    return of_test(head, task)


def rows_of(task: FewShotTask, names: bool, most: int, seed: int) -> Rows:
    s, found = replace(NAMES if names else BOTTLENECK, concepts_per_class=most), {}
    every = candidates_of(task, replace(s, text_shares=SHARES), seed)
    for row, shares in ((OURS, SHARES), ("visual", SHARES[:1]), ("text", SHARES[-1:])):
        found[row] = best(every, shares, most)
    for row, (source, sizes) in CONTROLS.items():
        one = replace(s, source=source, sizes=sizes, text_shares=(0.0,))
        found[row] = best(candidates_of(task, one, seed), (0.0,), most)
    if names:
        sparse = replace(s, text_shares=SHARES[1:], text_share=SHARES[2])
        found[BESIDE] = [method(task, sparse, seed)]
        found["dense"] = [method(task, DENSE, seed)]
    return found | {"zero-shot": [accuracy(task.test.features @ task.text_features.T, task.test.labels)]}


def leads(found: Cells, over: Sequence[str]) -> str:
    """Mean over cells, and the least, of what cross-modal concepts are above the others, per number of concepts."""
    rows = [means(seeds) for cell, seeds in found.items() if not over or cell.split(", ")[0] in over]
    lines = []
    for name in ("text", *CONTROLS):
        less = [[a - b for a, b in zip(one[OURS], one[name])] for one in rows]
        lines.append([name, *(f"{sum(column) / len(rows):+.1f} ({min(column):+.1f})" for column in zip(*less))])
    return table(lines, [f"mean lead in {len(rows)} cells (least) over", *map(str, range(1, len(lines[0])))])


def from_five(found: Cells) -> str:
    """Accuracy with five concepts per class, and its mean over five and more: the field's NEC measures."""
    lines = [
        [cell, name, f"{values[4]:.2f}", f"{sum(values[4:]) / len(values[4:]):.2f}"]
        for cell, seeds in found.items() for name, values in means(seeds).items() if len(values) > 5
    ]  # fmt: skip
    return table(lines, ["data set, shots", "concepts", "5", "mean of 5 and more"]) if lines else ""


def beside(found: Cells) -> str:
    """The form to use, with all that it chooses, less the dense form and zero-shot."""
    rows = {cell: {name: values[0] for name, values in means(seeds).items()} for cell, seeds in found.items()}
    less = {cell: [one[BESIDE] - one[other] for other in ("dense", "zero-shot")] for cell, one in rows.items()}
    lines = [[cell, f"{one[BESIDE]:.2f}", *(f"{x:+.2f}" for x in less[cell])] for cell, one in rows.items()]
    columns = list(zip(*less.values()))
    lines += [[f"mean of {len(rows)}", "", *(f"{sum(column) / len(rows):+.2f}" for column in columns)]]
    lines += [["least", "", *(f"{min(column):+.2f}" for column in columns)]]
    return table(lines, ["data set, shots", BESIDE, "to dense", "to zero-shot"])


@script
@of_cells
@flag("--names", action="store_true", help="beside zero-shot, with class names among the concepts")
@flag("--picture", type=Path, metavar="PNG", help="the curves, a panel per data set and number of shots")
@flag("--over", nargs="+", default=[], metavar="DATA", help="without --names: data sets of the mean lead (all)")
def main(args) -> None:
    found = cells(args, lambda task, seed: rows_of(task, args.names, args.most, seed))
    summaries = (beside(found) if args.names else leads(found, args.over), from_five(found))
    printed = "\n\n".join(filter(None, (curve_table(found, "concepts"), *summaries)))
    print(printed)
    write_table(args.to, printed)
    if not args.names:  # zero-shot is far above
        found = {cell: [{k: v for k, v in rows.items() if len(v) > 1} for rows in of] for cell, of in found.items()}
    write_picture(args.picture, found)
