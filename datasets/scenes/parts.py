"""What a scene is made of: shapes, colours, textures, backgrounds, attached parts, each with the words that name it.

Every table maps a part to its words. Shapes are outlines in the unit square [-1, 1]^2, y pointing down; textures and
backgrounds are functions of pixel coordinates.
"""

import numpy as np

COLOURS = {  # name: (RGB, words)
    "red": ((214, 40, 40), ("red", "crimson", "scarlet", "ruby")),
    "orange": ((245, 130, 32), ("orange", "tangerine", "amber")),
    "yellow": ((246, 214, 50), ("yellow", "golden", "lemon")),
    "green": ((52, 150, 62), ("green", "emerald", "jade")),
    "teal": ((38, 170, 170), ("teal", "turquoise", "cyan", "aqua")),
    "blue": ((45, 80, 200), ("blue", "navy", "azure", "cobalt")),
    "purple": ((125, 55, 165), ("purple", "violet", "plum")),
    "pink": ((240, 130, 185), ("pink", "rosy", "magenta")),
    "brown": ((125, 75, 35), ("brown", "chocolate", "chestnut")),
    "white": ((245, 245, 245), ("white", "ivory")),
    "black": ((25, 25, 28), ("black", "ebony", "inky")),
    "grey": ((130, 130, 135), ("grey", "silver", "ashen")),
}

TEXTURES = {
    "plain": ("plain", "solid", "uniform", "smooth"),
    "striped": ("striped", "stripy", "banded", "lined"),
    "dotted": ("dotted", "spotted", "polka-dotted"),
    "checkered": ("checkered", "chequered", "checked"),
    "zigzag": ("zigzag", "zigzagged", "chevron"),
    "netted": ("netted", "gridded", "meshed", "latticed"),
    "speckled": ("speckled", "flecked", "grainy", "sprinkled"),
    "shaded": ("shaded", "graded", "gradient", "fading"),
}

SHAPES = {  # name: (nouns, adjectives)
    "circle": (("circle", "disc"), ("round", "circular")),
    "square": (("square",), ("boxy",)),
    "triangle": (("triangle",), ("triangular",)),
    "star": (("star",), ("star-shaped",)),
    "cross": (("cross", "plus sign"), ("cross-shaped",)),
    "heart": (("heart",), ("heart-shaped",)),
    "ring": (("ring", "hoop"), ("ring-shaped",)),
    "crescent": (("crescent",), ("crescent-shaped", "moon-shaped")),
    "diamond": (("diamond", "rhombus"), ("diamond-shaped",)),
    "arrow": (("arrow", "pointer"), ("arrow-shaped",)),
    "flower": (("blossom",), ("flower-shaped", "petalled")),
}

ATTACHED = {  # part: (after "with", adjectives)
    "wings": (("wings", "a wing"), ("winged",)),
    "tail": (("a tail",), ("tailed",)),
    "legs": (("legs", "a leg"), ("legged",)),
    "horns": (("horns", "a horn"), ("horned",)),
    "eyes": (("eyes", "an eye"), ("wide-eyed",)),
    "hat": (("a hat", "a pointed hat"), ("pointed",)),
}

BACKGROUNDS = {  # name: (phrases behind the object, words for "the photo is ...")
    "grass": (("on grass", "in a meadow", "on a lawn"), ("grassy", "meadow", "lawn")),
    "water": (("on water", "in the sea", "over waves"), ("watery", "sea", "waves")),
    "sand": (("on sand", "in the desert", "on a beach"), ("sandy", "desert", "beach")),
    "brick": (("before a brick wall", "before bricks"), ("brick wall", "bricks")),
    "night": (("at night", "under a starlit sky", "before the night sky"), ("night sky", "starlit", "nocturnal")),
    "wood": (("on wood", "on wooden planks"), ("wooden", "planks", "wood")),
    "snow": (("in the snow", "on snow"), ("snowy", "snow", "frosty")),
    "clouds": (("in the sky", "before clouds"), ("cloudy", "clouds", "sky")),
    "blank": (("on a plain background", "on a blank background"), ("plain background", "blank background", "studio")),
}

LIGHTS = {"normal": (), "bright": ("bright", "sunny"), "dark": ("dark", "dim", "shadowy")}

STYLES = {
    "photo": (),
    "blurry": ("blurry", "out of focus"),
    "noisy": ("noisy",),
    "faded": ("faded", "washed-out"),
    "drawing": ("sketch", "drawing", "line drawing"),
}

SIZES = {"big": ("big", "large", "huge"), "small": ("small", "little", "tiny"), "middle": ()}
OUTLINE_WORDS = ("outlined", "bordered", "framed")


def outline(shape: str) -> np.ndarray:
    """Vertices [n, 2] of a shape in [-1, 1]^2. A ring is its outer edge; `render` cuts the hole."""
    if shape in _POLYGONS:
        return np.array(_POLYGONS[shape], dtype=float)
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return np.stack(_CURVES[shape](turn), axis=1)


def _points(n: int, inner: float | None = None) -> list[tuple[float, float]]:
    """A regular polygon (or a star, where `inner` gives its inner radius) with one corner up."""
    count = n if inner is None else 2 * n
    radius = [1.0 if inner is None or k % 2 == 0 else inner for k in range(count)]
    return [(r * np.sin(2 * np.pi * k / count), -r * np.cos(2 * np.pi * k / count)) for k, r in enumerate(radius)]


def _crescent() -> list[tuple[float, float]]:
    outer, inner = np.linspace(0.75, 5.53, 40), np.linspace(5.2, 1.08, 40)
    arcs = [(np.cos(a), np.sin(a)) for a in outer] + [(0.45 + 0.72 * np.cos(a), 0.77 * np.sin(a)) for a in inner]
    return [(x + 0.2, y) for x, y in arcs]


_POLYGONS = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": _points(3),
    "star": _points(5, inner=0.45),
    "cross": [
        *((-0.33, -0.95), (0.33, -0.95), (0.33, -0.33), (0.95, -0.33), (0.95, 0.33), (0.33, 0.33)),
        *((0.33, 0.95), (-0.33, 0.95), (-0.33, 0.33), (-0.95, 0.33), (-0.95, -0.33), (-0.33, -0.33)),
    ],
    "diamond": [(0, -1.1), (0.68, 0), (0, 1.1), (-0.68, 0)],
    "crescent": _crescent(),
    "arrow": [(-1, -0.3), (0.1, -0.3), (0.1, -0.8), (1, 0), (0.1, 0.8), (0.1, 0.3), (-1, 0.3)],
}

_CURVES = {
    "circle": lambda a: (np.cos(a), np.sin(a)),
    "ring": lambda a: (np.cos(a), np.sin(a)),
    "heart": lambda a: (
        np.sin(a) ** 3,
        -0.9 * (13 * np.cos(a) - 5 * np.cos(2 * a) - 2 * np.cos(3 * a) - np.cos(4 * a)) / 16,
    ),
    "flower": lambda a: ((0.75 + 0.25 * np.cos(6 * a)) * np.cos(a), (0.75 + 0.25 * np.cos(6 * a)) * np.sin(a)),
}


def texture_weight(texture: str, u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How much of the second tone shows, in [0, 1], at object coordinates (u, v), each [H, W]."""
    frequency, phase = rng.uniform(2.2, 3.2), rng.uniform(0, 1)
    angle = rng.choice([0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4])
    a = frequency * (u * np.cos(angle) + v * np.sin(angle)) + phase
    b = frequency * (v * np.cos(angle) - u * np.sin(angle))
    weights = {
        "plain": lambda: np.zeros_like(u),
        "striped": lambda: a % 1 < 0.5,
        "dotted": lambda: (a % 1 - 0.5) ** 2 + (b % 1 - 0.5) ** 2 < 0.085,
        "checkered": lambda: (np.floor(a) + np.floor(b)) % 2 == 0,
        "zigzag": lambda: (a + np.abs(b % 1 - 0.5) * 1.1) % 1 < 0.5,
        "netted": lambda: (a % 1 < 0.25) | (b % 1 < 0.25),
        "speckled": lambda: rng.random(u.shape) < 0.3,
        "shaded": lambda: np.clip(0.5 + 0.6 * (u * np.cos(angle) + v * np.sin(angle)), 0, 1),
    }
    return weights[texture]().astype(float)


def background_pixels(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """A background, [size, size, 3] floats in [0, 255]."""
    y, x = np.mgrid[0:size, 0:size] / size
    grain = rng.random((size, size))
    shift = rng.uniform(0, 1)
    if name == "grass":
        weight, low, high = (grain + np.roll(grain, 1, 0) + np.roll(grain, 2, 0)) / 3, (40, 105, 35), (120, 190, 80)
    elif name == "water":
        weight = 0.5 + 0.5 * np.sin(2 * np.pi * (5 * y + 0.15 * np.sin(2 * np.pi * (3 * x + shift)) + shift))
        low, high = (50, 120, 190), (130, 190, 225)
    elif name == "sand":
        weight = grain * 0.5 + 0.25 + 0.25 * np.sin(2 * np.pi * (2 * y + x + shift))
        low, high = (205, 175, 120), (240, 220, 170)
    elif name == "brick":
        row = np.floor(8 * (y + shift))
        mortar = ((8 * (y + shift)) % 1 < 0.18) | ((4 * x + 0.5 * (row % 2)) % 1 < 0.09)
        weight, low, high = np.where(mortar, 1.0, grain * 0.25), (160, 75, 55), (215, 205, 195)
    elif name == "night":
        weight, low, high = np.where(grain > 0.985, 1.0, 0.15 * (1 - y)), (12, 14, 45), (240, 240, 210)
    elif name == "wood":
        veins = 0.6 + 0.3 * np.sin(2 * np.pi * (9 * x + 0.5 * np.sin(4 * y)))
        weight = np.where((6 * (x + shift)) % 1 < 0.06, 0.0, veins)
        low, high = (95, 60, 30), (190, 140, 85)
    elif name == "snow":
        weight, low, high = np.where(grain > 0.93, 1.0, 0.3 + 0.3 * y), (195, 210, 230), (255, 255, 255)
    elif name == "clouds":
        soft = sum(np.sin(2 * np.pi * (k * x + shift * k + np.cos(k * 3 * y))) / k for k in (1, 2, 3))
        weight, low, high = np.clip(0.5 + 0.4 * soft, 0, 1), (110, 170, 235), (250, 252, 255)
    else:
        level = rng.uniform(150, 235)
        return np.full((size, size, 3), level) + rng.uniform(-12, 12, 3)
    return np.array(low) + weight[..., None] * (np.array(high) - np.array(low))
