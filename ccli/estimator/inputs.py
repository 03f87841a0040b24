"""The estimator's arguments, checked: settings, features, paths, class texts, concepts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import torch

from ccli.clip.prompts import CONCEPT_TEMPLATE
from ccli.concepts.vocabulary import DEFAULT_KIND, Vocabulary, read_vocabulary, without_class_names
from ccli.errors import CcliError, check_choice, check_setting, composed
from ccli.features.encoder import FeatureEncoder
from ccli.features.task import unit
from ccli.methods.ccli import CcliSettings

# as in configs/trainers/CCLI/vit_b16.yaml and vit_b16_dense.yaml
NETWORKS = {
    "sparse": {"text_share": 0.67, "penalty": 0.3, "text_shares": (0.33, 0.67, 1.0), "penalties": (0.3, 1.0)},
    "convex": {"text_share": 1.0, "penalty": 0.2},
}


class InputError(CcliError, ValueError):
    """A CcliError that is the ValueError which scikit-learn expects."""


def _check_parameters(estimator) -> None:
    """Those that are not settings of the method."""
    backbone, crops, scale = estimator.backbone, estimator.crops, estimator.logit_scale
    known = backbone is None or isinstance(backbone, str)
    if estimator.network is not None:
        check_choice("network", estimator.network, tuple(NETWORKS))
    check_setting(known, "backbone", "the name or place of a CLIP model, or None", backbone)
    check_setting(isinstance(crops, Integral) and crops >= 0, "crops", "an integer >= 0", crops)
    check_setting(isinstance(scale, Real) and 0 < scale < np.inf, "logit_scale", "a number > 0", scale)


def settings_of(estimator, network: str) -> CcliSettings:
    """The settings of a fit of this network with class texts and concepts.

    Raises:
        SettingError: a parameter cannot be used.
    """
    _check_parameters(estimator)
    own = NETWORKS[network] | {"network": network}
    for name, candidates in (("text_share", "text_shares"), ("penalty", "penalties")):
        if getattr(estimator, name) is not None:
            own |= {name: getattr(estimator, name), candidates: ()}
    names = ("top_k", "distinctive", "concepts_per_class", "temperature")
    own |= {name: getattr(estimator, name) for name in names}
    return CcliSettings("visual", representation="space", alphas=(0.0, 1.0), criterion="likelihood", **own)


def array(X):
    """Features as scikit-learn's checks take them. Raises InputError where X holds paths."""
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu()
        return (X.float() if X.dtype == torch.bfloat16 else X).numpy()  # NumPy has no bfloat16
    first = next(iter(X), None) if isinstance(X, list | tuple | np.ndarray) and np.ndim(X) else X
    if isinstance(first, str | Path):
        raise InputError(f"X holds {str(first)!r}; for paths of pictures give a backbone, else features [images, D]")
    return X


def paths(X) -> list[str | Path]:
    """One or more paths of pictures."""
    if isinstance(X, str | Path):
        raise InputError("X is one path; give a list of paths")
    if np.ndim(X) != 1 or not len(X):
        raise InputError(f"X has the shape {np.shape(X)}; with a backbone it is a list of one or more paths")
    for one in X:
        if not isinstance(one, str | Path):
            raise InputError(f"X holds {one!r}, which is not a path; with a backbone X is paths of pictures")
    return list(X)


def unit_rows(X: np.ndarray) -> np.ndarray:
    """Rows of length one [n, D]; a row of zeros stays zero."""
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.where(lengths > 0, lengths, 1)


def class_names(classes: np.ndarray) -> list[str]:
    """What labels [N] are called. Raises InputError where two are one name in two Unicode forms."""
    names = [composed(str(label)) for label in classes]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if isinstance(classes[0], str) and twice is not None:
        raise InputError(f"y has the label {twice!r} in two Unicode forms; give it in one, such as NFC")
    return names


def class_texts(given, names: Sequence[str], width: int) -> torch.Tensor:
    """Unit rows [N, D] out of an array in the order of names [N], or of {label: feature}."""
    if isinstance(given, Mapping):
        known = {composed(str(label)): feature for label, feature in given.items()}
        if absent := [name for name in names if name not in known]:
            raise InputError(f"class_texts has no feature of {', '.join(absent[:5])}; it needs one for each class")
        given = [np.asarray(array(known[name])) for name in names]
        if len({x.shape for x in given}) > 1:
            raise InputError("class_texts has features of several shapes; they must be of one model")
    return _features("class_texts", given, len(names), "classes of y", width)


def vocabulary(
    concepts, features, classnames: list[str], width: int, encoder: FeatureEncoder | None
) -> tuple[Vocabulary, torch.Tensor]:
    """The concepts that name no class, and unit rows [I, D] of their texts; empty where none were given.

    Args:
        concepts, features, encoder: names [I], an array [I, D] and the encoder of sentences, or None.
    """
    if concepts is None and features is None and encoder is None:
        return Vocabulary((), ()), torch.zeros(0, width)
    if concepts is None and features is not None:
        raise InputError("concept_features without concepts; give the concepts' names, too")
    if features is None and encoder is None:
        raise InputError("concepts without concept_features; give the features of their texts, or a backbone")
    if isinstance(concepts, str):
        raise InputError(f"concepts is the text {concepts!r}; give a list of names")
    names = None if concepts is None else tuple(map(str, concepts))
    given = read_vocabulary() if names is None else Vocabulary(names, (DEFAULT_KIND,) * len(names))
    left, _ = without_class_names(given, classnames)
    if len(left) < 2:
        raise InputError(f"{len(left)} of {len(given)} concepts name no class; give two or more")
    if features is None:
        return left, unit(encoder.texts([CONCEPT_TEMPLATE.format(name) for name in left.names], "concepts"))
    rows, kept = _features("concept_features", features, len(given), "concepts", width), set(left.names)
    return left, rows[[k for k, name in enumerate(given.names) if name in kept]]


def _features(what: str, given, count: int, of: str, width: int) -> torch.Tensor:
    """Unit rows [count, width], float32."""
    try:
        rows = np.array(array(given), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is not an array of numbers ({error})") from error
    if rows.shape != (count, width):
        raise InputError(f"{what} has the shape {rows.shape}, and {count} {of} of width {width} need {(count, width)}")
    if not np.isfinite(rows).all() or not rows.any(axis=1).all():
        raise InputError(f"{what} holds a row of zeros, or values that are not finite; encode the texts again")
    return torch.from_numpy(unit_rows(rows)).float()
