"""Real pictures without a network: tiles of the photographs that scikit-image and scikit-learn come with."""

from pathlib import Path

import numpy as np
from PIL import Image

TILE = 96  # pixels


def photographs() -> dict[str, np.ndarray]:
    """RGB photographs by name, each uint8 [H, W, 3]."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    names = ("brick", "grass", "gravel", "coins", "astronaut", "coffee")
    found = {name: getattr(data, name)() for name in names}
    found |= {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    return {name: np.stack([x] * 3, -1) if x.ndim == 2 else x[..., :3] for name, x in found.items()}


def write_tiles(folder: Path, train: int = 4, test: int = 4) -> list[str]:
    """`train` and `test` tiles a photograph, which do not overlap, in folder/train/NAME and folder/test/NAME."""
    for name, photo in photographs().items():
        places = [
            (top, left)
            for top in range(0, photo.shape[0] - TILE + 1, TILE)
            for left in range(0, photo.shape[1] - TILE + 1, TILE)
        ]
        order = np.random.default_rng(0).permutation(len(places))
        assert len(places) >= train + test
        for k, place in enumerate(order[: train + test]):
            top, left = places[place]
            path = folder / ("train" if k < train else "test") / name / f"{k} of {name}.{'png' if k % 2 else 'jpg'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo[top : top + TILE, left : left + TILE]).save(path)
    return sorted(photographs())
