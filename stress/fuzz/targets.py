"""The readers that are fuzzed: how a good file of each is damaged, and how the values that it reads are used."""

import contextlib
import io
import json
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.processes import ROOT
from ccli.commands.logs import print_means
from ccli.concepts.vocabulary import PACKAGED_FILE, fingerprint, read_vocabulary, without_class_names
from ccli.datasets.common.folder_classes import read_classes
from ccli.datasets.common.splits import read_split
from ccli.features import bundles, lazy_rows
from ccli.results.records import RECORD, leaves, read_record, same_record, write_record
from ccli.results.records import fingerprint as record_fingerprint
from ccli.results.schema import FIELDS, VERSION
from ccli.results.table_formats import FORMATS, render
from ccli.results.tables import build_table
from ccli.sweeps.config import setup_cfg
from ccli.sweeps.run import arguments
from stress.fuzz.archives import bomb, damage_archive
from stress.fuzz.mutations import damage_bytes, damage_json


class Target:
    """A reader, and how its files are damaged: a subclass has `damaged(rng)`, the content of one, or its own `damage`.

    It also has `read`, which reads what `damage` wrote. Only CcliError may leave it.
    """

    name = ""  # of the file that is damaged

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / self.name

    def damage(self, rng: Random) -> None:
        """Write a damaged file into the folder."""
        self.path.write_bytes(self.damaged(rng))


def small_arrays() -> dict[str, np.ndarray]:
    """A bundle's arrays."""
    rng = np.random.default_rng(0)

    def rows(count: int) -> np.ndarray:
        return rng.standard_normal((count, 5)).astype(np.float16)

    return {
        "classnames": np.array(["cat", "dog", "é🐈"]), "text_features": rows(3),
        "text_norms": np.full(3, 8, np.float32), "logit_scale": np.array(100, np.float32), "train_features": rows(6),
        "train_labels": np.arange(6) % 3, "val_features": rows(3), "val_labels": np.arange(3),
        "test_features": rows(6), "test_labels": np.arange(6) % 3, "concepts": np.array(["fur", "tail"]),
        "concept_features": rows(2), "more": rows(2),
    }  # fmt: skip


class BundleReader(Target):
    """ccli.features.bundles.read_bundle, with features in memory and left in the file."""

    name = "bundle.npz"

    def damaged(self, rng: Random) -> bytes:
        self.on_disk = rng.randrange(2) == 0
        return bomb(rng) if rng.randrange(100) == 0 else damage_archive(rng, small_arrays())

    def read(self) -> None:
        before, lazy_rows.LARGE = lazy_rows.LARGE, 16 if self.on_disk else lazy_rows.LARGE
        try:
            bundle = bundles.read_bundle(self.path, on_disk=self.on_disk)
            bundle.test.features[:].sum()
        finally:
            lazy_rows.LARGE = before


class SplitReader(Target):
    """ccli.datasets.common.splits.read_split, which reads Folder's own splits, too."""

    name = "split.json"

    def damaged(self, rng: Random) -> bytes:
        items = [[f"{name}/{k}.jpg", label, name] for label, name in enumerate(("cat", "dog", "é")) for k in range(3)]
        return damage_json(rng, {"train": items, "val": items[:4], "test": items[2:]})

    def read(self) -> None:
        json.dumps(read_split(self.path), ensure_ascii=False).encode()


class RecordReader(Target):
    """ccli.results.records.read_record, and tables of the records that it accepts."""

    name = RECORD

    def __init__(self, folder: Path):
        super().__init__(folder)
        config = {"SEED": 1, "OPTIM": {"LR": 0.1}, "FEATURES": {"CROP": [0.5, 1.0]}}
        values = dict(
            version=VERSION, dataset="dtd", trainer="CCLI", cfg="rn50", backbone="RN50", shots=4, seed=1,
            protocol="validation", selected_by="validation", correct=2, total=3, accuracy=200 / 3,
            per_class=[{"name": "cat", "correct": 1, "total": 2}, {"name": "é", "correct": 1, "total": 1}],
            predictions=[0, 1, 1], labels=[0, 0, 1], hyper_parameters={"alpha": 1.0}, seconds={"fit": 0.5},
            versions={"torch": "2"}, config=config, run="0" * 16, trained_on="sun397",
            calibration={"temperature": 1.0, "fitted_on": "validation", "ece": 0.1, "ece_uncalibrated": 0.2},
        )  # fmt: skip
        assert set(FIELDS) <= values.keys()
        self.sealed = write_record(folder, values).read_bytes()
        self.record = values

    def damaged(self, rng: Random) -> bytes:
        return damage_bytes(rng, self.sealed) if rng.randrange(5) == 0 else damage_json(rng, self.record)

    def read(self) -> None:
        record = read_record(self.folder)
        record_fingerprint(record), same_record(record, self.record)
        for name in FORMATS:
            render(build_table([record]), name).encode(errors="backslashreplace")  # as parse_test_res.py prints it


def growing(brackets: str) -> str:
    """A short yaml of lists or dicts whose aliases stand for 9^9 of them."""
    lines, inside = [], ["0"] * 9
    for name in "abcdefghi":
        inside = inside if brackets == "[]" else [f"{key}: {value}" for key, value in zip("pqrstuvwx", inside)]
        lines.append(f"{name}: &{name} {brackets[0]}{', '.join(inside)}{brackets[1]}\n")
        inside = [f"*{name}"] * 9
    return "".join(lines)


class ConfigMerge(Target):
    """train.py's setup_cfg on a yaml and KEY VALUE pairs, a trainer's check_cfg, and the record's form of it."""

    name = "damaged.yaml"

    VALUES = (
        "1", "-1", "0", "0.5", "1e999", "nan", "None", "True", "()", "(1,)", "('a', 2)", "[]", "{}", "'", '"a', "((",
        "(" * 300, "[" * 100_000, "-" * 5000 + "1", "9" * 5000, "1_0", "0x1f", "1j", "...", "\0", "", "x" * 3000,
        "lambda: 0", "__import__('os')", "é", "\ud800", "{1: 2}", "{[]: 1}", "b'a'", "1 if 1 else 2", "a\nb",
    )  # fmt: skip

    def __init__(self, folder: Path):
        super().__init__(folder)
        from dassl.engine import TRAINER_REGISTRY

        cfg = setup_cfg(arguments([]))
        self.known = [key for key, _ in leaves(cfg)]
        self.plain = json.loads(json.dumps(cfg))
        names = [name for name in TRAINER_REGISTRY.registered_names() if name != "CoOp"]  # CoOp opens its model
        self.trainers = [TRAINER_REGISTRY.get(name) for name in names]
        self.yamls = [path.read_bytes() for path in sorted((ROOT / "configs").rglob("*.yaml"))]

    def damaged(self, rng: Random) -> bytes:
        self.trainer = rng.choice(self.trainers)
        self.argv = ["--trainer", self.trainer.__name__]
        if rng.randrange(3):
            self.argv += ["--config-file", str(self.path)]
        for _ in range(rng.randrange(4)):
            key = rng.choice(self.known)
            if rng.randrange(20) == 0:
                key = rng.choice((key.lower(), key + ".X", key.rpartition(".")[0], "", "\ud800", "__class__"))
            self.argv += [key, rng.choice(self.VALUES)]
        kind = rng.randrange(10)
        if kind == 0:
            return rng.choice((growing("[]"), growing("{}"), "a: &a [*a]", "SEED: &a {x: *a}")).encode()
        return damage_bytes(rng, rng.choice(self.yamls)) if kind < 5 else damage_json(rng, self.plain)

    def read(self) -> None:
        from ccli.trainers.common.options import plain_config

        cfg = setup_cfg(arguments(["--seed", "1", *self.argv]))
        object.__new__(self.trainer).check_cfg(cfg)
        json.dumps(plain_config(cfg))


class LogParser(Target):
    """parse_test_res.py on the logs of an experiment."""

    TRAINED = b"epoch [1/2] batch [1/2] loss 0.5\nFinish training\nDeploy the last-epoch model\n"
    TESTED = b"=> result\n* total: 2,400\n* correct: 1,983\n* accuracy: 82.6%\n* error: 17.4%\n* macro_f1: 82.5%\n"

    def __init__(self, folder: Path):
        super().__init__(folder)
        for seed in (1, 2):
            (folder / "logs" / f"seed{seed}").mkdir(parents=True, exist_ok=True)

    def damage(self, rng: Random) -> None:
        for seed in (1, 2):
            content = (self.TRAINED + self.TESTED) * rng.choice((1, 1, 2))
            if seed == 1 or rng.randrange(2):
                content = damage_bytes(rng, content)
            (self.folder / "logs" / f"seed{seed}" / "log.txt").write_bytes(content)
        self.options = rng.choice(({}, {"ci95": True}, {"tested": True}, {"keyword": "macro_f1"}, {"keyword": "(["}))

    def read(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
            print_means(str(self.folder / "logs"), **self.options)
        said = out.getvalue()
        said.encode()
        if "nan%" in said or "inf%" in said:
            raise ValueError(f"a mean that is no number: {said}")


class ClassesReader(Target):
    """classes.json of a folder of images."""

    name = "classes.json"

    def damaged(self, rng: Random) -> bytes:
        given = {"names": {"cat": "a cat", "dog": "é"}, "templates": ["a photo of a {}.", "{} here"]}
        return damage_json(rng, given)

    def read(self) -> None:
        names, templates = read_classes(self.folder, ["cat", "dog", "x_y"])
        for template in templates:
            [template.format(name).encode() for name in names]


class VocabularyReader(Target):
    """A file of text concepts."""

    name = "words.txt"

    def damaged(self, rng: Random) -> bytes:
        lines = PACKAGED_FILE.read_bytes().splitlines(keepends=True)
        start = rng.randrange(len(lines))
        return damage_bytes(rng, b"".join(lines[start : start + 20]))

    def read(self) -> None:
        fingerprint(without_class_names(read_vocabulary(self.path), ["cat", "wing"])[0])


READERS: dict[str, type[Target]] = {
    "bundle": BundleReader, "split": SplitReader, "config": ConfigMerge, "log": LogParser, "record": RecordReader,
    "classes": ClassesReader, "vocabulary": VocabularyReader,
}  # fmt: skip
