"""Models with random weights: RN50 and ViT-B/16, and small ones of their architectures for the miniature."""

import json
from pathlib import Path

from benchmarks.generated import untrained
from gpu_check.setting import Setting

FULL = {"RN50": "RN50-quickgelu", "ViT-B/16": "ViT-B-16-quickgelu"}
SMALL_VISION = {
    "RN50": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "ViT-B/16": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
}
SMALL_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}


def random_model(setting: Setting, name: str) -> str:
    """FrozenClip's name of the model, made at the first call."""
    folder = setting.work / "models" / name.replace("/", "_")
    if not (folder / "open_clip_config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        untrained(_small(name, folder) if setting.miniature else FULL[name], folder)
    return str(folder)


def _small(name: str, folder: Path) -> str:
    """Register a small architecture with open_clip; returns its name there."""
    import open_clip

    path = folder / f"small-{folder.name}.json"
    config = {"embed_dim": 64, "quick_gelu": True, "vision_cfg": SMALL_VISION[name], "text_cfg": SMALL_TEXT}
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    path.unlink()
    return path.stem
