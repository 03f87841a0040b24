"""Peers that promise answers of a few concepts: python -m experiments.concept_peers DATA ... --to FILE

On the same features, without class names, at 1 to M concepts per class: CCLI's bottleneck, as
experiments.concepts_per_class has it; Post-hoc CBM (Yuksekgonul et al., ICLR 2023: text concepts, elastic net with 0.99
of it L1, its strength chosen so that classes have so many weights on average); LaBo's choice (Yang et al., CVPR 2023:
per class the texts of the best submodular score, discriminability plus coverage), its weights fitted as CCLI's; SpLiCE
(Bhalla et al., NeurIPS 2024: an image is a sparse, non-negative sum of texts), the codes in place of similarities. The
peers' own sets of concepts, which language models write for each class, are not at hand: all have the vocabulary that
CCLI has.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch.nn import functional as F

from benchmarks.console import script, write_table
from ccli.concepts.representation import centred_rows
from ccli.features.task import FewShotTask
from ccli.methods.sparse_inference import fit_weights, refit, sparse_path
from experiments.concepts_per_class import BOTTLENECK, SHARES, best, candidates_of
from experiments.curves import Rows, accuracy, cells, curve_table, of_cells

PENALTY = BOTTLENECK.penalty
L1_RATIO = 0.99  # Post-hoc CBM's
COVERAGE = 1.0  # LaBo's weight of coverage beside discriminability
CODE = 0.05  # SpLiCE's L1 penalty on an image's code


def sides(task: FewShotTask) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Centred unit rows of training images, test images and text concepts."""
    mean = task.train.features.mean(0)
    x, t = (F.normalize(split.features - mean, dim=-1) for split in (task.train, task.test))
    return x, t, centred_rows(task.concept_features)


def post_hoc(task: FewShotTask, most: int) -> Iterator[float]:
    """Elastic net by accelerated proximal gradient, down a path of strengths; the last with at most m weights."""
    x, t, c = sides(task)
    r, y = x @ c.T, F.one_hot(task.train.labels, task.num_classes).float()
    weight, accuracies = r.new_zeros(y.shape[1], r.shape[1]), {}
    strength = float((r.T @ (y - y.mean(0))).abs().max())
    step = 2.0 / float(torch.linalg.matrix_norm(r, 2) ** 2)
    while (count := float((weight != 0).sum()) / len(weight)) <= most:
        accuracies[count] = accuracy((t @ c.T) @ weight.T, task.test.labels)
        strength *= 0.9
        weight = elastic_net(r, y, weight, strength, step)
    for m in range(1, most + 1):
        yield accuracies[max(count for count in accuracies if count <= m)]


def elastic_net(r: torch.Tensor, y: torch.Tensor, start: torch.Tensor, strength: float, step: float) -> torch.Tensor:
    """argmin sum_j CE(B r_j, y_j) + strength (0.99 |B|_1 + 0.01 / 2 |B|^2), by FISTA."""
    weight = ahead = start
    momentum = 1.0
    for _ in range(100):
        slope = ((r @ ahead.T).softmax(1) - y).T @ r + strength * (1 - L1_RATIO) * ahead
        moved = ahead - step * slope
        moved = moved.sign() * (moved.abs() - step * strength * L1_RATIO).clamp_min(0)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = moved + (momentum - 1) / following * (moved - weight)
        weight, momentum = moved, following
    return weight


def labo(task: FewShotTask, most: int) -> Iterator[float]:
    """Greedy choice of each class's texts by its score, then weights by penalised likelihood."""
    x, t, c = sides(task)
    r, classes = x @ c.T, task.num_classes
    means = torch.stack([r[task.train.labels == k].mean(0) for k in range(classes)])  # [N, I]
    share = (10 * means).softmax(0)
    discriminability = 1 + (share * share.clamp_min(1e-12).log()).sum(0) / torch.tensor(classes).log()
    likeness, chosen = c @ c.T, [[] for _ in range(classes)]
    for n in range(classes):
        pool = (means[n] * (discriminability + 1e-3)).topk(min(100, len(c))).indices  # texts that fit the class
        covered = torch.zeros(len(pool))
        for _ in range(most):
            gain = (likeness[pool][:, pool] - covered).clamp_min(0).mean(1)
            score = discriminability[pool] + COVERAGE * gain
            score[torch.isin(pool, torch.tensor(chosen[n], dtype=torch.long))] = -1
            k = int(score.argmax())
            chosen[n].append(int(pool[k]))
            covered = covered.maximum(likeness[pool][:, pool[k]])
    columns = torch.tensor(chosen).T  # [m, N]
    none = r.new_zeros(len(x), classes)
    for m in range(1, most + 1):
        weight, _ = fit_weights(
            none, [r[:, k] for k in columns[:m]], task.train.labels, r.new_zeros(m, classes), PENALTY
        )
        yield accuracy(sum(w * (t @ c[k].T) for w, k in zip(weight, columns)), task.test.labels)


def splice(task: FewShotTask, most: int) -> Iterator[float]:
    """Sparse codes of images over the texts, and a sparse network on them."""
    x, t, c = sides(task)
    codes, of_test = code(x, c), code(t, c)
    every = torch.eye(len(c))
    for network in sparse_path(
        torch.zeros(len(x), task.num_classes), codes, task.train.labels, every, torch.arange(len(c)), PENALTY, most
    ):  # fmt: skip
        network = refit(network, torch.zeros(len(x), task.num_classes), codes, task.train.labels)
        yield accuracy(network(of_test), task.test.labels)


def code(x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """argmin_{w >= 0} |x - w C|^2 / 2 + CODE |w|_1 for each image, as unit rows, by FISTA."""
    step, target = 1 / float(torch.linalg.matrix_norm(c, 2) ** 2), x @ c.T
    weight = ahead = torch.zeros_like(target)
    momentum = 1.0
    for _ in range(200):
        moved = (ahead - step * ((ahead @ c) @ c.T - target + CODE)).clamp_min(0)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = moved + (momentum - 1) / following * (moved - weight)
        weight, momentum = moved, following
    return F.normalize(weight, dim=-1)


def bottleneck(task: FewShotTask, most: int, seed: int) -> list[float]:
    s = replace(BOTTLENECK, text_shares=SHARES, concepts_per_class=most)
    return best(candidates_of(task, s, seed), SHARES, most)


def rows_of(task: FewShotTask, most: int, seed: int) -> Rows:
    peers = {"Post-hoc CBM": post_hoc, "LaBo's choice": labo, "SpLiCE": splice}
    return {"CCLI": bottleneck(task, most, seed)} | {name: list(peer(task, most)) for name, peer in peers.items()}


@script
@of_cells
def main(args) -> None:
    printed = curve_table(cells(args, lambda task, seed: rows_of(task, args.most, seed)), "method")
    print(printed)
    write_table(args.to, printed)
