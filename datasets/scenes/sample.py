"""Random scenes of a given class, and the random parts of any scene."""

import zlib
from dataclasses import replace

import numpy as np

from ccli.datasets.scenes.classes import CLASSES, Triple
from ccli.datasets.scenes.parts import ATTACHED, BACKGROUNDS, COLOURS, SHAPES, TEXTURES
from ccli.datasets.scenes.render import Scene, Thing

HELD_OUT = frozenset(CLASSES.values())  # combinations that no captioned pair contains


def generator(shift: str, part: str, name: str) -> np.random.Generator:
    """The stream of random numbers that draws the images of a class, one after another."""
    return np.random.default_rng(zlib.crc32(f"concept_shapes/{shift}/{part}/{name}".encode()))


def class_scene(triple: Triple, rng: np.random.Generator, shift: str = "") -> Scene:
    """A scene whose main object has the parts of a class.

    Args:
        triple: colour, texture, shape.
        shift: "" (the source), "v2" (a new draw: any rotation, wider sizes, unusual light), "sketch" (coloured line
            drawings), "a" (small objects among many large distractors), "r" (plain studio renditions: outlined,
            faded or blurry, with an attached part).
    """
    turn = 1.2 if shift == "v2" else 0.4
    low, high = {"v2": (10, 20), "a": (10, 13)}.get(shift, (12, 18))
    main = random_thing(rng, *triple, radius=rng.uniform(low, high), angle=rng.uniform(-turn, turn))
    if shift == "r":
        main = replace(main, outlined=True, attached=pick(rng, ATTACHED))
    many = (3, 5) if shift == "a" else (1, 3)
    others = distractors(rng, main, rng.integers(many[0], many[1] + 1), (6, 8) if shift == "a" else (4.5, 7))
    background = "blank" if shift == "r" else pick(rng, BACKGROUNDS)
    light = weighted(rng, ("normal", "bright", "dark"), (0.4, 0.3, 0.3) if shift == "v2" else (0.8, 0.1, 0.1))
    style = {"sketch": "drawing", "r": pick(rng, ("faded", "blurry"))}.get(shift, "photo")
    return Scene((main, *others), background, light, style)


def random_thing(rng: np.random.Generator, colour: str, texture: str, shape: str, radius: float, angle: float) -> Thing:
    """An object with given parts at a random place, perhaps with an attached part or an outline."""
    x, y = rng.uniform(radius + 2, 62 - radius, 2)
    attached = pick(rng, ATTACHED) if rng.random() < 0.3 else None
    return Thing(colour, texture, shape, attached, bool(rng.random() < 0.2), x, y, radius, angle)


def distractors(rng: np.random.Generator, main: Thing, count: int, radii: tuple[float, float]) -> list[Thing]:
    """Smaller objects beside the main one; none has the parts of a class."""
    things: list[Thing] = []
    for _ in range(60):
        if len(things) == count:
            break
        parts = (pick(rng, COLOURS), pick(rng, TEXTURES), pick(rng, SHAPES))
        radius = rng.uniform(*radii)
        x, y = rng.uniform(radius, 64 - radius, 2)
        apart = all((x - t.x) ** 2 + (y - t.y) ** 2 > (0.9 * (radius + t.radius)) ** 2 for t in (main, *things))
        if apart and parts not in HELD_OUT:
            things.append(Thing(*parts, None, False, x, y, radius, rng.uniform(-0.8, 0.8)))
    return things


def pick(rng: np.random.Generator, names) -> str:
    names = tuple(names)
    return names[rng.integers(len(names))]


def weighted(rng: np.random.Generator, names: tuple[str, ...], shares: tuple[float, ...]) -> str:
    return names[rng.choice(len(names), p=shares)]
