"""The words that are true of a scene or of an image of concept_shapes, and their kinds."""

from functools import cache

from ccli.datasets.scenes.classes import CLASSES
from ccli.datasets.scenes.parts import (
    ATTACHED,
    BACKGROUNDS,
    COLOURS,
    LIGHTS,
    OUTLINE_WORDS,
    SHAPES,
    SIZES,
    STYLES,
    TEXTURES,
)
from ccli.datasets.scenes.render import Scene, Thing, render
from ccli.datasets.scenes.sample import class_scene, generator


def words_of_scene(scene: Scene) -> list[str]:
    """Every vocabulary word that is true of a scene's main object, background, light and style."""
    main = scene.things[0]
    words = [*COLOURS[main.colour][1], *TEXTURES[main.texture], *SHAPES[main.shape][0], *SHAPES[main.shape][1]]
    if main.attached:
        words += [*ATTACHED[main.attached][1], main.attached.rstrip("s")]
    if main.outlined:
        words += OUTLINE_WORDS
    if scene.style != "drawing":
        words += BACKGROUNDS[scene.background][1]
    return [*words, *SIZES[size_of(main)], *LIGHTS[scene.light], *STYLES[scene.style]]


def all_words() -> list[str]:
    """Every word that `words_of_scene` can give."""
    return sorted(kinds_of_words())


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


def size_of(thing: Thing) -> str:
    """The row of `SIZES` for an object."""
    return "big" if thing.radius > 16 else "small" if thing.radius < 13 else "middle"


@cache
def words_of_images(name: str, count: int, part: str = "train", shift: str = "") -> tuple[frozenset[str], ...]:
    """The vocabulary words that are true of the first pictures of a class, found by drawing them again.

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
