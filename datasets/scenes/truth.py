"""The words that are true of each image of concept_shapes, found by drawing the image again."""

from functools import cache

from ccli.datasets.scenes.classes import CLASSES
from ccli.datasets.scenes.render import render
from ccli.datasets.scenes.sample import class_scene, generator
from ccli.datasets.scenes.words import words_of_scene


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
