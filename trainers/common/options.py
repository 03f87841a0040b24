"""A run's options as a record keeps them."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from dassl.data.datasets import DATASET_REGISTRY

from ccli.clip.weights import local_files
from ccli.features.image_folder import place_of, stamp
from ccli.results.identity import RUN
from ccli.trainers.common.checkpoints import read_options

OF_FOLDERS = ("FOLDER", "SPLIT_SEED", "TEST_SHARE")  # keys of DATASET that only Folder reads


def plain_config(cfg) -> dict:
    """The configuration as plain values, without the places of this machine.

    What files hold is a part of it, by the start of a SHA-256: bundle, picks, vocabulary, the list of a data set's
    images (DATASET.SPLIT_FILE), local weights (MODEL.BACKBONE.FILES), names and sizes in a folder of pictures. Records
    of other data sets are without the keys that only such a folder has.
    """
    split_file, backbone = _split_file(cfg), cfg.MODEL.BACKBONE.NAME
    weights = [_file_name(path).rpartition(" ")[2] for path in local_files(backbone)] if backbone else []
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
    for node, key in ((cfg.DATASET, "BUNDLE"), (cfg.DATASET, "PICKS"), (cfg.FEATURES, "VOCABULARY")):
        if key in node:
            node[key] = _file_name(node[key])
    plain = json.loads(json.dumps(cfg))
    if split_file:
        plain["DATASET"]["SPLIT_FILE"] = split_file
    if weights:
        plain["MODEL"]["BACKBONE"]["FILES"] = " ".join(weights)
    return plain


def test_all_of_another_folder(cfg, run: str) -> None:
    """Set DATASET.TEST_SHARE to 1 where `run` is tested on a folder of pictures that it was not trained on.

    The run need not be made yet.
    """
    pictures = picture_folder(cfg)
    if pictures:
        options = read_options(run) if (Path(run) / RUN).exists() else {}
        if options.get("DATASET", {}).get("FOLDER") != stamp(pictures):
            cfg.DATASET.TEST_SHARE = 1.0


def _split_file(cfg) -> str:
    """The list of a data set's images; "" where it has none."""
    name = cfg.DATASET.NAME
    kind = DATASET_REGISTRY.get(name) if name in DATASET_REGISTRY.registered_names() else None
    path = kind.split_file(cfg.DATASET.ROOT) if hasattr(kind, "split_file") else None
    return _file_name(path) if path and path.is_file() else ""


def picture_folder(cfg) -> Path | None:
    """The folder that is the data set; None where that is no folder of pictures."""
    node = cfg.DATASET
    ours = node.NAME == "Folder" and "FOLDER" in node  # another codebase may have a Folder of its own
    return place_of(node.FOLDER, node.ROOT) if ours else None


def _file_name(path: str | Path) -> str:
    """A file's name and the start of its SHA-256, so that another file of the same name is told apart."""
    path = Path(path).expanduser()
    if not path.is_file():
        return path.name
    stat = path.stat()
    return f"{path.name} {_digest(path, stat.st_size, stat.st_mtime_ns)}"


@lru_cache(maxsize=64)  # a run asks several times, and the runs of a sweep share their files
def _digest(path: Path, _size: int, _changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
