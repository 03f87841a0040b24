"""CCLI: concepts from the shots, images on them, and a network that infers the class, fused with zero-shot.

Cross-Modal Concept Learning and Inference (Zhang, Zhang, Tang, He; arXiv 2307.15460). `build` fits a head to a task,
`choose_alpha` weighs its network on held-out images, and `describe` gives its concepts for people to look at.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real

from ccli.concepts import representation
from ccli.concepts.discovery import SOURCES, concept_vectors, discover
from ccli.concepts.distinctiveness import distinctiveness
from ccli.concepts.gallery import Concepts
from ccli.concepts.representation import KINDS, centred_rows
from ccli.concepts.vocabulary import DEFAULT_KIND
from ccli.errors import SettingError, check_choice, check_setting
from ccli.features.task import FewShotTask, Split
from ccli.fitting import selection
from ccli.methods import concept_inference
from ccli.methods.concept_inference import ConceptInference

NETWORKS = ("mlp", "convex")
CRITERIA = ("accuracy", "likelihood")
DESCRIBED = ("visual", "text")  # sources whose vectors are those of named concepts


@dataclass(frozen=True)
class CcliSettings:
    """The settings of CCLI; the defaults are the plain form of the paper's abstract.

    Raises:
        SettingError: a setting cannot be used.
    """

    source: str = "visual"  # of the vectors that images are compared with: the method's, or a control (see discovery)
    num_concepts: int = 0  # a random part of the vocabulary; 0 is all of it
    top_k: int = 3  # images behind a visual concept
    text_share: float = 0.0  # of the text concept in the vectors, 0 to 1
    representation: str = "plain"  # plain | standardised | affinity | space
    beta: float = 5.0  # affinity: sharpness
    class_axes: bool = True  # space: the class texts are a group of concepts, too
    distinctive: float = 0.0  # space: a concept is weighted by this power of its distinctiveness
    network: str = "mlp"  # mlp: two layers, trained by gradient | convex: one layer, fitted by penalised likelihood
    hidden: int = 512  # mlp: width of the hidden layer
    penalty: float = 0.3  # convex: lambda
    temperature: float = 1.0  # share of the logit scale that zero-shot logits keep
    alpha: float = 1.0  # weight of the network while it is fitted, and where nothing chooses another
    alphas: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0)  # candidates, as multiples of alpha; 0 is zero-shot
    criterion: str = "accuracy"  # accuracy | likelihood of held-out labels: what alpha is chosen by

    def __post_init__(self) -> None:
        for name, known in (
            ("source", SOURCES), ("representation", KINDS), ("network", NETWORKS), ("criterion", CRITERIA),
        ):  # fmt: skip
            check_choice(name, getattr(self, name), known)
        for name, least in (("top_k", 1), ("hidden", 1), ("num_concepts", 0)):
            value = getattr(self, name)
            check_setting(isinstance(value, Integral) and value >= least, name, f"an integer >= {least}", value)
        for name in ("beta", "penalty", "temperature", "alpha"):
            value = getattr(self, name)
            check_setting(_is_number(value) and value > 0, name, "a number > 0", value)
        check_setting(
            _is_number(self.distinctive) and self.distinctive >= 0, "distinctive", "a number >= 0", self.distinctive
        )
        share, alphas = self.text_share, self.alphas
        check_setting(_is_number(share) and 0 <= share <= 1, "text_share", "a number from 0 to 1", share)
        good = all(map(_is_number, alphas)) and 0.0 in alphas and min(alphas) >= 0
        check_setting(good, "alphas", "numbers >= 0, 0 (zero-shot) among them", tuple(alphas))
        if self.source == "none" and self.representation != "space":
            raise SettingError("source", "none leaves class texts alone: the representation must be space")


def _is_number(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) < float("inf")


def build(task: FewShotTask, settings: CcliSettings, seed: int) -> ConceptInference:
    """A head of the task's shots and concepts; a "convex" network is fitted, an "mlp" is to be trained.

    `seed` is that of random concepts, and of the start of an "mlp".
    """
    s = settings
    vectors = concept_vectors(s.source, task.concept_features, task.train.features, s.top_k, seed, s.text_share)
    r = representation.build(s.representation, vectors, task, s.beta, s.class_axes, float(s.distinctive))
    penalty, temperature = float(s.penalty), float(s.temperature)  # NumPy's numbers are not torch's
    return concept_inference.build(r, task, s.network, s.hidden, penalty, temperature, s.alpha, seed)


def choose_alpha(pairs: Iterable[tuple[ConceptInference, Split]], settings: CcliSettings) -> float:
    """The network's weight that is best by the criterion, on pairs of a head and held-out images; of ties the least."""
    alphas = [settings.alpha * share for share in sorted(settings.alphas)]
    return selection.choose(alphas, selection.score(pairs, alphas, settings.criterion))


def describe(task: FewShotTask, settings: CcliSettings, images: Sequence[str]) -> Concepts | None:
    """The concepts that a head was built with; None where its vectors are those of no named concepts.

    `images` are files of the training images, or "" for each.
    """
    s = settings
    if s.source not in DESCRIBED:
        return None
    features, labels = task.train.features, task.train.labels
    _, picks = discover(task.concept_features, features, s.top_k)
    vectors, judges = concept_vectors(s.source, task.concept_features, features, s.top_k, 0, s.text_share)
    found = distinctiveness(judges, task)
    weights = found ** float(s.distinctive) if s.distinctive else None
    rows = centred_rows(vectors, weights) if s.representation == "space" else vectors
    kinds = task.concept_kinds or (DEFAULT_KIND,) * len(task.concepts)
    return Concepts(task.concepts, kinds, rows.cpu(), found.cpu(), picks.tolist(), list(images), labels.tolist())
