"""Whether concepts find the parts that they name: python -m experiments.concept_quality RUN [RUN ...] [--to FILE.md]

For each vocabulary entry that names a part of concept_shapes' images (main object, background, light or style), the
share of its top-K images that hold that part (precision at K), against chance, the share of all training images that
do. RUNs are folders of CCLI's runs on concept_shapes (SOURCE visual), of any seeds; K is each run's TOP_K. Prints a
mean for each kind of part; --to writes every entry.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.console import flag, script, table
from ccli.datasets.concept_shapes import ConceptShapes
from ccli.errors import CcliError
from ccli.files.atomic import write_whole
from ccli.inference.saving import load_run
from ccli.results.records import read_record
from scripts.demo_clip.words import kinds_of_words, words_of_images


class Found(NamedTuple):
    """One entry in one run."""

    entry: str
    top_k: int
    precision: float  # share of the top-K images that hold the part
    chance: float  # share of all training images that do


def quality(folder: Path) -> list[Found]:
    """Every entry that names a part which some training images of this run hold and others do not."""
    record = read_record(folder)
    if record["dataset"] != "concept_shapes":
        raise CcliError(f"{folder} is a run on {record['dataset']}; only concept_shapes' images have known parts")
    concepts = load_run(folder).concepts
    truth, behind = [_words(Path(path)) for path in concepts.images], dict(zip(concepts.names, concepts.picks))
    found = []
    for entry in kinds_of_words():
        holds = [entry in words for words in truth]
        picks = behind.get(entry)
        if picks and 0 < sum(holds) < len(holds):
            found.append(Found(entry, len(picks), sum(holds[k] for k in picks) / len(picks), sum(holds) / len(holds)))
    return found


def _words(path: Path) -> frozenset[str]:
    return words_of_images(path.parent.name.replace("_", " "), ConceptShapes.counts["train"])[int(path.stem)]


def summary(found: Sequence[Found]) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """(heads, a row for each kind and all, a row for each entry): mean precision at each K, and chance, in percent."""
    kinds, ks = kinds_of_words(), sorted({one.top_k for one in found})
    of_kind, of_entry = defaultdict(list), defaultdict(list)
    for one in found:
        of_entry[kinds[one.entry], one.entry].append(one)
        for kind in (kinds[one.entry], "all"):
            of_kind[kind].append(one)

    def row(several: Sequence[Found]) -> list[str]:
        at = [[one.precision for one in several if one.top_k == k] for k in ks]
        chance = sum(one.chance for one in several) / len(several)
        return [f"{100 * sum(values) / len(values):.0f}" if values else "-" for values in at] + [f"{100 * chance:.0f}"]

    order = [*dict.fromkeys(kinds.values()), "all"]
    rows = [[k, str(len({one.entry for one in of_kind[k]})), *row(of_kind[k])] for k in order if k in of_kind]
    entries = [[*key, *row(several)] for key, several in of_entry.items()]
    return [*(f"K = {k}" for k in ks), "chance"], rows, entries


@script
@flag("runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished run of CCLI")
@flag("--to", type=Path, metavar="FILE", help="a markdown table of every entry")
def main(args) -> None:
    heads, rows, entries = summary([one for folder in args.runs for one in quality(folder)])
    print(table(rows, ["part", "entries", *heads]))
    if args.to:
        write_whole(args.to, table(entries, ["part", "entry", *heads]) + "\n")
