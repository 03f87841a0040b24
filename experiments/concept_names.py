"""Whether "looks like ..." tells true names from false ones: python -m experiments.concept_names --to FILE

On concept_shapes, whose pictures have known parts. For each text concept that names a part, the mean of its best images
is compared with all other texts; how many fit better than its own name, or were merged into it and fit as well, decides
whether the page claims the name or says "looks like NAME". Prints, for ranges of that number, how many concepts there
are, the share of their images that hold the part, and the share of all training images that do (chance).
"""

from pathlib import Path

import torch

from benchmarks.console import flag, script, table, write_table
from ccli.concepts.candidates import candidates, centred_images, name_ranks, text_concepts
from ccli.concepts.gallery import NAMED
from experiments.concept_quality import _words
from experiments.curves import trainer_of
from scripts.demo_clip.words import kinds_of_words

RANGES = ((0, 1), (1, NAMED), (NAMED, 10), (10, 30), (30, 10_000))


def found(shots: int, seed: int, share: float, root: str) -> list[tuple[int, float, float]]:
    """(rank of the name, share of its images that hold the part, chance) of each concept that names a part."""
    trainer = trainer_of("concept_shapes", shots, seed, root)
    task, parts = trainer.make_task(), kinds_of_words()
    truth = [_words(Path(item.impath)) for item in trainer.dm.dataset.train_x]
    text, x = text_concepts(task, False), centred_images(task)
    these = candidates("visual", text, task, share, (3,), seed)
    means = torch.stack([x[rows].mean(0) for rows in these.picks])
    rows = []
    ranks = name_ranks(text.features, means, text.features).tolist()
    for name, rank, others, picks in zip(text.names, ranks, text.synonyms, these.picks):
        holds = [name in words for words in truth]
        if name in parts and 0 < sum(holds) < len(holds):
            rows.append((rank + len(others), sum(holds[k] for k in picks) / len(picks), sum(holds) / len(holds)))
    return rows


@script
@flag("--shots", type=int, default=16)
@flag("--seeds", nargs="+", type=int, default=list(range(1, 11)))
@flag("--share", type=float, default=0.67, help="of the text in the concepts")
@flag("--root", default="data", help="where concept_shapes is drawn")
@flag("--to", type=Path, metavar="FILE", help="the table as markdown")
def main(args) -> None:
    every = [one for seed in args.seeds for one in found(args.shots, seed, args.share, args.root)]
    lines = []
    for low, high in (*RANGES, (0, NAMED), (NAMED, 10_000)):
        some = [one for one in every if low <= one[0] < high]
        if some:
            _, precision, chance = (100 * sum(values) / len(some) for values in zip(*some))
            said = "the name" if high <= NAMED else "looks like the name"
            lines.append([f"{low} to {high - 1}", said, str(len(some)), f"{precision:.0f}", f"{chance:.0f}"])
    printed = table(
        lines, ["texts that fit as well", "the page says", "concepts", "images with the part, %", "chance, %"]
    )
    print(printed)
    write_table(args.to, printed)
