"""A trained classifier in use: probabilities of new features or pictures, and the reasons for them."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ccli.concepts.gallery import Concepts
from ccli.errors import CcliError, composed, listed, nearest
from ccli.features.encoder import FeatureEncoder, ImageSpec, encoder_of
from ccli.features.task import unit
from ccli.fitting.calibration import Calibration
from ccli.inference.explanations import Parts, Reasons, explain, reasons
from ccli.methods.concept_inference import ConceptInference
from ccli.methods.sparse_inference import SparseLinear

ROWS = 4096  # features whose logits are made at a time


@dataclass(frozen=True)
class Examples:
    """E test images for people to look at: paths ("" without a file), labels and predictions [E], features [E, D]."""

    paths: list[str]
    labels: list[int]
    predictions: list[int]
    features: torch.Tensor


@dataclass
class Classifier:
    """A trained head with its classes, calibration and concepts; `load_run` returns one.

    head: f [B, D] unit rows -> logits [B, N]; method: its trainer's name; templates: prompt templates of the class
    texts; images: how pictures become features, None for a head that was trained on given features; prototypes: the
    mean training image of each class, unit rows [N, D]. Only CCLI has concepts, prototypes and examples.
    edited: {"dropped": names of the concepts that were taken out, in order, "refitted": whether the other weights were
    fitted anew, at the last of the edits}, None for a head as it was trained (see `ccli.inference.editing`).
    """

    head: nn.Module
    method: str
    classnames: tuple[str, ...]
    width: int
    calibration: Calibration = field(default_factory=Calibration)
    templates: tuple[str, ...] = ()
    images: ImageSpec | None = None
    vocabulary: dict[str, Any] | None = None  # fingerprint and size
    concepts: Concepts | None = None
    prototypes: torch.Tensor | None = None
    examples: Examples | None = None
    edited: dict[str, Any] | None = None
    device: str | torch.device = "cpu"

    def __post_init__(self) -> None:
        self.head = self.head.to(self.device).eval()

    def __getstate__(self) -> dict[str, Any]:
        """Without the CLIP model that it may have open, and on the CPU: where it is read there may be no GPU."""
        state = {name: x for name, x in vars(self).items() if name != "encoder"}
        if torch.device(self.device).type != "cpu":
            state |= {"head": copy.deepcopy(self.head).cpu(), "device": "cpu"}
        return state

    @property
    def temperature(self) -> float:
        return self.calibration.temperature

    @property
    def sparse(self) -> bool:
        """Whether a class's logit has few concepts, which explanations then list without exception."""
        return isinstance(self.head, ConceptInference) and isinstance(self.head.network, SparseLinear)

    @cached_property
    def encoder(self) -> FeatureEncoder:
        """Of new pictures, whose features are kept in the default store (`ccli.features.keys.default_store`)."""
        return encoder_of(self.image_spec, self.device)

    @property
    def image_spec(self) -> ImageSpec:
        """`images`, refused where there is none."""
        if self.images is None:
            raise CcliError("this classifier was trained on features, not on pictures; give it features")
        return self.images

    def encode(self, paths: Iterable[str | Path]) -> Iterator[tuple[str | Path, torch.Tensor | CcliError]]:
        """Each path with its feature [D], or with the reason why it has none, in order."""
        return self.encoder.stream(paths, self.image_spec.crops, self.image_spec.crop)

    def pixels(self, path: str | Path) -> list[np.ndarray]:
        """The image tower's input for a picture: its crops, each uint8 [S, S, 3]."""
        return self.encoder.pixels(path, self.image_spec.crops, self.image_spec.crop)

    def features(self, X) -> torch.Tensor:
        """Unit rows [n, D], of features (an array or tensor [n, D]) or of paths of pictures.

        Raises:
            CcliError: a feature has another width or is not finite, or a picture cannot be read (named).
        """
        if isinstance(X, str | Path):
            X = [X]
        if not isinstance(X, torch.Tensor | np.ndarray) and all(isinstance(x, str | Path) for x in X):
            found = []
            for _, feature in self.encode(X):
                if isinstance(feature, CcliError):
                    raise feature
                found.append(feature)
            return torch.stack(found) if found else torch.zeros(0, self.width)
        f = torch.as_tensor(np.asarray(X) if not isinstance(X, torch.Tensor) else X).float()
        if f.ndim != 2 or f.shape[1] != self.width:
            raise CcliError(f"features have shape {tuple(f.shape)}, and this classifier takes (images, {self.width})")
        return unit(f)

    @torch.no_grad()
    def logits(self, X) -> torch.Tensor:
        """[n, N], of what `features` takes."""
        logits = torch.cat([self.head(f.to(self.device)).cpu() for f in self.features(X).split(ROWS)])
        if not torch.isfinite(logits).all():
            raise CcliError(f"logits of this classifier of {self.method} are not finite; make the run again")
        return logits

    def predict_proba(self, X) -> np.ndarray:
        """Calibrated probabilities [n, N]."""
        return self.calibration.probabilities(self.logits(X).double()).numpy()

    def predict(self, X) -> list[str]:
        """Names of the classes of n images."""
        return [self.classnames[k] for k in self.logits(X).argmax(1).tolist()]

    def explain_features(self, f: torch.Tensor, direction: torch.Tensor) -> Parts:
        """The parts of direction . logits(f) (see `ccli.inference.explanations`); f [B, D] unit rows, direction [B, N].

        Raises:
            CcliError: the classifier has no named concepts.
        """
        if self.concepts is None or not isinstance(self.head, ConceptInference):
            need = "explanations need a CCLI run whose source of vectors is visual or text"
            raise CcliError(f"a run of {self.method} has no concepts to explain by; {need}")
        found = explain(self.head, self.concepts.rows.to(self.device), f.to(self.device), direction.to(self.device))
        return Parts(*(x.cpu() for x in vars(found).values()))

    def explain(self, X, most_for: int = 5, most_against: int = 3) -> list[Reasons]:
        """Why each image of X gets its label: what its logit is made of, by the strongest concepts.

        Of a sparse network all concepts of the label are given.
        """
        f, found = self.features(X), []
        for part in f.split(256):
            labels = self.logits(part).argmax(1)
            direction = nn.functional.one_hot(labels, len(self.classnames)).float()
            parts = self.explain_features(part, direction)
            for row, k in enumerate(labels.tolist()):
                found.append(self._reasons(self.classnames[k], parts.row(row), most_for, most_against))
        return found

    def explain_class(self, name: str, against: str = "", most_for: int = 8, most_against: int = 4) -> Reasons:
        """The reasons for a class: its logit minus the mean logit of all classes, at its mean training image.

        Of a sparse network, the logit itself, by all concepts of the class. With `against`, the reasons that separate
        the two classes: the difference of their logits, at the mean image of the first minus at that of the second.

        Raises:
            CcliError: there is no such class, or the classifier has no named concepts.
        """
        label, count = self.label(name), len(self.classnames)
        if self.prototypes is None:
            self.explain_features(torch.zeros(1, self.width), torch.zeros(1, count))  # raises the better message
            raise CcliError("this classifier lacks the mean images of its classes; make the run again")
        direction = torch.eye(count)[[label]]
        if not against:
            direction = direction if self.sparse else direction - 1 / count
            parts = self.explain_features(self.prototypes[[label]], direction).row(0)
            return self._reasons(name, parts, most_for, most_against)
        other = self.label(against)
        direction = (direction - torch.eye(count)[[other]]).repeat(2, 1)
        two = self.explain_features(self.prototypes[[label, other]], direction)
        return self._reasons(f"{name} against {against}", two.row(0) - two.row(1), most_for, most_against)

    def _reasons(self, what: str, parts: Parts, most_for: int, most_against: int) -> Reasons:
        if self.sparse:
            most_for = most_against = len(parts.concepts)
        return reasons(what, parts, self.concepts, most_for, most_against)

    def label(self, name: str) -> int:
        """The index of a class; raises CcliError for an unknown name."""
        known = [composed(one) for one in self.classnames]
        if composed(name) not in known:
            raise CcliError(f"no class {name!r}.{nearest(name, self.classnames)} The run has {listed(self.classnames)}")
        return known.index(composed(name))
