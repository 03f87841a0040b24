"""Whether two checkouts give the same numbers.

    python scripts/same_numbers.py collect CHECKOUT OUT --data DATA [--bundle NPZ]
    python scripts/same_numbers.py compare OUT_A OUT_B

`collect` runs a checkout's own sweep.py and estimator, one thread each, and keeps their answers as OUT/numbers.json:
the records of all trainers on concept_shapes at 1 and 16 shots with an evaluation on a shifted set, on a bundle at 4
shots and on a folder of pictures, and digests of the estimator's probabilities on both.
`compare` lists every field that differs, without seconds and versions. Give both checkouts the same DATA; each has a
store of its own.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

TRAINERS = (
    *("ZeroshotCLIP", "LinearProbe", "CLIPAdapter", "TipAdapter", "TipAdapterF", "TaskRes", "LPPlusPlus", "GDA"),
    *("CoOp", "CCLI"),
)
ASIDE = ("seconds", "versions", "batched", "digest", "run")  # `run` is a digest of the run's whole record
ESTIMATOR = """
import hashlib, sys
from pathlib import Path
import numpy as np
from ccli import CCLIClassifier
pictures, bundle = sys.argv[1:]
paths = sorted(Path(pictures).glob("train/*/*.png"))
names = [path.parent.name for path in paths]
tests = sorted(Path(pictures).glob("test/*/*.png"))
model = CCLIClassifier(backbone="demo-clip").fit(paths, names)
found = [model.predict_proba(tests)]
truth = [path.parent.name for path in tests]
print("pictures accuracy", float(np.mean(model.predict(tests) == np.array(truth))), file=sys.stderr)
if bundle:
    with np.load(bundle) as data:
        x, y = data["train_features"].astype("float32"), data["train_labels"]
        kept = np.concatenate([np.flatnonzero(y == label)[:4] for label in np.unique(y)])
        model = CCLIClassifier(
            class_texts=data["text_features"].astype("float32"), concepts=list(map(str, data["concepts"])),
            concept_features=data["concept_features"].astype("float32"),
        ).fit(x[kept], y[kept])
        found.append(model.predict_proba(data["test_features"].astype("float32")))
for x in found:
    print(hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest(), x.shape)
"""


def collect(checkout: Path, out: Path, data: Path, bundle: str) -> None:
    """Raises CalledProcessError where a command of the checkout fails."""
    out.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"CCLI_STORE": str(out / "store"), "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    python = str(checkout / ".venv/bin/python")

    def sweep(*words: str) -> None:
        command = [
            python,
            "sweep.py",
            "--root",
            str(data),
            "--output",
            str(out / "runs"),
            "--seeds",
            "1",
            "--jobs",
            "2",
        ]
        subprocess.run([*command, *words], cwd=checkout, env=environment, check=True)

    sweep(
        "--datasets", "concept_shapes", "--trainers", *TRAINERS, "--shots", "1", "16", "--targets", "concept_shapes_r"
    )
    pictures = picture_folder(data)
    if bundle:
        sweep("--datasets", bundle, "--trainers", *(t for t in TRAINERS if t != "CoOp"), "--shots", "4")
    sweep(
        "--datasets",
        str(pictures),
        "--trainers",
        "CCLI",
        "ZeroshotCLIP",
        "TaskRes",
        "--shots",
        "4",
        "--cfg",
        "demo_clip",
    )
    asked = subprocess.run(
        [python, "-c", ESTIMATOR, str(pictures), bundle],
        cwd=checkout,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    print(asked.stderr.strip().splitlines()[-1])
    numbers = {"estimator": dict(enumerate(asked.stdout.splitlines()))}
    for path in sorted((out / "runs").rglob("result.json")):
        record = json.loads(path.read_text())
        numbers[str(path.parent.relative_to(out / "runs"))] = dict(leaves(record))
    (out / "numbers.json").write_text(json.dumps(numbers))
    print(
        f"{len(numbers) - 1} records and {len(numbers['estimator'])} arrays of probabilities in {out / 'numbers.json'}"
    )


def picture_folder(data: Path) -> Path:
    """Some of concept_shapes' pictures as a folder of one's own."""
    folder, source = data / "own_pictures", data / "concept_shapes/images"
    if not folder.exists():
        for part, count in (("train", 6), ("test", 10)):
            for place in sorted((source / part).iterdir())[:8]:
                (folder / part / place.name).mkdir(parents=True)
                for path in sorted(place.iterdir())[:count]:
                    shutil.copy2(path, folder / part / place.name)
    return folder


def leaves(node: dict, prefix: str = ""):
    for key, value in node.items():
        if prefix or key not in ASIDE:
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                text = json.dumps(value)
                short = text if len(text) < 200 else hashlib.sha256(text.encode()).hexdigest()
                yield f"{prefix}{key}", short


def compare(a: Path, b: Path) -> int:
    """How many fields differ; each is printed."""
    first, second = (json.loads((folder / "numbers.json").read_text()) for folder in (a, b))
    differing = fields = 0
    for name in sorted(first.keys() | second.keys()):
        one, other = first.get(name, {}), second.get(name, {})
        for key in sorted(one.keys() | other.keys()):
            fields += 1
            if one.get(key) != other.get(key):
                differing += 1
                print(f"{name}: {key}: {one.get(key)} and {other.get(key)}")
    print(f"{len(first)} and {len(second)} entries, {fields} fields, {differing} differ")
    return differing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    collected = commands.add_parser("collect")
    collected.add_argument("checkout", type=Path)
    collected.add_argument("out", type=Path)
    collected.add_argument("--data", type=Path, required=True)
    collected.add_argument("--bundle", default="", help="a feature bundle (.npz)")
    compared = commands.add_parser("compare")
    compared.add_argument("a", type=Path)
    compared.add_argument("b", type=Path)
    args = parser.parse_args()
    if args.command == "compare":
        return 1 if compare(args.a, args.b) else 0
    collect(args.checkout.absolute(), args.out.absolute(), args.data.absolute(), args.bundle)
    return 0


if __name__ == "__main__":
    sys.exit(main())
