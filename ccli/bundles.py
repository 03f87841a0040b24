"""Feature bundles: a few-shot problem with all its features in one `.npz`, no pickles.

    classnames (N,) str; text_features (N, D), optional; text_norms (N,), optional; logit_scale (), optional;
    train_, val_ (optional) and test_features (n, D) with train_, val_ and test_labels (n,);
    concepts (I,) str and concept_features (I, D), optional.

Rows are stored as float16 and read as float32, normalised again.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .errors import CcliError, nearest
from .task import Split, unit

REQUIRED = ("classnames", "train_features", "train_labels", "test_features", "test_labels")
OPTIONAL = (
    "text_features", "text_norms", "logit_scale", "val_features", "val_labels", "concepts", "concept_features",
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """A whole pool of features; shots are drawn from `train`. See `FewShotTask` for the shapes."""

    classnames: tuple[str, ...]
    text_features: torch.Tensor | None
    text_norms: torch.Tensor | None
    logit_scale: float
    train: Split
    val: Split | None
    test: Split
    concepts: tuple[str, ...] = ()
    concept_features: torch.Tensor | None = None


def read_bundle(path: str | Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        CcliError: no such file, not an .npz, a missing array, rows of the wrong width, labels outside 0..N-1, NaN.
    """
    arrays = _read_arrays(Path(path))
    for name in REQUIRED:
        if name not in arrays:
            have = f"it has {', '.join(sorted(arrays))}" if arrays else "it is empty"
            raise CcliError(f"bundle {path} lacks the array {name!r}; {have}.{nearest(name, arrays)}")
    classes, width = len(arrays["classnames"]), _width(path, arrays)
    text = _rows(path, arrays, "text_features", width)
    if text is not None and len(text) != classes:
        raise CcliError(f"bundle {path}: text_features has {len(text)} rows for {classes} class names")
    concepts, concept_features = arrays.get("concepts"), _rows(path, arrays, "concept_features", width)
    if (0 if concepts is None else len(concepts)) != (0 if concept_features is None else len(concept_features)):
        raise CcliError(f"bundle {path}: concepts and concept_features do not have one row for one name")
    splits = {name: _split(path, arrays, name, width, classes) for name in ("train", "val", "test")}
    norms = arrays.get("text_norms")
    return Bundle(
        tuple(str(c) for c in arrays["classnames"]), text,
        None if text is None else torch.ones(classes) if norms is None else _norms(path, norms, classes),
        _scale(path, arrays), **splits,
        concepts=() if concepts is None else tuple(str(c) for c in concepts), concept_features=concept_features,
    )  # fmt: skip


def write_bundle(path: str | Path, bundle: Bundle) -> Path:
    """Write a bundle, moved into place when complete; the inverse of `read_bundle` up to float16."""
    half = lambda x: x.numpy().astype(np.float16)  # noqa: E731
    arrays = {"classnames": np.array(bundle.classnames, dtype=str), "logit_scale": np.float32(bundle.logit_scale)}
    if bundle.text_features is not None:
        arrays |= {"text_features": half(bundle.text_features), "text_norms": bundle.text_norms.numpy()}
    if bundle.concept_features is not None:
        arrays |= {
            "concepts": np.array(bundle.concepts, dtype=str),
            "concept_features": half(bundle.concept_features),
        }
    for name in ("train", "val", "test"):
        split = getattr(bundle, name)
        if split is not None:
            arrays |= {f"{name}_features": half(split.features), f"{name}_labels": split.labels.numpy()}
    path = Path(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        np.savez(scratch, **arrays)
        os.replace(scratch, path)
    except OSError as error:
        raise CcliError(f"cannot write {path} ({error.strerror or error})") from error
    finally:
        scratch.unlink(missing_ok=True)
    return path


def bundle_from_images(
    store, classnames: list[str], prompts: list[list[str]], images: dict[str, tuple[list[str], list[int]]],
    concepts: list[str] = (), concept_template: str = "The photo is {}.",
) -> Bundle:  # fmt: skip
    """Encode images and texts into a bundle.

    Args:
        store: a `ccli.features.FeatureStore`.
        prompts: one list per template, each with a sentence per class.
        images: "train", "test" and, optionally, "val", each with paths and labels.
        concepts: text concepts to encode along.
    """
    from .features import class_text_features

    def split(name: str) -> Split | None:
        if name not in images:
            return None
        paths, labels = images[name]
        return Split(unit(store.images(paths, f"{name} images")), torch.as_tensor(labels, dtype=torch.long))

    text, norms = class_text_features(store, prompts)
    sentences = [concept_template.format(c) for c in concepts]
    return Bundle(
        tuple(classnames), text, norms, store.clip.facts.logit_scale, split("train"), split("val"), split("test"),
        tuple(concepts), unit(store.texts(sentences, "concepts")) if sentences else None,
    )  # fmt: skip


def read_tip_adapter_cache(folder: str | Path, shots: int, classnames: list[str] | None = None) -> Bundle:
    """A bundle out of a cache folder that Tip-Adapter's code wrote: keys_/values_`shots`shots.pt, val_ and test_ f/l.pt.

    The keys are means over augmented epochs; the folder has no text features and no class names.

    Args:
        classnames: names for the N classes; "class 0", "class 1" ... where None.

    Raises:
        CcliError: a file is missing, or is anything but a tensor (files are read with weights_only).
    """
    folder = Path(folder)
    keys = _tensor(folder / f"keys_{shots}shots.pt").float().T  # stored [D, J]
    values = _tensor(folder / f"values_{shots}shots.pt")  # one-hot [J, N]
    if values.ndim != 2 or len(values) != len(keys):
        raise CcliError(f"{folder}: keys and values are not a Tip-Adapter cache of one size")
    names = classnames or [f"class {k}" for k in range(values.shape[1])]
    if len(names) != values.shape[1]:
        raise CcliError(f"{folder}: {len(names)} class names for {values.shape[1]} classes")
    has_val = (folder / "val_f.pt").exists()
    val, test = (
        Split(unit(_tensor(folder / f"{part}_f.pt").float()), _tensor(folder / f"{part}_l.pt").long())
        if part == "test" or has_val else None for part in ("val", "test")
    )  # fmt: skip
    train = Split(unit(keys), values.float().argmax(1))
    return Bundle(tuple(names), None, None, 100.0, train, val, test)


def _tensor(path: Path) -> torch.Tensor:
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CcliError(f"{path} is not there; a Tip-Adapter cache folder holds it") from error
    except Exception as error:
        raise CcliError(
            f"{path} is not a plain tensor file and is not read: {str(error).splitlines()[0][:120]}"
        ) from error
    if not isinstance(value, torch.Tensor):
        raise CcliError(f"{path} holds a {type(value).__name__}, not a tensor")
    return value


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise CcliError(f"no bundle at {path}; check the path")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in REQUIRED + OPTIONAL}
    except (ValueError, OSError, zipfile.BadZipFile, AttributeError, EOFError) as error:
        raise CcliError(
            f"{path} is not a readable bundle (.npz without pickles): {str(error).splitlines()[0]}"
        ) from error


def _width(path, arrays: dict[str, np.ndarray]) -> int:
    features = arrays["train_features"]
    if features.ndim != 2:
        raise CcliError(f"bundle {path}: train_features has shape {features.shape}, not (images, width)")
    return features.shape[1]


def _rows(path, arrays: dict[str, np.ndarray], name: str, width: int) -> torch.Tensor | None:
    array = arrays.get(name)
    if array is None:
        return None
    if array.ndim != 2 or array.shape[1] != width or array.dtype.kind != "f":
        raise CcliError(
            f"bundle {path}: {name} is {array.dtype} of shape {array.shape}, not floats of (rows, {width})"
            " like train_features; all features must come from one model"
        )
    return unit(torch.from_numpy(array.astype(np.float32)), f"bundle {path}: {name}")


def _split(path, arrays: dict[str, np.ndarray], name: str, width: int, classes: int) -> Split | None:
    features, labels = _rows(path, arrays, f"{name}_features", width), arrays.get(f"{name}_labels")
    if features is None and labels is None:
        return None
    if features is None or labels is None:
        raise CcliError(f"bundle {path}: {name}_features and {name}_labels must come together")
    if labels.shape != (len(features),) or labels.dtype.kind not in "iu":
        raise CcliError(f"bundle {path}: {name}_labels must be {len(features)} whole numbers")
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        wrong = int(labels.min()) if labels.min() < 0 else int(labels.max())
        raise CcliError(f"bundle {path}: {name}_labels hold {wrong}, outside 0..{classes - 1} ({classes} class names)")
    return Split(features, torch.from_numpy(labels.astype(np.int64)))


def _norms(path, norms: np.ndarray, classes: int) -> torch.Tensor:
    if norms.shape != (classes,) or not np.isfinite(norms).all() or (norms <= 0).any():
        raise CcliError(f"bundle {path}: text_norms must be {classes} positive numbers")
    return torch.from_numpy(norms.astype(np.float32))


def _scale(path, arrays: dict[str, np.ndarray]) -> float:
    scale = float(arrays["logit_scale"]) if "logit_scale" in arrays else 100.0
    if not 0 < scale < float("inf"):
        raise CcliError(f"bundle {path}: logit_scale is {scale}; it is exp(logit_scale) of the model, 100 for OpenAI's")
    return scale
