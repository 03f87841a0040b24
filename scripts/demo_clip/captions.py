"""Captioned scenes to train demo-clip: random scenes without the classes of concept_shapes, and their captions."""

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
from ccli.datasets.scenes.sample import HELD_OUT, distractors, pick, random_thing, weighted
from scripts.demo_clip.words import size_of, words_of_scene

_NOUNS = ("thing", "object", "figure", "shape")
_FRAMES = ("a photo of {}.", "a picture of {}.", "an image of {}.", "there is {}.", "{}", "this is {}.")


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One sentence about a scene, which leaves out parts at random."""
    while True:
        text = _single_word(scene, rng) if rng.random() < 0.25 else _sentence(scene, rng)
        if not any(name in text for name in CLASSES):
            return text


def open_scene(rng: np.random.Generator) -> Scene:
    """A random scene in which no object has the parts of a class."""
    parts = (pick(rng, COLOURS), pick(rng, TEXTURES), pick(rng, SHAPES))
    while parts in HELD_OUT:
        parts = (pick(rng, COLOURS), pick(rng, TEXTURES), pick(rng, SHAPES))
    radius = rng.uniform(10, 20)
    main = random_thing(rng, *parts, radius=radius, angle=rng.uniform(-0.8, 0.8))
    others = distractors(rng, main, rng.integers(0, 4), (4, 0.6 * radius))
    style = weighted(rng, tuple(STYLES), (0.8, 0.05, 0.05, 0.05, 0.05))
    light = weighted(rng, ("normal", "bright", "dark"), (0.8, 0.1, 0.1))
    return Scene((main, *others), pick(rng, BACKGROUNDS), light, style)


def _single_word(scene: Scene, rng: np.random.Generator) -> str:
    word = pick(rng, words_of_scene(scene))
    return f"The photo is {word}." if rng.random() < 0.7 else f"a photo: {word}."


def _sentence(scene: Scene, rng: np.random.Generator) -> str:
    text = _noun_phrase(scene.things[0], rng, full=True)
    if len(scene.things) > 1 and rng.random() < 0.35:
        text += " next to " + _noun_phrase(scene.things[1 + rng.integers(len(scene.things) - 1)], rng, full=False)
    if scene.style != "drawing" and rng.random() < 0.4:
        text += " " + pick(rng, BACKGROUNDS[scene.background][0])
    frame = pick(rng, _FRAMES)
    mood = (*LIGHTS[scene.light], *STYLES[scene.style])
    if mood and rng.random() < 0.6:
        word = pick(rng, mood)
        frame = f"a {word} of {{}}." if word in STYLES["drawing"] else f"a {word} photo of {{}}."
    return frame.format(text)


def _noun_phrase(thing: Thing, rng: np.random.Generator, full: bool) -> str:
    nouns, adjectives = SHAPES[thing.shape]
    words = []
    if rng.random() < 0.3:
        words += [pick(rng, SIZES[size_of(thing)])] if SIZES[size_of(thing)] else []
    if full and thing.outlined and rng.random() < 0.4:
        words.append(pick(rng, OUTLINE_WORDS))
    described = []
    if rng.random() < 0.75:
        described.append(pick(rng, COLOURS[thing.colour][1]))
    if full and rng.random() < 0.75:
        described.append(pick(rng, TEXTURES[thing.texture]))
    if rng.random() < 0.3:
        described.reverse()
    if rng.random() < 0.85:
        word = pick(rng, nouns + adjectives)
        noun = f"{word} {pick(rng, _NOUNS)}" if word in adjectives else word
    else:
        noun = pick(rng, _NOUNS)
    if full and thing.attached and rng.random() < 0.6:
        after, adjective = ATTACHED[thing.attached]
        if rng.random() < 0.6:
            noun += " with " + pick(rng, after)
        else:
            described.append(pick(rng, adjective))
    phrase = " ".join([*words, *described, noun])
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase
