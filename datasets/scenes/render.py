"""From the description of a scene to its pixels. The same description and seed give the same picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # imported below where a picture is drawn: a run on stored features draws none
    from PIL import Image

from ccli.datasets.scenes.parts import COLOURS, background_pixels, outline, texture_weight

SIZE = 64  # pixels a side
_FINE = 4  # outlines are drawn this much larger and averaged down


@dataclass(frozen=True)
class Thing:
    """One object: its parts, and where it lies (pixels; radius is half its extent; angle in radians)."""

    colour: str
    texture: str
    shape: str
    attached: str | None = None
    outlined: bool = False
    x: float = 32.0
    y: float = 32.0
    radius: float = 16.0
    angle: float = 0.0


@dataclass(frozen=True)
class Scene:
    """The main object comes first in `things`; the others are distractors."""

    things: tuple[Thing, ...]
    background: str = "blank"
    light: str = "normal"
    style: str = "photo"


def render(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """A scene as an RGB image of SIZE x SIZE; `rng` gives the details that the description leaves open."""
    drawing = scene.style == "drawing"
    canvas = np.full((SIZE, SIZE, 3), 245.0) if drawing else background_pixels(scene.background, SIZE, rng)
    for thing in (*scene.things[1:], scene.things[0]):  # the main object lies on top
        canvas = _paint(canvas, thing, drawing, rng)
    canvas = canvas * {"normal": 1.0, "bright": 1.3, "dark": 0.5}[scene.light]
    canvas = canvas * rng.uniform(0.92, 1.08) + rng.normal(0, 3, canvas.shape)
    if scene.style == "noisy":
        canvas = canvas + rng.normal(0, 30, canvas.shape)
    if scene.style == "faded":
        canvas = 0.5 * canvas + 0.5 * 210
    from PIL import Image, ImageFilter

    image = Image.fromarray(np.clip(canvas + 0.5, 0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(1.6)) if scene.style == "blurry" else image


def _paint(canvas: np.ndarray, thing: Thing, drawing: bool, rng: np.random.Generator) -> np.ndarray:
    base = np.clip(np.array(COLOURS[thing.colour][0]) + rng.uniform(-14, 14, 3), 0, 255)
    bright = base.mean() > 110
    second = rng.choice([0.45 * base, 0.12 * base]) if bright else 0.4 * base + 0.6 * 255
    if drawing:  # coloured pencil on paper: the second tone is left white, the outline is drawn
        base, second = 0.8 * base, np.full(3, 245.0)
    inside = _coverage(thing, outline(thing.shape))
    if thing.shape == "ring":
        inside = inside * (1 - _coverage(thing, 0.5 * outline("ring")))
    weight = texture_weight(thing.texture, *_object_coordinates(thing), rng)[..., None]
    fill = base + weight * (second - base)
    dark = 0.25 * base if bright else 0.7 * base + 0.3 * 255
    if drawing and thing.texture == "plain":
        fill = 0.55 * base + 0.45 * 245
    for polygon in _attachment(thing.attached):
        canvas = _blend(canvas, dark, _coverage(thing, polygon))
    edge = (3.0 if thing.outlined else 1.2) / thing.radius  # every object has a thin edge, an outlined one a thick one
    canvas = _blend(canvas, base if drawing else dark, _coverage(thing, outline(thing.shape), grow=1 + edge))
    canvas = _blend(canvas, fill, inside)
    if thing.attached == "eyes":
        for side in (-0.3, 0.3):
            for colour, size in ((255.0, 0.22), (10.0, 0.11)):
                canvas = _blend(canvas, np.full(3, colour), _coverage(thing, size * outline("circle") + (side, -0.15)))
    return canvas


def _blend(canvas: np.ndarray, colour: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    return canvas + coverage * (colour - canvas)


def _coverage(thing: Thing, polygon: np.ndarray, grow: float = 1.0) -> np.ndarray:
    """Share of each pixel that a polygon [n, 2] in object coordinates covers, [SIZE, SIZE, 1]."""
    c, s = np.cos(thing.angle), np.sin(thing.angle)
    placed = polygon @ np.array([[c, s], [-s, c]]) * thing.radius * grow + (thing.x, thing.y)
    from PIL import Image, ImageDraw

    mask = Image.new("L", (SIZE * _FINE, SIZE * _FINE))
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in placed * _FINE], fill=255)
    return np.asarray(mask.reduce(_FINE), dtype=float)[..., None] / 255


def _object_coordinates(thing: Thing) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    dx, dy = (x - thing.x) / thing.radius, (y - thing.y) / thing.radius
    c, s = np.cos(thing.angle), np.sin(thing.angle)
    return c * dx + s * dy, c * dy - s * dx


def _attachment(part: str | None) -> list[np.ndarray]:
    """Polygons of an attached part, drawn behind the object."""
    blade = np.array([(0.5, -0.2), (1.6, -0.9), (1.75, -0.1), (1.3, 0.35), (0.5, 0.3)])
    leg = np.array([(-0.1, 0.3), (0.1, 0.3), (0.1, 1.5), (-0.1, 1.5)])
    horn = np.array([(-0.22, -0.4), (0.22, -0.4), (0.12, -1.45)])
    mirror = np.array([-1, 1])
    return {
        "wings": [blade, blade * mirror],
        "tail": [np.array([(0.4, 0.3), (1.2, 0.9), (1.7, 0.5), (1.5, 1.1), (1.1, 1.25), (0.4, 0.7)])],
        "legs": [leg + (-0.4, 0), leg + (0.4, 0)],
        "horns": [horn + (0.45, 0), (horn * mirror) + (-0.45, 0)],
        "hat": [np.array([(-0.75, -0.75), (0.75, -0.75), (0.0, -1.75)])],
    }.get(part, [])
