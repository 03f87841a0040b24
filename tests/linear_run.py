"""A run whose every part is known by hand, and the page about it."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from helpers import unit_rows
from PIL import Image

from ccli.concepts.gallery import Concepts
from ccli.inference.explanations import Parts
from ccli.pages.concepts import render_concepts
from ccli.pages.concepts.contents import contents_of


class LinearRun:
    """What `load_run` gives, with logits that are linear in features: each part is known by hand.

    logits_n = 2 f . w_n  +  sum_m A_nm f . w_m  +  sum_i B_ni f . c_i  -  d_n
    """

    method, temperature, sparse = "CCLI", 2.0, False

    def __init__(self, folder=None, classes=4, concepts=12, width=16, shots=3, tests=8, names=None, concept_names=None):
        self.classnames = tuple(names or (f"class {k}" for k in range(classes)))
        classes, self.w = len(self.classnames), unit_rows(len(self.classnames), width, seed=1)
        names = tuple(concept_names or (f"concept {k}" for k in range(concepts)))
        self.c, self.a = unit_rows(len(names), width, seed=2), 0.1 * unit_rows(classes, classes, seed=3)
        self.b, self.d = 0.3 * unit_rows(classes, len(names), seed=4), torch.arange(classes) / 10
        self.prototypes = unit_rows(classes, width, seed=5)
        labels = [k for k in range(classes) for _ in range(shots)]
        images = [drawn(folder, f"train{row}", label) for row, label in enumerate(labels)]
        picks = [[(3 * k + j) % len(labels) for j in range(3)] for k in range(len(names))]
        kinds = tuple(("colour", "part", "<b>kind</b>")[k % 3] for k in range(len(names)))
        distinctive = torch.linspace(0.1, 0.9, len(names))
        self.concepts = Concepts(names, kinds, self.c, distinctive, picks, images, labels)
        features = unit_rows(tests, width, seed=6)
        predictions = self.logits(features).argmax(1).tolist()
        truth = [p if k % 2 else (p + 1) % classes for k, p in enumerate(predictions)]
        order = sorted(range(tests), key=lambda k: truth[k] == predictions[k])
        self.examples = SimpleNamespace(
            paths=[drawn(folder, f"test{k}", truth[k]) for k in order], labels=[truth[k] for k in order],
            predictions=[predictions[k] for k in order], features=features[order],
        )  # fmt: skip

    def logits(self, f):
        return 2 * f @ self.w.T + f @ self.w.T @ self.a.T + f @ self.c.T @ self.b.T - self.d

    def explain_features(self, f, direction):
        zero_shot = (2 * f @ self.w.T * direction).sum(1)
        class_texts, concepts = f @ self.w.T * (direction @ self.a), f @ self.c.T * (direction @ self.b)
        constant = -direction @ self.d
        total = zero_shot + class_texts.sum(1) + concepts.sum(1) + constant
        columns = (total, zero_shot, class_texts, concepts, constant, f @ self.c.T)
        return Parts(*(column.double() for column in columns))


class SparseRun(LinearRun):
    """The same with three concepts per class and nothing else beside zero-shot; every other name is doubtful."""

    sparse = True

    def __init__(self, folder=None, **sizes):
        super().__init__(folder, **sizes)
        self.a, self.d = 0 * self.a, 0 * self.d
        chosen = unit_rows(*self.b.shape, seed=7).abs().topk(3, dim=1).indices
        self.b = torch.zeros_like(self.b).scatter_(1, chosen, self.b.gather(1, chosen))
        ranks = [k % 4 * 5 for k in range(len(self.c))]
        synonyms = [[f"synonym {j} of {k}" for j in range(k % 6)] for k in range(len(self.c))]
        self.concepts = replace(self.concepts, ranks=ranks, synonyms=synonyms)


def drawn(folder, name, label):
    """A picture of two colours as a file; "" where there is no folder for it."""
    if folder is None:
        return ""
    folder.mkdir(exist_ok=True)
    image = Image.new("RGB", (120, 90), [(200, 40, 40), (40, 160, 60), (40, 60, 200), (220, 200, 40)][label % 4])
    image.paste((250, 250, 250), (30, 20, 70 + label % 4 * 10, 70))
    image.save(folder / f"{name}.png")
    return folder / f"{name}.png"


def record_of(run, **fields):
    """The record that belongs to it: its kept test images are all there are."""
    labels, predictions = run.examples.labels, run.examples.predictions
    right = [a == b for a, b in zip(labels, predictions)]
    per_class = [
        {"name": n, "correct": sum(r for r, t in zip(right, labels) if t == k), "total": labels.count(k)}
        for k, n in enumerate(run.classnames)
    ]
    return {
        "dataset": "dtd", "backbone": "RN50", "shots": 16, "seed": 1, "labels": labels, "predictions": predictions,
        "correct": sum(right), "total": len(right), "accuracy": 100 * sum(right) / len(right), "per_class": per_class,
    } | fields  # fmt: skip


def made(run, **fields):
    return contents_of(run, record_of(run, **fields))


def page_of(tmp_path, run, **fields):
    (tmp_path / "page.html").write_text(render_concepts(made(run, **fields)), encoding="utf-8")
    return tmp_path / "page.html"


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page)[1])


def near(value, expected):
    assert value == pytest.approx(float(expected), rel=1e-4, abs=1e-6)


def adds_up(parts):
    """Each has five digits, so that the sum is as exact as the largest of them."""
    values = [*(parts[name] for name in ("zero_shot", "class_texts", "constant")), parts["others"][1]]
    values += [value for _, value in parts["concepts"]]
    assert sum(values) == pytest.approx(parts["total"], abs=5e-5 * sum(map(abs, [*values, parts["total"]])))


def by_name(data, parts):
    return {data["concepts"][k]["name"]: value for k, value in parts["concepts"]}


def large_page(folder):
    """A page on 1000 classes and 2000 concepts, with pictures that are larger than photos'."""
    run = LinearRun(classes=1000, concepts=2000, width=64, tests=200, shots=1)
    noise = torch.randint(256, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.numpy()).save(folder / "photo.png")
    run.concepts.images[:] = [folder / "photo.png"] * 1000
    run.examples.paths = [folder / "photo.png"] * 200
    return page_of(folder, run)
