"""A planted shortcut, seen and taken out: python -m experiments.shortcut [--seeds 1 2 3] [--to FILE.md]

Each seed takes eight classes of concept_shapes and gives each a background of its own. In the pictures to train and to
choose on, a class is always before its background; in shifted test pictures it is always before another class's. CCLI
is trained with a sparse network, and then loses the concepts that are backgrounds by what the page of report.py
--concepts shows of them: kind, name, other names (`backgrounds`). No label of a test picture is looked at.

Prints, as means and sample standard deviations over seeds, the accuracy on shifted pictures and on pictures like those
of training, and the share of the shifted pictures that are taken for the class of their background. Controls: as many
other concepts taken out at random; training anew with a vocabulary without the backgrounds; training on pictures
without the shortcut; the dense network; zero-shot. --to writes the table, and keeps what that file has from "## What
it says" on.
"""

import copy
import io
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.console import flag, script, table
from ccli.cli import run as command
from ccli.concepts.vocabulary import read_vocabulary
from ccli.datasets.scenes.classes import CLASSES
from ccli.datasets.scenes.parts import BACKGROUNDS
from ccli.datasets.scenes.render import render
from ccli.datasets.scenes.sample import class_scene
from ccli.errors import CcliError
from ccli.files.atomic import moved_into_place
from ccli.inference.classifier import Classifier
from ccli.inference.editing import without
from ccli.inference.saving import load_run
from ccli.pages.concepts.contents import SYNONYMS
from experiments.reject import of_seeds
from scripts.demo_clip.words import kinds_of_words

ROOT = Path(__file__).parents[1]
PLACES = tuple(name for name in BACKGROUNDS if name != "blank")  # one for each class
COUNTS = {"train": 16, "val": 4, "test": 60}  # pictures per class
KINDS = ("setting", "weather", "terrain")  # of text concepts, those that name what is behind a thing
RANDOM = 5  # draws of other concepts
BOTTLENECK = ("TRAINER.CCLI.CLASS_NAMES", "False", "TRAINER.CCLI.REPRESENTATION", "cosine")
FORMS = {  # name -> (yaml, options)
    "sparse, with class names": ("demo_clip", ()),
    "sparse, concepts alone, 5 per class": ("demo_clip", (*BOTTLENECK, "PROTOCOL", "fixed")),
    "sparse, text side of concepts alone, 5 per class": (
        "demo_clip",
        (*BOTTLENECK, "PROTOCOL", "fixed", "TRAINER.CCLI.TEXT_SHARE", "1.0"),
    ),
    "sparse, concepts alone, their number chosen": ("demo_clip", BOTTLENECK),
    "dense": ("demo_clip_dense", ()),
}
HEADS = ("form", "concepts", "shifted", "like training", "taken for the background's class", "taken out", "of classes")
SAYS = "## What it says"


class Pictures(NamedTuple):
    """Test pictures of a seed: features [n, D], labels [n], and the class whose background each has [n]."""

    features: torch.Tensor
    labels: torch.Tensor
    behind: torch.Tensor


class Found(NamedTuple):
    """Of one classifier, in percent; counts are of the concepts that it has lost, and of the classes that had them."""

    shifted: float
    like_training: float
    misled: float
    concepts: float = float("nan")
    classes: float = float("nan")


def draw(folder: Path, seed: int, counts: dict[str, int]) -> None:
    """Draw shortcut/{train,val,test}, free/{train,val,test} and like_training/CLASS, unless they are there.

    A picture's file name begins with its background.
    """
    if folder.is_dir():
        return
    scratch, rng = folder.with_name(f".{folder.name}.part"), np.random.default_rng(seed)
    shutil.rmtree(scratch, ignore_errors=True)
    names = [tuple(CLASSES)[k] for k in rng.permutation(len(CLASSES))[: len(PLACES)]]
    own = {name: PLACES[k] for name, k in zip(names, rng.permutation(len(PLACES)))}
    for name in names:
        mine, others = [own[name]], [place for place in PLACES if place != own[name]]
        for part, count in counts.items():
            shortcut, free = (others, others) if part == "test" else (mine, PLACES)
            _draw_class(scratch / "shortcut" / part / name, name, shortcut, count, rng)
            _draw_class(scratch / "free" / part / name, name, free, 1 if part == "test" else count, rng)
        _draw_class(scratch / "like_training" / name, name, mine, counts["test"], rng)
    scratch.rename(folder)


def _draw_class(folder: Path, name: str, places: Sequence[str], count: int, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for k in range(count):
        place = places[rng.integers(len(places))]
        scene = replace(class_scene(CLASSES[name], rng), background=place)
        render(scene, rng).save(folder / f"{place}_{k:03d}.png", compress_level=1)


def train(folder: Path, data: Path, form: str, seed: int, *options: str) -> Path:
    """The folder of a run on all training pictures, made unless it is there."""
    (yaml, more), shots = FORMS[form], len(list(next((data / "train").iterdir()).iterdir()))
    argv = [
        *("--root", data, "--trainer", "CCLI", "--output-dir", folder, "--seed", seed),
        *("--dataset-config-file", ROOT / "configs/datasets/folder.yaml"),
        *("--config-file", ROOT / f"configs/trainers/CCLI/{yaml}.yaml", "DATASET.NUM_SHOTS", shots, *more, *options),
    ]  # fmt: skip
    said = io.StringIO()
    if not (folder / "result.json").exists():
        with redirect_stdout(said), redirect_stderr(said):
            status = command("train", "train", [str(word) for word in argv])
        if status:
            raise CcliError(f"training failed: {said.getvalue().strip().splitlines()[-1]}")
    return folder


def pictures(run: Classifier, folder: Path, own: dict[str, int]) -> Pictures:
    paths = [(path, label) for label, name in enumerate(run.classnames) for path in sorted((folder / name).iterdir())]
    behind = [own[path.name.partition("_")[0]] for path, _ in paths]
    features = run.features([path for path, _ in paths])
    return Pictures(features, torch.tensor([label for _, label in paths]), torch.tensor(behind))


def tested(run: Classifier, shifted: Pictures, like: Pictures, lost: Sequence[int] = (), of: int = 0) -> Found:
    answers, others = (run.logits(one.features).argmax(1) for one in (shifted, like))
    pairs = (answers == shifted.labels, others == like.labels, answers == shifted.behind)
    counts = (len(lost), of) if lost else ()
    return Found(*(100 * float(one.float().mean()) for one in pairs), *map(float, counts))


def backgrounds(run: Classifier) -> list[str]:
    """The names of the concepts that are backgrounds by what the page shows: their kind, their name, or another name.

    The first few other names are shown, and as background counts what is behind things in these pictures.
    """
    c, words = run.concepts, {word for word, kind in kinds_of_words().items() if kind == "background"}
    shown = [(name, *synonyms[:SYNONYMS]) for name, synonyms in zip(c.names, c.synonyms)]
    found = (names[0] for names, kind in zip(shown, c.kinds) if kind in KINDS or not words.isdisjoint(names))
    return list(dict.fromkeys(found))


def rows_of(run: Classifier, names: Iterable[str]) -> list[int]:
    names = set(names)
    return [k for k, name in enumerate(run.concepts.names) if name in names]


def at_random(run: Classifier, names: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Names of about as many other concepts as have these names."""
    count, found = len(rows_of(run, names)), []
    for name in rng.permutation(sorted(set(run.concepts.names) - set(names))).tolist():
        if len(rows_of(run, found)) < count:
            found.append(name)
    return found


def vocabulary_without(run: Classifier, names: Sequence[str], path: Path) -> Path:
    """A vocabulary without these concepts, all that they are also called, and the kinds that name backgrounds."""
    entries, c = read_vocabulary(None), run.concepts
    gone = {name for k in rows_of(run, names) for name in (c.names[k], *c.synonyms[k])}
    kinds = dict.fromkeys(kind for kind in entries.kinds if kind not in KINDS)
    pairs = list(zip(entries.names, entries.kinds))
    lines = [x for k in kinds for x in (f"[{k}]", *(name for name, kind in pairs if kind == k and name not in gone))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def of_seed(folder: Path, seed: int, counts: dict[str, int]) -> dict[tuple[str, str], Found]:
    """(form, which concepts) -> what was found with one draw of classes, backgrounds and pictures."""
    data, found = folder / "pictures", {}
    draw(data, seed, counts)
    for form in FORMS:
        run = load_run(train(folder / slug(form), data / "shortcut", form, seed))
        if not found:
            own = {path.name.partition("_")[0]: run.label(path.parent.name) for path in data.glob("shortcut/train/*/*")}
            test = tuple(pictures(run, data / name, own) for name in ("shortcut/test", "like_training"))
        found[form, "as trained"] = tested(run, *test)
        if run.sparse:
            found |= edited(folder, form, seed, run, test)
        free = load_run(train(folder / f"{slug(form)}_free", data / "free", form, seed))
        found[form, "trained without the shortcut"] = tested(free, *test)
    alone = copy.deepcopy(run.head)
    alone.alpha.zero_()
    found["zero-shot", ""] = tested(replace(run, head=alone), *test)
    return found


def slug(form: str) -> str:
    return form.replace(",", "").replace(" ", "_")


def edited(
    folder: Path, form: str, seed: int, run: Classifier, test: tuple[Pictures, Pictures]
) -> dict[tuple[str, str], Found]:
    """The same of a sparse form that has lost concepts."""
    names, rng = backgrounds(run), np.random.default_rng(seed)
    rows = rows_of(run, names)
    classes = int((run.head.network.weight[:, rows] != 0).any(1).sum())
    others = [tested(without(run, at_random(run, names, rng)), *test) for _ in range(RANDOM)]
    words = vocabulary_without(run, names, folder / f"{slug(form)}.txt")
    options = ("FEATURES.VOCABULARY", str(words))
    anew = load_run(train(folder / f"{slug(form)}_anew", folder / "pictures/shortcut", form, seed, *options))
    return {
        (form, "backgrounds taken out"): tested(without(run, names), *test, rows, classes),
        (form, "as many others taken out"): Found(*np.mean([one[:3] for one in others], axis=0)),
        (form, "trained anew without backgrounds"): tested(anew, *test),
    }


def report(found: Sequence[dict[tuple[str, str], Found]]) -> str:
    """A line for each form and each set of concepts: mean and deviation over seeds."""
    columns: dict[tuple[str, str], list[Found]] = defaultdict(list)
    for one in found:
        for key, values in one.items():
            columns[key].append(values)
    return table([[*key, *(of_seeds(one, 1) for one in zip(*rows))] for key, rows in columns.items()], HEADS)


def page(path: Path, said: str, seeds: Sequence[int]) -> None:
    """Write the table, before what a person has written below it."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _, mark, below = text.partition(SAYS)
    counts = f"{len(PLACES)} classes, {COUNTS['train']} shots and {COUNTS['val']} validation pictures per class"
    line = f"python -m experiments.shortcut --seeds {' '.join(map(str, seeds))} --to {path}"
    head = f"# A planted shortcut\n\n```bash\n{line}\n```"
    about = (
        f"{counts}, {COUNTS['test']} test pictures per class of either kind; in percent, mean ± standard deviation "
        f"over {len(seeds)} seeds, each with its own classes, backgrounds and pictures."
    )
    with moved_into_place(path) as scratch:
        scratch.write_text(f"{head}\n\n{about}\n\n{said}\n" + (f"\n{mark}{below}" if mark else ""), encoding="utf-8")


@script
@flag("--seeds", nargs="+", type=int, default=[1, 2, 3])
@flag("--folder", type=Path, help="keep pictures and runs here (default: a temporary folder)")
@flag("--to", type=Path, metavar="FILE", help="a markdown file with the table")
def main(args) -> None:
    folder = args.folder or args.scratch
    found = [of_seed(folder / f"seed{seed}", seed, COUNTS) for seed in args.seeds]
    said = report(found)
    print(said)
    if args.to:
        page(args.to, said, args.seeds)
