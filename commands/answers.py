"""What a finished run says of pictures, as plain text, JSON or CSV."""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from ccli.errors import CcliError
from ccli.features.decoding import shown
from ccli.features.image_folder import SUFFIXES

BLOCK = 64  # pictures that are labelled at a time
FOR, AGAINST, KINDS, SYNONYMS = 5, 3, 4, 3  # concepts that are listed, kinds of them, and names of each
NOTHING = 5e-4  # a part below this is 0.000


class Pictures:
    """Iterate over picture files: those given, and those below folders, sorted by name within each folder.

    Folders are searched at any depth, without links to folders and hidden ones. Those that cannot be read or hold no
    picture are named on stderr and counted in `problems`.
    """

    def __init__(self, places: Sequence[str]):
        self.places, self.problems = places, 0

    def __iter__(self) -> Iterator[str]:
        for place in self.places:
            if not os.path.isdir(place):
                yield place
                continue
            path = ""
            for path in self._below(place):
                yield path
            if not path:
                self._say(f"folder {shown(place)} holds no picture ({', '.join(SUFFIXES)})")

    def _below(self, folder: str) -> Iterator[str]:
        try:
            with os.scandir(folder) as entries:
                entries = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            self._say(f"cannot list folder {shown(folder)} ({error.strerror or error})")
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(entry.path)
            elif entry.name.lower().endswith(SUFFIXES) and os.path.isfile(entry.path):  # False for a link to itself
                yield entry.path

    def _say(self, problem: str) -> None:
        self.problems += 1
        print(f"warning: {problem}", file=sys.stderr)


def load(args: argparse.Namespace) -> Any:
    """The classifier in --model-dir, on a GPU if there is one."""
    import torch

    from ccli.inference.saving import load_run

    return load_run(args.model_dir, "cuda" if torch.cuda.is_available() else "cpu", args.backbone)


def predictions(run: Any, paths: Iterable[str], top: int, reject: float, explain: bool) -> Iterator[dict | CcliError]:
    """For each picture {"image", "label" (None where rejected), "top": [{"label", "probability"}], "reasons"}.

    A picture that the run is known to have learned from has "training": true, too.
    """
    import torch

    known = {path for path in run.concepts.images if path} if run.concepts else set()
    encoded = run.encode(paths)
    while block := list(islice(encoded, BLOCK)):
        good = [feature for _, feature in block if not isinstance(feature, CcliError)]
        features = torch.stack(good) if good else torch.zeros(0, run.width)
        probabilities = torch.as_tensor(run.predict_proba(features))
        values, labels = probabilities.topk(min(top, probabilities.shape[1]), dim=1)
        why = run.explain(features, FOR, AGAINST) if explain else [None] * len(good)
        rows = zip(values.tolist(), labels.tolist(), why)
        for path, feature in block:
            if isinstance(feature, CcliError):
                yield feature
                continue
            shares, places, reasons = next(rows)
            found = [{"label": run.classnames[k], "probability": p} for k, p in zip(places, shares)]
            label = found[0]["label"] if shares[0] >= reject else None
            more = {"training": True} if os.path.abspath(path) in known else {}
            more |= {"reasons": asdict(reasons)} if reasons else {}
            yield {"image": path, "label": label, "top": found} | more


def as_text(found: dict) -> str:
    """One line: picture, label, the most likely labels with their probabilities; reasons below."""
    label = "(no label)" if found["label"] is None else shown(found["label"])
    shares = ", ".join(f"{shown(one['label'])} {one['probability']:.3f}" for one in found["top"])
    return "\n".join([f"{shown(found['image'])}\t{label}\t{shares}", *reasons_text(found.get("reasons"))])


def reasons_text(why: dict | None) -> list[str]:
    """Lines of terms that add up to the first; those of single concepts add up to that of all concepts.

    Where all concepts are listed and there is nothing but them and zero-shot, as in a sparse network, their sum and
    parts of nothing have no line.
    """
    if not why:
        return []
    few = abs(why["others"]) < NOTHING and abs(why["class_texts"]) < NOTHING
    concepts = sum(one["part"] for one in why["concepts"]) + why["others"]
    parts = [(why["total"], f"for {shown(why['what'])}, of which"), (why["zero_shot"], "zero-shot")]
    if few:
        parts = [one for one in parts if abs(one[0]) >= NOTHING]
    else:
        parts += [(why["class_texts"], "class texts"), (concepts, f"concepts ({_kinds(why['kinds'])}), of which")]
    lines = [f"    {value:+8.3f}  {words}" for value, words in parts]
    lines += [f"{'' if few else '    '}    {one['part']:+8.3f}  {_concept(one)}" for one in why["concepts"]]
    if not few:
        lines.append(f"        {why['others']:+8.3f}  all others")
    if abs(why["constant"]) >= NOTHING:
        lines.append(f"    {why['constant']:+8.3f}  the network's constant")
    return lines


def _kinds(sums: dict[str, float]) -> str:
    kinds = [f"{shown(kind)} {part:+.3f}" for kind, part in sums.items()]
    return ", ".join(kinds[:KINDS] + ["..."] * (len(kinds) > KINDS))


def _concept(one: dict) -> str:
    """A concept's title with "not" where the picture lacks it and that counts, other names, and pictures behind it."""
    name, notes = one["concept"], []
    if one["cosine"] < 0:
        like = name.removeprefix("looks like ")
        name = f"not {name}" if like == name else f"does not look like {like}"
    if also := one["synonyms"]:
        more = f" and {len(also) - SYNONYMS} more" if len(also) > SYNONYMS else ""
        notes.append(f"also: {', '.join(also[:SYNONYMS])}{more}")
    if better := one["better_names"]:
        notes.append(f"{better} other name{' fits' if better == 1 else 's fit'} better")
    images = ", ".join(shown(os.path.join(*Path(path).parts[-2:])) for path in one["images"] if path)
    return shown(name) + (f" ({shown('; '.join(notes))})" if notes else "") + (f": {images}" if images else "")


def write_all(run: Any, args: argparse.Namespace) -> int:
    """Print each picture's answer on stdout, and each that cannot be read on stderr; returns the exit status."""
    from tqdm import tqdm

    table = csv.writer(sys.stdout, lineterminator="\n")
    if args.csv:
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # for programs, whatever the terminal's is
        numbers = range(1, 1 + min(args.top, len(run.classnames)))
        heads = (f"{x}_{k}" for k in numbers for x in ("label", "probability"))
        table.writerow(["image", "label", *heads, "training"])
    bad, count, pictures = 0, 0, Pictures(args.images)
    hidden = True if sys.stdout.isatty() else None  # no bar where answers go to the same terminal
    paths = tqdm(pictures, unit=" pictures", disable=hidden, leave=False)
    for found in predictions(run, paths, args.top, args.reject, args.explain):
        count += 1
        if isinstance(found, CcliError):
            bad += 1
            print(f"warning: {found}", file=sys.stderr)
        elif args.json:
            print(json.dumps(found))
        elif args.csv:
            cells = [x for one in found["top"] for x in (one["label"], f"{one['probability']:.6f}")]
            table.writerow([found["image"], found["label"] or "", *cells, "yes" if "training" in found else ""])
        else:
            print(as_text(found))
    if bad:
        print(f"warning: {bad} of {count} pictures could not be read", file=sys.stderr)
    return 1 if bad or pictures.problems else 0
