"""A run's options as a record keeps them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def plain_config(cfg) -> dict:
    """The configuration as plain values, without the places of this machine."""
    cfg = cfg.clone()
    cfg.defrost()
    for node, key in ((cfg, "OUTPUT_DIR"), (cfg, "RESUME"), (cfg.DATASET, "ROOT"), (cfg.FEATURES, "STORE")):
        node[key] = ""
    for key in ("BUNDLE", "PICKS"):
        if key in cfg.DATASET:
            cfg.DATASET[key] = _file_name(cfg.DATASET[key])
    return json.loads(json.dumps(cfg))


def _file_name(path: str) -> str:
    """A file's name and the start of its SHA-256, so that another file of the same name is told apart."""
    path = Path(path).expanduser()
    if not path.is_file():
        return path.name
    with open(path, "rb") as file:
        return f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
