"""What is in concept_shapes' pictures: the words that are true of each, by drawing them once more."""

from __future__ import annotations

import zlib
from functools import cache

import numpy as np

from .captions import words_of_scene
from .classes import CLASSES
from .parts import ATTACHED, BACKGROUNDS, COLOURS, LIGHTS, OUTLINE_WORDS, SHAPES, SIZES, STYLES, TEXTURES
from .render import render
from .sample import class_scene


def generator(shift: str, part: str, name: str) -> np.random.Generator:
    """What the pictures of a class are drawn with, one after another."""
    return np.random.default_rng(zlib.crc32(f"concept_shapes/{shift}/{part}/{name}".encode()))


@cache
def words_of_images(name: str, count: int, part: str = "train", shift: str = "") -> tuple[frozenset[str], ...]:
    """The vocabulary words that are true of the first pictures of a class.

    They are of the main object, the background, the light and the style, as in the captions of demo-clip's training.

    Args:
        name: of the class; part: train, val or test; shift: of a shifted version.
    """
    rng, found = generator(shift, part, name), []
    for _ in range(count):
        scene = class_scene(CLASSES[name], rng, shift)
        render(scene, rng)  # takes its random numbers
        found.append(frozenset(words_of_scene(scene)))
    return tuple(found)


def kinds_of_words() -> dict[str, str]:
    """Each word that names a part -> what kind of part; a word of two kinds has the first."""
    tables = {
        "colour": [words for _, words in COLOURS.values()],
        "texture": list(TEXTURES.values()),
        "shape": [words for pair in SHAPES.values() for words in pair],
        "attached": [(*adjectives, name.rstrip("s")) for name, (_, adjectives) in ATTACHED.items()],
        "outline": [OUTLINE_WORDS],
        "background": [words for _, words in BACKGROUNDS.values()],
        "light": list(LIGHTS.values()),
        "style": list(STYLES.values()),
        "size": list(SIZES.values()),
    }
    found: dict[str, str] = {}
    for kind, groups in tables.items():
        for word in (word for group in groups for word in group):
            found.setdefault(word, kind)
    return found
