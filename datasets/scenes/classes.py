"""The classes of concept_shapes: combinations of a colour, a texture and a shape; their names leave one unsaid."""

import itertools
import random

CLASS_COLOURS = ("red", "yellow", "green", "blue", "purple")
CLASS_TEXTURES = ("striped", "dotted", "checkered", "zigzag")
CLASS_SHAPES = ("star", "circle", "triangle", "heart", "cross")
NUM_CLASSES = 24

Triple = tuple[str, str, str]  # colour, texture, shape


def _name(triple: Triple, unsaid: int) -> str:
    colour, texture, shape = triple
    return (f"{texture} {shape}", f"{colour} {shape}", f"{colour} {texture} object")[unsaid]


def _choose() -> dict[str, Triple]:
    """Name -> parts. Each name is used once; each part is shared by several classes."""
    rng = random.Random(2023)
    everything = list(itertools.product(CLASS_COLOURS, CLASS_TEXTURES, CLASS_SHAPES))
    rng.shuffle(everything)
    classes: dict[str, Triple] = {}
    for triple in everything:
        if len(classes) < NUM_CLASSES:
            classes.setdefault(_name(triple, unsaid=len(classes) % 3), triple)
    return classes


CLASSES: dict[str, Triple] = _choose()
