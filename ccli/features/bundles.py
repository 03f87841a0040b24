"""Feature bundles: a few-shot problem with all its features in one `.npz`, no pickles.

    classnames (N,) str; text_features (N, D), optional; text_norms (N,), optional; logit_scale (), optional;
    train_, val_ (optional) and test_features (n, D) with train_, val_ and test_labels (n,);
    concepts (I,) str and concept_features (I, D), optional.

Rows are stored as float16 and read as float32, normalised again.
"""

from pathlib import Path

import numpy as np
import torch

from ccli.clip.prompts import CONCEPT_TEMPLATE
from ccli.errors import CcliError, in_one_line, nearest, os_errors
from ccli.features.class_texts import class_text_features
from ccli.features.encoder import FeatureEncoder
from ccli.features.lazy_rows import LazyRows, large_rows
from ccli.features.task import FewShotTask, Split, unit
from ccli.files.atomic import moved_into_place
from ccli.files.npz import check_size

REQUIRED = ("classnames", "train_features", "train_labels", "test_features", "test_labels")
OPTIONAL = (
    "text_features", "text_norms", "logit_scale", "val_features", "val_labels", "concepts", "concept_features",
)  # fmt: skip
NPZ = "a bundle is an .npz without pickles"
OF_IMAGES = ("train_features", "val_features", "test_features")

Bundle = FewShotTask  # its training split is the whole pool that shots are drawn from


def read_bundle(path: str | Path, on_disk: bool = False) -> Bundle:
    """Read and check a bundle.

    Args:
        on_disk: leave large training, validation and test features in the file (see `ccli.features.lazy_rows`).

    Raises:
        CcliError: no such file, not an .npz, a missing array, rows of the wrong width, labels outside 0..N-1, NaN.
    """
    arrays, names = _read_arrays(Path(path), on_disk)
    for name in REQUIRED:
        if name not in arrays:
            have = f"it has {', '.join(sorted(names))}" if names else "it is empty"
            raise CcliError(f"bundle {path} lacks the array {name!r}; {have}.{nearest(name, names)}")
    classnames = _names(path, arrays, "classnames")
    classes, shape = len(classnames), arrays["train_features"].shape
    if len(shape) != 2 or shape[1] < 1:
        raise CcliError(f"bundle {path}: train_features has shape {shape}, not (images, width)")
    width = shape[1]
    text = _rows(path, arrays, "text_features", width)
    if text is not None and len(text) != classes:
        raise CcliError(f"bundle {path}: text_features has {len(text)} rows for {classes} classnames")
    concepts, concept_features = _names(path, arrays, "concepts"), _rows(path, arrays, "concept_features", width)
    if len(concepts) != (0 if concept_features is None else len(concept_features)):
        raise CcliError(f"bundle {path}: concept_features must have one row per name in concepts")
    splits = {name: _split(path, arrays, name, width, classes) for name in ("train", "val", "test")}
    norms = None if text is None else _norms(path, arrays, classes)
    return Bundle(
        classnames, text, norms, _scale(path, arrays), **splits, concepts=concepts, concept_features=concept_features
    )


def array_names(path: str | Path) -> list[str]:
    """The names of the arrays in a bundle; no array is read. Raises CcliError where the file is not an .npz."""
    what = f"{path} is not readable"
    with in_one_line(Exception, what, NPZ), np.load(Path(path).expanduser(), allow_pickle=False) as file:
        return list(file.files)


def write_bundle(path: str | Path, bundle: Bundle) -> Path:
    """Write a bundle, moved into place when complete; the inverse of `read_bundle` up to float16."""
    half = lambda x: x.numpy().astype(np.float16)  # noqa: E731
    bundle = bundle.to("cpu")
    arrays = {"classnames": np.array(bundle.classnames, dtype=str), "logit_scale": np.float32(bundle.logit_scale)}
    if bundle.text_features is not None:
        arrays |= {"text_features": half(bundle.text_features), "text_norms": bundle.text_norms.numpy()}
    if bundle.concept_features is not None:
        names = np.array(bundle.concepts, dtype=str)
        arrays |= {"concepts": names, "concept_features": half(bundle.concept_features)}
    for name in ("train", "val", "test"):
        if (split := getattr(bundle, name)) is not None:
            arrays |= {f"{name}_features": half(split.features), f"{name}_labels": split.labels.numpy()}
    path = Path(path)
    with os_errors(f"cannot write {path}"), moved_into_place(path) as scratch, open(scratch, "wb") as file:
        np.savez(file, **arrays)
    return path


def bundle_from_images(
    encoder: FeatureEncoder,
    classnames: list[str],
    prompts: list[list[str]],
    images: dict[str, tuple[list[str], list[int]]],
    concepts: list[str] = (),
) -> Bundle:
    """Encode images and texts into a bundle.

    Args:
        prompts: one list per template, each with a sentence per class.
        images: "train", "test" and, optionally, "val", each with paths and labels.
        concepts: text concepts to encode along.
    """

    def split(name: str) -> Split | None:
        if name not in images:
            return None
        paths, labels = images[name]
        return Split(unit(encoder.images(paths, f"{name} images")), torch.as_tensor(labels, dtype=torch.long))

    text, norms = class_text_features(encoder, prompts)
    sentences = [CONCEPT_TEMPLATE.format(c) for c in concepts]
    return Bundle(
        tuple(classnames), text, norms, encoder.clip.facts.logit_scale, split("train"), split("val"), split("test"),
        tuple(concepts), unit(encoder.texts(sentences, "concepts")) if sentences else None,
    )  # fmt: skip


def read_tip_adapter_cache(folder: str | Path, shots: int, classnames: list[str] | None = None) -> Bundle:
    """Read a cache folder that Tip-Adapter's code wrote as a bundle.

    For 4 shots it holds keys_4shots.pt [D, J] (means over augmented epochs) and values_4shots.pt [J, N] (one-hot);
    test_f.pt [n, D] and test_l.pt [n]; optionally val_f.pt and val_l.pt; no text features and no class names.

    Args:
        classnames: names for the N classes; "class 0", "class 1" ... where None.

    Raises:
        CcliError: a file is missing, holds anything but a tensor (files are read with weights_only), or has another
            shape than the others need.
    """
    folder = Path(folder)
    keys = _tensor(folder / f"keys_{shots}shots.pt").float()
    values = _tensor(folder / f"values_{shots}shots.pt").float()
    if keys.ndim != 2 or values.ndim != 2 or len(values) != keys.shape[1]:
        raise CcliError(
            f"{folder}: keys of shape {tuple(keys.shape)} and values of shape {tuple(values.shape)} are not a "
            "Tip-Adapter cache: (width, images) and (images, classes)"
        )
    names = classnames or [f"class {k}" for k in range(values.shape[1])]
    if len(names) != values.shape[1]:
        raise CcliError(f"{folder}: {len(names)} class names for {values.shape[1]} classes")
    arrays = {"train_features": keys.T, "train_labels": values.argmax(1)}
    for part in ("val", "test") if (folder / "val_f.pt").exists() else ("test",):
        arrays[f"{part}_features"] = _tensor(folder / f"{part}_f.pt").float()
        arrays[f"{part}_labels"] = _tensor(folder / f"{part}_l.pt")
    arrays = {name: tensor.numpy() for name, tensor in arrays.items()}
    train, val, test = (_split(folder, arrays, part, keys.shape[0], len(names)) for part in ("train", "val", "test"))
    return Bundle(tuple(names), None, None, 100.0, train, val, test)


def _tensor(path: Path) -> torch.Tensor:
    if not path.exists():
        raise CcliError(f"{path} is not there; a Tip-Adapter cache folder holds it")
    with in_one_line(Exception, f"{path} is not a plain tensor file and is not read"):
        value = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(value, torch.Tensor):
        raise CcliError(f"{path} holds a {type(value).__name__}, not a tensor")
    return value


def _read_arrays(path: Path, on_disk: bool) -> tuple[dict[str, np.ndarray | LazyRows], list[str]]:
    """The arrays of a bundle, and the names of all arrays in the file."""
    if not path.is_file():
        raise CcliError(f"no bundle at {path}; check the path")
    arrays = {}
    with in_one_line(Exception, f"bundle {path} is not readable", NPZ), np.load(path, allow_pickle=False) as file:
        for name in REQUIRED + OPTIONAL:
            if name not in file.files:
                continue
            with in_one_line(Exception, f"{path}, array {name!r}, is not readable", NPZ):
                check_size(file.zip, name)
                large = large_rows(path, name) if on_disk and name in OF_IMAGES else None
                arrays[name] = file[name] if large is None else large
                if isinstance(arrays[name], bytes):  # numpy's answer for a member that is not an array
                    raise ValueError("it is not an array")
        return arrays, file.files


def _names(path, arrays: dict[str, np.ndarray], name: str) -> tuple[str, ...]:
    array = arrays.get(name, np.array([], dtype=str))
    if array.ndim != 1 or array.dtype.kind != "U":
        raise CcliError(f"bundle {path}: {name} is {array.dtype} of shape {array.shape}, not a list of strings")
    return tuple(array.tolist())


def _rows(path, arrays: dict[str, np.ndarray], name: str, width: int) -> torch.Tensor | LazyRows | None:
    array = arrays.get(name)
    if array is None:
        return None
    if array.ndim != 2 or array.shape[1] != width or array.dtype.kind != "f":
        raise CcliError(
            f"bundle {path}: {name} is {array.dtype} of shape {array.shape}, not floats of (rows, {width})"
            " like train_features; all features must come from one model"
        )
    what = f"bundle {path}: {name}"
    return (
        array.checked(what) if isinstance(array, LazyRows) else unit(torch.from_numpy(array.astype(np.float32)), what)
    )


def _split(path, arrays: dict[str, np.ndarray], name: str, width: int, classes: int) -> Split | None:
    features, labels = _rows(path, arrays, f"{name}_features", width), arrays.get(f"{name}_labels")
    if features is None and labels is None:
        return None
    if features is None or labels is None:
        raise CcliError(f"bundle {path}: {name}_features and {name}_labels must come together")
    if labels.shape != (len(features),) or labels.dtype.kind not in "iu":
        raise CcliError(
            f"bundle {path}: {name}_labels is {labels.dtype} of shape {labels.shape}, not {len(features)} whole numbers"
        )
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        wrong = int(labels.min()) if labels.min() < 0 else int(labels.max())
        raise CcliError(f"bundle {path}: {name}_labels hold {wrong}, outside 0..{classes - 1} ({classes} class names)")
    return Split(features, torch.from_numpy(labels.astype(np.int64)))


def _norms(path, arrays: dict[str, np.ndarray], classes: int) -> torch.Tensor:
    norms = arrays.get("text_norms", np.ones(classes))
    if norms.shape != (classes,) or norms.dtype.kind != "f" or not np.isfinite(norms).all() or (norms <= 0).any():
        raise CcliError(f"bundle {path}: text_norms must be {classes} positive numbers")
    return torch.from_numpy(norms.astype(np.float32))


def _scale(path, arrays: dict[str, np.ndarray]) -> float:
    array = arrays.get("logit_scale", np.array(100.0))
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise CcliError(f"bundle {path}: logit_scale is {array.dtype} of shape {array.shape}, not one number")
    scale = float(array.item())
    if not 0 < scale < float("inf"):
        raise CcliError(f"bundle {path}: logit_scale is {scale:g}; give exp(logit_scale), 100 for OpenAI's")
    return scale
