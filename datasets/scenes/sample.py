"""Random scenes: of a given class (for the data set), or of anything but the classes (for captioned pairs)."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from ccli.datasets.scenes.classes import CLASSES, Triple
from ccli.datasets.scenes.parts import ATTACHED, BACKGROUNDS, COLOURS, SHAPES, STYLES, TEXTURES
from ccli.datasets.scenes.render import Scene, Thing

HELD_OUT = frozenset(CLASSES.values())  # combinations that no captioned pair contains


def generator(shift: str, part: str, name: str) -> np.random.Generator:
    """What the pictures of a class are drawn with, one after another."""
    return np.random.default_rng(zlib.crc32(f"concept_shapes/{shift}/{part}/{name}".encode()))


def class_scene(triple: Triple, rng: np.random.Generator, shift: str = "") -> Scene:
    """A scene whose main object has the parts of a class.

    Args:
        triple: colour, texture, shape.
        shift: "" (the source), "v2" (a new draw: any rotation, wider sizes, odd light), "sketch" (coloured line
            drawings), "a" (small objects among many large distractors), "r" (plain studio renditions: outlined,
            faded or blurry, with an attached part).
    """
    turn = 1.2 if shift == "v2" else 0.4
    low, high = {"v2": (10, 20), "a": (10, 13)}.get(shift, (12, 18))
    main = _thing(rng, *triple, radius=rng.uniform(low, high), angle=rng.uniform(-turn, turn))
    if shift == "r":
        main = replace(main, outlined=True, attached=_pick(rng, ATTACHED))
    many = (3, 5) if shift == "a" else (1, 3)
    others = _distractors(rng, main, rng.integers(many[0], many[1] + 1), (6, 8) if shift == "a" else (4.5, 7))
    background = "blank" if shift == "r" else _pick(rng, BACKGROUNDS)
    light = _weighted(rng, ("normal", "bright", "dark"), (0.4, 0.3, 0.3) if shift == "v2" else (0.8, 0.1, 0.1))
    style = {"sketch": "drawing", "r": _pick(rng, ("faded", "blurry"))}.get(shift, "photo")
    return Scene((main, *others), background, light, style)


def open_scene(rng: np.random.Generator) -> Scene:
    """A scene of anything, but no object in it has the parts of a class."""
    parts = (_pick(rng, COLOURS), _pick(rng, TEXTURES), _pick(rng, SHAPES))
    while parts in HELD_OUT:
        parts = (_pick(rng, COLOURS), _pick(rng, TEXTURES), _pick(rng, SHAPES))
    radius = rng.uniform(10, 20)
    main = _thing(rng, *parts, radius=radius, angle=rng.uniform(-0.8, 0.8))
    others = _distractors(rng, main, rng.integers(0, 4), (4, 0.6 * radius))
    style = _weighted(rng, tuple(STYLES), (0.8, 0.05, 0.05, 0.05, 0.05))
    light = _weighted(rng, ("normal", "bright", "dark"), (0.8, 0.1, 0.1))
    return Scene((main, *others), _pick(rng, BACKGROUNDS), light, style)


def _thing(rng: np.random.Generator, colour: str, texture: str, shape: str, radius: float, angle: float) -> Thing:
    x, y = rng.uniform(radius + 2, 62 - radius, 2)
    attached = _pick(rng, ATTACHED) if rng.random() < 0.3 else None
    return Thing(colour, texture, shape, attached, bool(rng.random() < 0.2), x, y, radius, angle)


def _distractors(rng: np.random.Generator, main: Thing, count: int, radii: tuple[float, float]) -> list[Thing]:
    """Smaller objects beside the main one; none has the parts of a class."""
    things: list[Thing] = []
    for _ in range(60):
        if len(things) == count:
            break
        parts = (_pick(rng, COLOURS), _pick(rng, TEXTURES), _pick(rng, SHAPES))
        radius = rng.uniform(*radii)
        x, y = rng.uniform(radius, 64 - radius, 2)
        apart = all((x - t.x) ** 2 + (y - t.y) ** 2 > (0.9 * (radius + t.radius)) ** 2 for t in (main, *things))
        if apart and parts not in HELD_OUT:
            things.append(Thing(*parts, None, False, x, y, radius, rng.uniform(-0.8, 0.8)))
    return things


def _pick(rng: np.random.Generator, names) -> str:
    names = tuple(names)
    return names[rng.integers(len(names))]


def _weighted(rng: np.random.Generator, names: tuple[str, ...], shares: tuple[float, ...]) -> str:
    return names[rng.choice(len(names), p=shares)]
