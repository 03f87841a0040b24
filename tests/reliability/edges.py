"""Degenerate few-shot problems as bundles, and every trainer to put them to."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SOURCES = ("visual", "text", "random", "images", "features", "none")
KINDS = ("plain", "standardised", "affinity", "space")
NODE = "TRAINER.CCLI."


def _ccli(network: str, kind: str, source: str, *more) -> tuple[str, list]:
    opts = [NODE + "NETWORK", network, NODE + "REPRESENTATION", kind, NODE + "SOURCE", source, *more]
    return "CCLI", [*opts, NODE + "HIDDEN", 8]


SIMPLE = ("ZeroshotCLIP", "LinearProbe", "CLIPAdapter", "TipAdapter", "TipAdapterF", "TaskRes", "LPPlusPlus", "GDA")
TRAINERS: dict[str, tuple[str, list]] = {
    **{name: (name, []) for name in SIMPLE},
    **{
        f"CCLI {network} {kind} {source}": _ccli(network, kind, source)
        for network in ("mlp", "convex")
        for kind in KINDS
        for source in SOURCES
        if source != "none" or kind == "space"
    },
    "CCLI convex space visual shared": _ccli("convex", "space", "visual", NODE + "TEXT_SHARE", 0.5),
    "CCLI convex space visual distinctive": _ccli(
        "convex", "space", "visual", NODE + "DISTINCTIVE", 1.0, NODE + "CLASS_AXES", "False"
    ),
}
QUICK = ("OPTIM.MAX_EPOCH", 2, "TRAINER.LPPLUSPLUS.STEPS", 5)  # epochs and steps say nothing about edges


@dataclass(frozen=True)
class Problem:
    """How a bundle is made. kind: "random", "constant" (all images alike), "classes" (images of a class alike), "axes"
    (unit vectors), "tiny" (lengths of 1e-7), "huge" (lengths of 1e4), "opposite" (images are less their class texts).
    """

    kind: str = "random"
    classes: int = 3
    width: int = 4
    pool: int = 2
    val: int = 1
    test: int = 2
    concepts: int = 5
    names: str = "different"  # "alike": one name for all classes; "odd": spaces, capitals, no letters
    concept_kind: str = "random"  # "alike": all concepts are one vector; "classes": they are the class texts
    text_kind: str = "random"  # "alike": all class texts are one vector
    scale: float = 100.0
    uneven: bool = False  # the first class has one image more


def features(kind: str, text: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    width = text.shape[1]
    random = rng.standard_normal((len(labels), width))
    if kind == "constant":
        return np.repeat(rng.standard_normal((1, width)), len(labels), 0)
    if kind == "classes":
        return rng.standard_normal((labels.max(initial=0) + 1, width))[labels]
    if kind == "axes":
        return np.eye(width)[rng.integers(0, width, len(labels))]
    if kind == "opposite":
        return -text[labels]
    return random * {"tiny": 1e-7, "huge": 1e4}.get(kind, 1.0)


def arrays(problem: Problem, seed: int = 0) -> dict[str, np.ndarray]:
    """The bundle's arrays, as `ccli.features.bundles` reads them."""
    p, rng = problem, np.random.default_rng(seed)
    text = rng.standard_normal((1 if p.text_kind == "alike" else p.classes, p.width))
    text = np.repeat(text, p.classes // len(text), 0)
    concepts = rng.standard_normal((p.concepts, p.width))
    if p.concept_kind == "alike":
        concepts[:] = concepts[:1]
    if p.concept_kind == "classes":
        concepts = text[np.arange(p.concepts) % p.classes]
    names = {
        "alike": ["cat"] * p.classes,
        "odd": [("", " ", "_", "Cat", "cat ", "🐈", "-" * 50)[k % 7] for k in range(p.classes)],
    }.get(p.names) or [f"class {k}" for k in range(p.classes)]
    found = {
        "classnames": np.array(names, dtype=str), "text_features": text, "logit_scale": np.array(p.scale),
        "text_norms": np.full(p.classes, 8.0), "concept_features": concepts,
        "concepts": np.array([f"concept {k}" for k in range(p.concepts)], dtype=str),
    }  # fmt: skip
    for part, per_class in (("train", p.pool), ("val", p.val), ("test", p.test)):
        labels = np.repeat(np.arange(p.classes), per_class)
        if part == "train" and p.uneven:
            labels = np.append(labels, 0)
        if len(labels):
            found |= {f"{part}_labels": labels, f"{part}_features": features(p.kind, text, labels, rng)}
    return {name: x.astype(np.float32) if x.dtype == np.float64 else x for name, x in found.items()}


def write(folder: Path, problem: Problem, **changes: np.ndarray | None) -> Path:
    """The problem's bundle; `changes` are other arrays, None leaves one out."""
    kept = {name: x for name, x in (arrays(problem) | changes).items() if x is not None}
    np.savez(folder / "edge.npz", **kept)
    return folder / "edge.npz"
