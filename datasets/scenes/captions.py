"""Captions for scenes: parts and attributes in varied words, never the name of a class."""

from __future__ import annotations

import numpy as np

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
from ccli.datasets.scenes.render import Scene, Thing

_NOUNS = ("thing", "object", "figure", "shape")
_FRAMES = ("a photo of {}.", "a picture of {}.", "an image of {}.", "there is {}.", "{}", "this is {}.")


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One sentence about a scene; it leaves things out at random, as people do."""
    while True:
        text = _single_word(scene, rng) if rng.random() < 0.25 else _sentence(scene, rng)
        if not any(name in text for name in CLASSES):
            return text


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
    return [*words, *SIZES[_size(main)], *LIGHTS[scene.light], *STYLES[scene.style]]


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


def _single_word(scene: Scene, rng: np.random.Generator) -> str:
    word = _pick(rng, words_of_scene(scene))
    return f"The photo is {word}." if rng.random() < 0.7 else f"a photo: {word}."


def _sentence(scene: Scene, rng: np.random.Generator) -> str:
    text = _noun_phrase(scene.things[0], rng, full=True)
    if len(scene.things) > 1 and rng.random() < 0.35:
        text += " next to " + _noun_phrase(scene.things[1 + rng.integers(len(scene.things) - 1)], rng, full=False)
    if scene.style != "drawing" and rng.random() < 0.4:
        text += " " + _pick(rng, BACKGROUNDS[scene.background][0])
    frame = _pick(rng, _FRAMES)
    mood = (*LIGHTS[scene.light], *STYLES[scene.style])
    if mood and rng.random() < 0.6:
        word = _pick(rng, mood)
        frame = f"a {word} of {{}}." if word in STYLES["drawing"] else f"a {word} photo of {{}}."
    return frame.format(text)


def _noun_phrase(thing: Thing, rng: np.random.Generator, full: bool) -> str:
    nouns, adjectives = SHAPES[thing.shape]
    words = []
    if rng.random() < 0.3:
        words += [_pick(rng, SIZES[_size(thing)])] if SIZES[_size(thing)] else []
    if full and thing.outlined and rng.random() < 0.4:
        words.append(_pick(rng, OUTLINE_WORDS))
    described = []
    if rng.random() < 0.75:
        described.append(_pick(rng, COLOURS[thing.colour][1]))
    if full and rng.random() < 0.75:
        described.append(_pick(rng, TEXTURES[thing.texture]))
    if rng.random() < 0.3:
        described.reverse()
    if rng.random() < 0.85:
        word = _pick(rng, nouns + adjectives)
        noun = f"{word} {_pick(rng, _NOUNS)}" if word in adjectives else word
    else:
        noun = _pick(rng, _NOUNS)
    if full and thing.attached and rng.random() < 0.6:
        after, adjective = ATTACHED[thing.attached]
        if rng.random() < 0.6:
            noun += " with " + _pick(rng, after)
        else:
            described.append(_pick(rng, adjective))
    phrase = " ".join([*words, *described, noun])
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _size(thing: Thing) -> str:
    return "big" if thing.radius > 16 else "small" if thing.radius < 13 else "middle"


def _pick(rng: np.random.Generator, words) -> str:
    words = tuple(words)
    return words[rng.integers(len(words))]
