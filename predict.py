"""Labels for new pictures, with probabilities and reasons, by a finished run.

A run's folder is all that is needed of it. Pictures are taken one after another, in any number; one that cannot be read
is named on stderr, the others go on, and the exit status is 1.
"""

from __future__ import annotations

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

from ccli.commands.parser import Parser
from ccli.errors import CcliError
from ccli.features.decoding import shown
from ccli.features.image_folder import SUFFIXES

EXAMPLES = """
examples:
  Every picture below a folder, the likeliest label of each:
    python predict.py --model-dir output/try holiday/
  The three likeliest labels with their probabilities, as a table for other programs:
    python predict.py --model-dir output/try a.jpg b.png --top 3 --csv > labels.csv
  No label where the likeliest has a probability below 0.8:
    python predict.py --model-dir output/try holiday/ --reject 0.8
  Why: the concepts that speak for and against the label, with the training pictures behind each (runs of CCLI):
    python predict.py --model-dir output/try a.jpg --explain
  What marks a class, and what separates it from another:
    python predict.py --model-dir output/try --class "striped star"
    python predict.py --model-dir output/try --class "striped star" --against "blue cross"
  The classifier as an ONNX model, and with the image tower as another:
    python predict.py --model-dir output/try --export model.onnx

Folders are searched for .jpg, .jpeg, .png, .webp, .gif and .bmp at any depth, without
links to folders and hidden ones.
With --json a line is an object, with --csv a row; names are kept as they are there, and escaped in the plain form.
"""
BLOCK = 64  # pictures
FOR, AGAINST, KINDS = 5, 3, 4  # concepts that are listed, and kinds of them


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="predict.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="pictures, and folders of pictures")
    parser.add_argument("--model-dir", required=True, metavar="RUN", help="the output folder of a finished run")
    parser.add_argument("--top", type=_at_least_one, default=1, metavar="K", help="labels of each picture (default: 1)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--csv", action="store_true", help="comma-separated values with a header")
    parser.add_argument("--explain", action="store_true", help="the reasons for each label (not with --csv)")
    parser.add_argument("--reject", type=_share, default=0.0, metavar="P", help="no label below this probability")
    parser.add_argument("--class", dest="name", metavar="CLASS", help="in place of pictures: what marks this class")
    parser.add_argument("--against", metavar="CLASS", help="with --class: what separates it from this one")
    parser.add_argument("--export", metavar="ONNX", help="in place of pictures: write the classifier as ONNX")
    parser.add_argument("--backbone", default="", help="where the run's backbone is now, if it has moved")
    return parser


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no probability from 0 to 1")
    return value


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with an error where options are missing or do not go together."""
    tasks = [
        name for name, given in (("IMAGE", args.images), ("--class", args.name), ("--export", args.export)) if given
    ]
    if len(tasks) != 1:
        parser.error(f"give one of IMAGE, --class and --export{', not ' + ' and '.join(tasks) if tasks else ''}")
    if args.against and not args.name:
        parser.error("argument --against: needs --class")
    if args.explain and args.csv:
        parser.error("argument --explain: not allowed with --csv; use --json")


class Pictures:
    """The pictures that are named, and those below folders, by name within each folder; `problems` of folders."""

    def __init__(self, places: Sequence[str]):
        self.places, self.problems = places, 0

    def __iter__(self) -> Iterator[str]:
        for place in self.places:
            if not os.path.isdir(place):
                yield place
                continue
            count = 0
            for path in self._below(place):
                count += 1
                yield path
            if not count:
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
            elif entry.name.lower().endswith(SUFFIXES) and os.path.isfile(entry.path):  # a link to itself is no file
                yield entry.path

    def _say(self, problem: str) -> None:
        self.problems += 1
        print(f"predict.py: {problem}", file=sys.stderr)


def predictions(run: Any, paths: Iterable[str], top: int, reject: float, explain: bool) -> Iterator[dict | CcliError]:
    """For each picture {"image", "label" (None where rejected), "top": [{"label", "probability"}], "reasons"}."""
    import torch

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
            yield {"image": path, "label": label, "top": found} | ({"reasons": asdict(reasons)} if reasons else {})


def as_text(found: dict) -> str:
    """A line: picture, label, the likeliest labels with their probabilities; reasons below."""
    label = "(no label)" if found["label"] is None else shown(found["label"])
    shares = ", ".join(f"{shown(one['label'])} {one['probability']:.3f}" for one in found["top"])
    return "\n".join([f"{shown(found['image'])}\t{label}\t{shares}", *reasons_text(found.get("reasons"))])


def reasons_text(why: dict | None) -> list[str]:
    """Lines of parts that add up to the first; those of single concepts to that of all concepts."""
    if not why:
        return []
    concepts = sum(one["part"] for one in why["concepts"]) + why["others"]
    kinds = [f"{shown(kind)} {part:+.3f}" for kind, part in why["kinds"].items()]
    kinds = ", ".join(kinds[:KINDS] + ["..."] * (len(kinds) > KINDS))
    parts = [
        (why["total"], f"for {shown(why['what'])}, of which"), (why["zero_shot"], "zero-shot"),
        (why["class_texts"], "class texts"), (concepts, f"concepts ({kinds}), of which"),
    ]  # fmt: skip
    lines = [f"    {value:+8.3f}  {words}" for value, words in parts]
    for one in why["concepts"]:
        name = f"{'not ' if one['cosine'] < 0 else ''}{shown(one['concept'])}"  # it counts that the picture lacks it
        images = ", ".join(shown(os.path.join(*Path(path).parts[-2:])) for path in one["images"] if path)
        lines.append(f"        {one['part']:+8.3f}  {name}{': ' + images if images else ''}")
    lines.append(f"        {why['others']:+8.3f}  all others")
    if abs(why["constant"]) >= 5e-4:
        lines.append(f"    {why['constant']:+8.3f}  the network's constant")
    return lines


def write_all(args: argparse.Namespace, run: Any) -> int:
    """Every picture's answer on stdout, what cannot be read on stderr; how much that is."""
    table = csv.writer(sys.stdout, lineterminator="\n")
    if args.csv:
        table.writerow(["image", "label", *(f"{x}_{k + 1}" for k in range(args.top) for x in ("label", "probability"))])
    bad, count, pictures = 0, 0, Pictures(args.images)
    for found in predictions(run, _counted(pictures), args.top, args.reject, args.explain):
        count += 1
        if isinstance(found, CcliError):
            bad += 1
            print(f"predict.py: {found}", file=sys.stderr)
        elif args.json:
            print(json.dumps(found))
        elif args.csv:
            cells = [x for one in found["top"] for x in (one["label"], f"{one['probability']:.6f}")]
            table.writerow([found["image"], found["label"] or "", *cells])
        else:
            print(as_text(found))
    if bad:
        print(f"predict.py: {bad} of {count} pictures could not be read", file=sys.stderr)
    return bad + pictures.problems


def _counted(paths: Iterable[str]) -> Iterable[str]:
    """With a progress bar, where answers do not go to the same terminal."""
    from tqdm import tqdm

    return tqdm(paths, unit=" pictures", disable=True if sys.stdout.isatty() else None, leave=False)


def show_class(args: argparse.Namespace, run: Any) -> None:
    why = asdict(run.explain_class(args.name, args.against or ""))
    print(json.dumps(why) if args.json else "\n".join(reasons_text(why)))


def export(args: argparse.Namespace, run: Any) -> None:
    from ccli.inference.onnx_export import export

    found = export(run, args.export)
    for path in found.paths:
        print(path)
    print(f"checked with onnxruntime: at most {found.difference:.1e} from PyTorch")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    check(parser, args)
    try:
        import torch

        from ccli.inference.saving import load_run

        sys.stdout.reconfigure(errors="surrogateescape")  # names of files need not be text
        run = load_run(args.model_dir, "cuda" if torch.cuda.is_available() else "cpu", args.backbone)
        if args.export:
            export(args, run)
        elif args.name:
            show_class(args, run)
        else:
            return 1 if write_all(args, run) else 0
    except CcliError as error:
        print(f"predict.py: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        print(f"predict.py: error: {error.name} is not installed here; use .venv/bin/python", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
