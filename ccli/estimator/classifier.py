"""CCLI as a scikit-learn estimator, on pictures or on precomputed features.

    from pathlib import Path
    from sklearn.model_selection import cross_val_score
    from ccli import CCLIClassifier, load_run

    paths = sorted(Path("pictures").glob("*/*"))  # pictures/cat/1.jpg, pictures/dog/1.jpg ...
    names = [path.parent.name for path in paths]
    model = CCLIClassifier(backbone="demo-clip")  # or "ViT-B/16", any open_clip name, local weights
    print(cross_val_score(model, paths, names, cv=2))
    model.fit(paths, names).save("model")
    print(model.explain(paths[:1])[0], load_run("model").predict_proba(paths[:1]))

Without a backbone X is features [n, D], and class texts and concepts are optional features of the same width.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from ccli.clip.prompts import DEFAULT_TEMPLATE, class_prompts
from ccli.clip.weights import absolute_backbone
from ccli.concepts.vocabulary import vocabulary_facts
from ccli.estimator.inputs import InputError, array, class_names, class_texts, paths, settings_of, unit_rows, vocabulary
from ccli.features.class_texts import class_text_features, warn_of_numbers
from ccli.features.decoding import PHOTO
from ccli.features.encoder import FeatureEncoder, ImageSpec, open_encoder
from ccli.features.task import FewShotTask, Split
from ccli.fitting import selection
from ccli.fitting.calibration import ENOUGH, Calibration, calibrate, subsample
from ccli.inference import editing, saving
from ccli.inference.classifier import ROWS, Classifier
from ccli.inference.explanations import Reasons
from ccli.methods.ccli import CcliSettings, build, choose_alpha, chosen, describe
from ccli.methods.concept_inference import ConceptInference

CROP = (0.5, 1.0)  # share of a picture's area in a random crop


class CCLIClassifier(ClassifierMixin, BaseEstimator):
    """CCLI in a concept space, the defaults those of configs/trainers/CCLI/vit_b16.yaml.

    logits = temperature * logit_scale * f W^T + alpha B z(f): class texts W (zero-shot), and a layer B that is fitted
    by penalised maximum likelihood on the concept space z (see `ccli.methods.concept_inference`). Without class texts
    there is no zero-shot part; without concepts the class texts span the space; with neither z(f) is norm(f - mean).
    A sparse network, the default where there are concepts, has the similarities to a few concepts per class in place of
    z(f), and they can be taken out by name (`without`); without class texts these alone decide (see
    `ccli.methods.sparse_inference`).

    Args:
        backbone: a frozen CLIP as `ccli.clip.model.FrozenClip` takes it: X is paths of pictures, and a label is its
            class's name. None: X is image features [n, D]. Their lengths do not count, and a row of zeros stays one.
        store: folder of the features of pictures and texts; None: the environment's CCLI_STORE, else
            ~/.cache/ccli.
        crops: a picture is the mean of so many random crops; 0: its centre. They depend on its content alone. Ten, as
            in the project's runs, take ten times as long to encode as the centre, once.
        template: prompt of the class names.
        class_texts: features [N, D] in the order of sorted labels, or {label: feature}, which may have more labels.
            None: by prompts where there is a backbone, else none.
        concepts: names [I]; None: the packaged vocabulary where there is a backbone, else none. Those that name a
            class are left out.
        concept_features: [I, D], of the concepts' texts; needed for concepts without a backbone.
        network: "sparse", which needs concepts, or "convex", which has all of them at once. None: sparse where there
            are concepts, else convex.
        concepts_per_class: sparse: the most concepts per class; held-out folds choose how many.
        top_k: convex: images behind a visual concept.
        text_share: of the concept's text in what images are compared with, 0 to 1; the rest is the visual concept.
            None: the folds choose, and 0.67 without; convex: 1.
        penalty: lambda; without class texts, 1 / C of scikit-learn's LogisticRegression without intercept (2 / C for
            two classes). None: the folds choose, and 0.3 without; convex: 0.2.
        temperature: share of the logit scale that zero-shot keeps.
        distinctive: power of a concept's distinctiveness that it counts by; 0: all the same.
        logit_scale: exp(logit_scale) of the model that made the class texts; a backbone has its own.
        random_state: of the folds; None is 0.
        device: where pictures and texts are encoded.

    Attributes:
        classes_: sorted labels [N]. n_features_in_: D, without a backbone.
        classifier_: a `ccli.Classifier`, whose class names are the labels as text.
        train_: of a sparse network, the features and labels that it was fitted on, for `without`; else None.
        alpha_: 0 (zero-shot) or 1, which is likelier on held-out folds; 1 without class texts or with a class of a
            single image. temperature_: of the calibrated probabilities, from the same folds; 1 without.
    """

    def __init__(
        self, *, backbone=None, store=None, crops=10, template=DEFAULT_TEMPLATE, class_texts=None, concepts=None,
        concept_features=None, network=None, concepts_per_class=5, top_k=3, text_share=None, penalty=None,
        temperature=0.5, distinctive=1.0, logit_scale=100.0, random_state=None, device="cpu",
    ):  # fmt: skip
        self.backbone, self.store, self.crops, self.device = backbone, store, crops, device
        self.template, self.class_texts, self.logit_scale = template, class_texts, logit_scale
        self.concepts, self.concept_features, self.top_k = concepts, concept_features, top_k
        self.text_share, self.penalty, self.temperature = text_share, penalty, temperature
        self.distinctive, self.random_state = distinctive, random_state
        self.network, self.concepts_per_class = network, concepts_per_class

    def fit(self, X, y) -> CCLIClassifier:
        """Fit on features [n, D], or paths of n pictures, and labels [n] of any kind.

        Raises:
            ValueError: a check of scikit-learn fails, a parameter cannot be used (SettingError), or X, y, class texts
                or concepts do not fit each other (InputError).
            CcliError: a picture cannot be read (named), the backbone is unknown, or the store cannot be written.
        """
        settings = settings_of(self, self.network or "sparse")
        rows, y = self._training(X, y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y has one class, {self.classes_[0]}; a classifier needs images of two or more")
        task = self._task(rows, torch.from_numpy(labels))
        settings = self._for_task(settings, task)
        head = _head(task, settings)
        self.alpha_, calibration = self._chosen(head, task, settings)
        head.alpha.fill_(self.alpha_)
        self.temperature_ = calibration.temperature
        files = [str(Path(path).absolute()) for path in X] if self.backbone is not None else [""] * len(y)
        self.classifier_ = self._classifier(head, task, settings, calibration, files)
        self.train_ = task.train if settings.network == "sparse" else None
        return self

    def decision_function(self, X) -> np.ndarray:
        """Logits [n, N]; for two classes [n], the second's logit minus the first's."""
        logits = self._logits(X).numpy()
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X) -> np.ndarray:
        """Calibrated probabilities [n, N], in the order of classes_."""
        logits = self._logits(X)  # first: it refuses an estimator that is not fitted
        return self.classifier_.calibration.probabilities(logits).numpy()

    def predict(self, X) -> np.ndarray:
        """Labels [n]."""
        logits = self._logits(X)
        return self.classes_[logits.argmax(1).numpy()]

    def explain(self, X, most_for: int = 5, most_against: int = 3) -> list[Reasons]:
        """The reasons for each image's label: the parts of its logit, by the strongest concepts.

        Raises:
            CcliError: the estimator was fitted without concepts, or a row of X is zero.
        """
        rows = torch.from_numpy(self._rows(X)).float()
        return self._explaining().explain(rows, most_for, most_against)

    def explain_class(self, label, against=None, most_for: int = 8, most_against: int = 4) -> Reasons:
        """The reasons for a class, or those that separate it from another: see `ccli.Classifier.explain_class`.

        Raises:
            CcliError: the estimator was fitted without concepts, or there is no such class.
        """
        check_is_fitted(self)
        other = "" if against is None else str(against)
        return self._explaining().explain_class(str(label), other, most_for, most_against)

    def without(self, *names: str) -> CCLIClassifier:
        """A fitted copy that lacks the concepts of these names, its other weights fitted anew on the training images.

        `alpha_` and `temperature_` stay as they are. See `ccli.inference.editing.without`.

        Raises:
            CcliError: the network is not sparse, or a name is unknown (the nearest is named).
        """
        check_is_fitted(self)
        edited = copy.copy(self)
        edited.classifier_ = editing.without(self.classifier_, names, self.train_)
        return edited

    def save(self, folder: str | Path) -> None:
        """Write `classifier_` into a folder for `ccli.load_run`. Raises CcliError where it cannot be written."""
        check_is_fitted(self)
        saving.save(self.classifier_, folder)

    def _training(self, X, y) -> tuple[torch.Tensor, np.ndarray]:
        """Unit rows [n, D], float32, and checked labels [n]."""
        y = y.cpu() if isinstance(y, torch.Tensor) else y
        if self.backbone is None:
            X, y = validate_data(self, array(X), y, dtype=np.float64)
        else:
            X, y = paths(X), column_or_1d(y, warn=True)
            check_consistent_length(X, y)
        check_classification_targets(y)
        return torch.from_numpy(unit_rows(X)).float() if self.backbone is None else self._features(X), y

    def _rows(self, X) -> np.ndarray:
        """Unit rows [n, D] of new images, float64."""
        check_is_fitted(self)
        if self.backbone is None:
            return unit_rows(validate_data(self, array(X), reset=False, dtype=np.float64))
        return unit_rows(self._features(paths(X)).numpy().astype(np.float64))

    def _features(self, files: list[str | Path]) -> torch.Tensor:
        return self._encoder().features(files, int(self.crops), CROP, "pictures")

    def _encoder(self) -> FeatureEncoder | None:
        """Of pictures and texts; None without a backbone."""
        return open_encoder(self.backbone, device=self.device, folder=self.store) if self.backbone is not None else None

    def _task(self, rows: torch.Tensor, labels: torch.Tensor) -> FewShotTask:
        encoder, train = self._encoder(), Split(rows, labels)
        names, width = class_names(self.classes_), rows.shape[1]
        texts = torch.zeros(len(names), width)  # no zero-shot part
        if self.class_texts is not None:
            texts = class_texts(self.class_texts, names, width)
        elif encoder:
            warn_of_numbers(names, "y", "give labels that are names, or class_texts")
            texts, _ = class_text_features(encoder, class_prompts(names, [self.template]))
        words, features = vocabulary(self.concepts, self.concept_features, names, width, encoder)
        return FewShotTask(
            tuple(names), texts, None, encoder.clip.facts.logit_scale if encoder else float(self.logit_scale),
            train, None, train.take(torch.tensor([], dtype=torch.long)), words.names, features, words.kinds,
        )  # fmt: skip

    def _for_task(self, settings: CcliSettings, task: FewShotTask) -> CcliSettings:
        """The settings where class texts or concepts may be missing, with what a sparse network chooses."""
        texts = bool(task.text_features.any())
        if self.network is None and not task.concepts:
            settings = settings_of(self, "convex")
        if settings.network != "sparse":
            return replace(settings, source="visual" if task.concepts else "none", class_axes=texts)
        if not task.concepts:
            raise InputError("network sparse needs concepts; give concepts and concept_features, or a backbone")
        if not texts:
            settings = replace(settings, class_axes=False, class_names=False, representation="cosine")
        return chosen(task, settings, selection.selected_by("validation", task), _seed(self.random_state))

    def _chosen(self, head: ConceptInference, task: FewShotTask, settings: CcliSettings) -> tuple[float, Calibration]:
        """Alpha and the calibration."""
        how, alpha = selection.selected_by("validation", task), settings.alpha
        seed = _seed(self.random_state)
        pairs = list(selection.held_out(how, task, head, lambda part: _head(part, settings), seed))
        if pairs and settings.class_axes:
            alpha = choose_alpha(pairs, settings)
        for model, _ in pairs:
            model.alpha.fill_(alpha)
        most = ENOUGH // selection.MAX_FOLDS
        return alpha, calibrate(((model, subsample(split, most)) for model, split in pairs), how)

    def _classifier(self, head, task: FewShotTask, settings, calibration: Calibration, files: list[str]) -> Classifier:
        means = task.train.class_means(task.num_classes)
        return Classifier(
            head, "CCLI", task.classnames, means.shape[1], calibration,
            () if self.backbone is None else (self.template,), self._image_spec(),
            vocabulary_facts(task.concepts) if task.concepts else None, describe(head, task, settings, files), means,
            device=self.device,
        )  # fmt: skip

    def _image_spec(self) -> ImageSpec | None:
        if self.backbone is None:
            return None
        clip, backbone = self._encoder().clip, absolute_backbone(self.backbone)
        return ImageSpec(backbone, clip.facts.fingerprint, clip.precision, int(self.crops), CROP, PHOTO)

    @torch.no_grad()
    def _logits(self, X) -> torch.Tensor:
        """[n, N], in float64: the other images of X change an image's logits by no more than 1e-12."""
        f = torch.from_numpy(self._rows(X))
        head = copy.deepcopy(self.classifier_.head).cpu().double()
        return torch.cat([head(part) for part in f.split(ROWS)])

    def _explaining(self) -> Classifier:
        if self.classifier_.concepts is None:
            raise InputError("fitted without concepts, so there are no reasons; give concepts and concept_features")
        return self.classifier_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if self.backbone is not None:
            tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = False, True, True
        return tags


def fit(X, y, **params) -> CCLIClassifier:
    """`CCLIClassifier(**params)`, fitted on images X and labels y."""
    return CCLIClassifier(**params).fit(X, y)


def _head(task: FewShotTask, settings: CcliSettings) -> ConceptInference:
    head = build(task, settings, seed=0)
    if not head.representation.width:
        raise InputError("class texts or concepts are all alike and cannot separate images; give different ones")
    return head


def _seed(random_state) -> int:
    if random_state is None or isinstance(random_state, Integral):
        return int(random_state or 0)
    return int(check_random_state(random_state).randint(2**31 - 1))
