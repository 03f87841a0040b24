"""Where a trainer's features come from: a feature bundle, or images through the feature store."""

import io
import os
from contextlib import redirect_stdout
from functools import cached_property
from pathlib import Path

import torch
from dassl.data.datasets import build_dataset

from ccli.clip.prompts import CONCEPT_TEMPLATE, class_prompts, templates_for
from ccli.concepts.vocabulary import DEFAULT_KIND, Vocabulary, read_vocabulary, without_class_names
from ccli.errors import CcliError
from ccli.features.bundles import array_names
from ccli.features.class_texts import class_text_features
from ccli.features.decoding import BENCHMARK, PHOTO
from ccli.features.encoder import open_encoder
from ccli.features.keys import default_store, images_stamp
from ccli.features.task import Split, unit
from ccli.trainers.common.options import picture_folder


def feature_source(cfg, dataset, device: torch.device):
    """The source that fits a data set; both kinds have the same methods and backbone, weights, logit_scale."""
    return (BundleSource if hasattr(dataset, "bundle") else ImageSource)(cfg, dataset, device)


def stamp_of_images(dataset, cfg, trained: bool = True) -> str:
    """What the images of a run are known by, of an evaluation those of the test; "" for a bundle, which has none."""
    if hasattr(dataset, "bundle"):
        return ""
    items = [*dataset.train_x, *(dataset.val or []), *dataset.test] if trained else dataset.test
    return images_stamp((item.impath for item in items), _root(cfg))


def are_its_images(cfg, record: dict, trained: bool = True) -> bool:
    """Whether a folder of pictures holds those of a record. Images of other data sets are not looked at, for speed."""
    if not picture_folder(cfg) or (trained and cfg.SEED < 0):
        return True
    return record.get("images") == stamp_of_images(build_quietly(cfg), cfg, trained)


def build_quietly(cfg):
    """A run's data set, without the lines that it prints about its folder."""
    with redirect_stdout(io.StringIO()):
        return build_dataset(cfg)


def check_has_text(bundle: str, trainer: str) -> None:
    """Raise CcliError where a bundle has no text features; one that is absent or damaged is left to `read_bundle`."""
    if Path(bundle).expanduser().is_file() and "text_features" not in array_names(bundle):
        raise CcliError(f"bundle {bundle} has no text_features, and {trainer} needs them; write it with class texts")


class BundleSource:
    """Rows of a bundle that the data set has drawn."""

    def __init__(self, cfg, dataset, device: torch.device):
        self.cfg, self.dataset, self.bundle, self.device = cfg, dataset, dataset.bundle, device
        self.classnames, self.logit_scale = dataset.bundle.classnames, dataset.bundle.logit_scale
        self.backbone, self.weights = "bundle", f"bundle of width {self.bundle.train.features.shape[1]}"

    def train(self, with_views: bool) -> Split:
        return self.bundle.train.take(self.dataset.rows["train"]).to(self.device)

    def val(self) -> Split | None:
        rows = self.dataset.rows["val"]
        return self.bundle.val.take(rows).to(self.device) if self.bundle.val is not None and len(rows) else None

    def test(self) -> Split:
        test = self.bundle.test
        if self.cfg.PROTOCOL == "paper" and not isinstance(test.features, torch.Tensor):
            test = Split(test.features[:], test.labels)  # it is chosen on, and in one piece
        return test.to(self.device)

    def templates(self) -> tuple[str, ...]:
        return ()

    def text(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.bundle.text_features.to(self.device), self.bundle.text_norms.to(self.device)

    def concepts(self) -> tuple[Vocabulary, torch.Tensor]:
        if self.cfg.FEATURES.VOCABULARY:
            raise CcliError("FEATURES.VOCABULARY needs a text tower, which a bundle lacks; put concepts in the bundle")
        if self.bundle.concept_features is None:
            raise CcliError(
                f"bundle {self.cfg.DATASET.BUNDLE} has no concepts and concept_features, and "
                f"{self.cfg.TRAINER.NAME} needs them; write it with text concepts"
            )
        names = self.bundle.concepts
        vocabulary = _left(Vocabulary(names, (DEFAULT_KIND,) * len(names)), self.classnames)
        kept = set(vocabulary.names)
        rows = [k for k, name in enumerate(names) if name in kept]
        return vocabulary, self.bundle.concept_features[rows].to(self.device)


class ImageSource:
    """Images and texts, encoded once and kept."""

    def __init__(self, cfg, dataset, device: torch.device, lock: str = "lock"):
        self.cfg, self.dataset, self.device = cfg, dataset, device
        self.backbone = cfg.MODEL.BACKBONE.NAME
        if not self.backbone:
            raise CcliError("no backbone: give --backbone NAME or MODEL.BACKBONE.NAME in the trainer's yaml")
        self.classnames = tuple(dataset.classnames)
        decoding = getattr(dataset, "decoding", BENCHMARK)
        root = None if decoding == PHOTO else _root(cfg)
        self.encoder = open_encoder(
            self.backbone, cfg.FEATURES.PRECISION, device, store_folder(cfg), root, decoding, lock
        )  # fmt: skip
        self.clip = self.encoder.clip

    @property
    def weights(self) -> str:
        """A fingerprint of what made the features."""
        return self.clip.facts.fingerprint

    @cached_property
    def logit_scale(self) -> float:
        return self.clip.facts.logit_scale

    def train(self, with_views: bool) -> Split:
        split = self._split(self.dataset.train_x, "training images")
        if not with_views or self.cfg.FEATURES.VIEWS < 1:
            return split
        paths = [item.impath for item in self.dataset.train_x]
        views = self.encoder.views(paths, self.cfg.FEATURES.VIEWS, tuple(self.cfg.FEATURES.CROP), "augmented views")
        return Split(split.features, split.labels, unit(views), views.norm(dim=-1)).to(self.device)

    def val(self) -> Split | None:
        return self._split(self.dataset.val, "validation images") if self.dataset.val else None

    def test(self) -> Split:
        return self._split(self.dataset.test, "test images")

    def templates(self) -> tuple[str, ...]:
        """The prompt templates of the class texts."""
        templates = templates_for(self.cfg.DATASET.NAME, self.cfg.FEATURES.TEMPLATES)
        own = getattr(self.dataset, "templates", ()) if self.cfg.FEATURES.TEMPLATES == "single" else ()
        return tuple(own or templates)

    def text(self) -> tuple[torch.Tensor, torch.Tensor]:
        prompts = class_prompts(self.classnames, self.templates())
        features, norms = class_text_features(self.encoder, prompts)
        return features.to(self.device), norms.to(self.device)

    def concepts(self) -> tuple[Vocabulary, torch.Tensor]:
        vocabulary = _left(read_vocabulary(self.cfg.FEATURES.VOCABULARY or None), self.classnames)
        sentences = [CONCEPT_TEMPLATE.format(name) for name in vocabulary.names]
        return vocabulary, unit(self.encoder.texts(sentences, "concepts")).to(self.device)

    def wanted(self, trainer, trained: bool = True) -> list[tuple[list[str], tuple]]:
        """The images that a run of a trainer class encodes, or its evaluation where not `trained`.

        Pairs (paths, views) as `FeatureEncoder.missing` takes them, views () for none.
        """
        node, crop = self.cfg.FEATURES, tuple(self.cfg.FEATURES.CROP)
        shots = [item.impath for item in self.dataset.train_x] if trainer.method.uses_shots and trained else []
        val = [item.impath for item in self.dataset.val or []] if trainer.method.uses_shots else []
        images = [*shots, *val, *(item.impath for item in self.dataset.test)]
        found: list[tuple[list[str], tuple]] = [(images, (node.CROPS, crop) if node.CROPS else ())]
        if trainer.method.uses_views and shots and node.VIEWS > 0:
            found.append((shots, (node.VIEWS, crop)))
        return found

    def _split(self, items, what: str) -> Split:
        node = self.cfg.FEATURES
        features = self.encoder.features([item.impath for item in items], node.CROPS, tuple(node.CROP), what)
        return Split(features, torch.tensor([item.label for item in items])).to(self.device)


def _root(cfg) -> str:
    """What the store's names of images start from: DATASET.ROOT, or a folder of pictures itself."""
    return str(picture_folder(cfg) or os.path.abspath(cfg.DATASET.ROOT or "."))


def store_folder(cfg) -> Path:
    """FEATURES.STORE, else the environment's CCLI_STORE, else DATA/.ccli_features.

    For a folder of one's own pictures the last is the default of the estimator and of new pictures.
    """
    if cfg.FEATURES.STORE:
        return Path(cfg.FEATURES.STORE)
    if picture_folder(cfg) or os.environ.get("CCLI_STORE"):
        return default_store()
    return Path(cfg.DATASET.ROOT or ".") / ".ccli_features"


def _left(vocabulary: Vocabulary, classnames) -> Vocabulary:
    kept, dropped = without_class_names(vocabulary, classnames)
    print(f"{len(kept)} text concepts; {dropped} that name a class are left out")
    if not len(kept):
        raise CcliError("no text concept is left: every entry names a class; give another FEATURES.VOCABULARY")
    return kept
