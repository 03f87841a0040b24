"""A run's options as a record keeps them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ccli.picture_folder import place_of, stamp

OF_FOLDERS = ("FOLDER", "SPLIT_SEED", "TEST_SHARE")  # keys of DATASET that only Folder reads


def plain_config(cfg) -> dict:
    """The configuration as plain values, without the places of this machine.

    A folder of pictures is its name and the start of a SHA-256 over what is in it; records of other data sets are
    without the keys that only such a folder has.
    """
    cfg = cfg.clone()
    cfg.defrost()
    pictures = picture_folder(cfg)
    if pictures:
        cfg.DATASET.FOLDER = stamp(pictures)
    else:
        for key in OF_FOLDERS:
            cfg.DATASET.pop(key, None)
    for node, key in ((cfg, "OUTPUT_DIR"), (cfg, "RESUME"), (cfg.DATASET, "ROOT"), (cfg.FEATURES, "STORE")):
        node[key] = ""
    for key in ("BUNDLE", "PICKS"):
        if key in cfg.DATASET:
            cfg.DATASET[key] = _file_name(cfg.DATASET[key])
    return json.loads(json.dumps(cfg))


def picture_folder(cfg) -> Path | None:
    """The folder that is the data set; None where that is no folder of pictures."""
    node = cfg.DATASET
    ours = node.NAME == "Folder" and "FOLDER" in node  # another codebase may have a Folder of its own
    return place_of(node.FOLDER, node.ROOT) if ours else None


def _file_name(path: str) -> str:
    """A file's name and the start of its SHA-256, so that another file of the same name is told apart."""
    path = Path(path).expanduser()
    if not path.is_file():
        return path.name
    with open(path, "rb") as file:
        return f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
