"""CCLI: concepts from the shots, images on them, and a network that infers the class, fused with zero-shot.

Cross-Modal Concept Learning and Inference (Zhang, Zhang, Tang, He; arXiv 2307.15460). `build` fits a head to a task,
`choose_alpha` weighs its network on held-out images, and `describe` gives its concepts for people to look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real

import torch
from torch import nn

from ccli.concepts import candidates, representation
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
from ccli.methods.sparse_inference import SparseLinear, refit, sparse_path

NETWORKS = ("mlp", "convex", "sparse")
CRITERIA = ("accuracy", "likelihood")
MOST_CLASSES = 200  # that a sparse network's settings are chosen on
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
    # | sparse: a few concepts per class, the weights fitted by penalised likelihood
    concepts_per_class: int = 5  # sparse: the most concepts per class
    class_names: bool = True  # sparse: False is the pure bottleneck, where concepts alone decide, without zero-shot
    sizes: tuple[int, ...] = candidates.SIZES  # sparse: images behind a visual concept, each size a candidate
    text_shares: tuple[float, ...] = ()  # sparse: candidates for text_share; () leaves it as it is
    penalties: tuple[float, ...] = ()  # sparse: candidates for the penalty; () leaves it as it is
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
        counts = (("top_k", 1), ("hidden", 1), ("num_concepts", 0), ("concepts_per_class", 1))
        for name, least in counts:
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
        shares, penalties = tuple(self.text_shares), tuple(self.penalties)
        good = all(_is_number(x) and 0 <= x <= 1 for x in shares)
        check_setting(good, "text_shares", "numbers from 0 to 1", shares)
        check_setting(all(_is_number(x) and x > 0 for x in penalties), "penalties", "numbers > 0", penalties)
        good = bool(self.sizes) and all(isinstance(x, Integral) and x >= 1 for x in self.sizes)
        check_setting(good, "sizes", "integers >= 1", tuple(self.sizes))
        if self.source == "none" and self.representation != "space":
            raise SettingError("source", "none leaves class texts alone: the representation must be space")
        if self.network == "sparse":
            self._check_sparse()

    def _check_sparse(self) -> None:
        known = ("space", "cosine") if self.class_names else ("cosine",)
        if self.representation not in known:
            raise SettingError("representation", f"of a sparse network must be {' or '.join(known)} here")
        if self.source not in candidates.SOURCES:
            raise SettingError("source", f"of a sparse network must be one of {', '.join(candidates.SOURCES)}")


def _is_number(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) < float("inf")


def build(task: FewShotTask, settings: CcliSettings, seed: int) -> ConceptInference:
    """A head of the task's shots and concepts; a "convex" or "sparse" network is fitted, an "mlp" is to be trained.

    `seed` is that of random concepts, and of the start of an "mlp".
    """
    s = settings
    if s.network == "sparse":
        parts = SparseParts(task, s, seed)
        *_, head = parts.path(parts.candidates(s.text_share), s.penalty)
        head.network = refit(head.network, parts.offset, parts.images, task.train.labels)
        return head
    r = _represented(task, s, seed)
    penalty, temperature = float(s.penalty), float(s.temperature)  # NumPy's numbers are not torch's
    return concept_inference.build(r, task, s.network, s.hidden, penalty, temperature, s.alpha, seed)


def _represented(task: FewShotTask, s: CcliSettings, seed: int, text_share: float | None = None) -> nn.Module:
    share = s.text_share if text_share is None else text_share
    vectors = concept_vectors(s.source, task.concept_features, task.train.features, s.top_k, seed, share)
    return representation.build(s.representation, vectors, task, s.beta, s.class_axes, float(s.distinctive))


Sparse = tuple[float, float, int]  # text share, penalty, concepts per class


class SparseParts:
    """What the sparse heads of a task share: text concepts, the concept space, zero-shot logits of the shots.

    The space is that of the class texts and of the text concepts; a control has its own vectors in their place.
    """

    def __init__(self, task: FewShotTask, settings: CcliSettings, seed: int):
        s = self.settings = settings
        self.task, self.seed = task, seed
        self.text = candidates.text_concepts(task, s.class_names)
        self.space = _represented(task, s, seed, 1.0 if s.source == "visual" else 0.0)
        self.temperature = float(s.temperature) if s.class_names else 0.0
        f = task.train.features
        with torch.no_grad():
            self.images = self.space(f)
            self.offset = self.temperature * task.logit_scale * f @ task.text_features.T

    def candidates(self, text_share: float) -> candidates.Candidates:
        s = self.settings
        return candidates.candidates(s.source, self.text, self.task, float(text_share), s.sizes, self.seed)

    def heads(self) -> Iterator[tuple[Sparse, ConceptInference]]:
        """Each head that is chosen from, of every share of the text, penalty and number of concepts."""
        s = self.settings
        for share in s.text_shares or (s.text_share,):
            found = self.candidates(share)
            for penalty in s.penalties or (s.penalty,):
                for m, head in enumerate(self.path(found, penalty), 1):
                    yield (share, penalty, m), head

    def path(self, found: candidates.Candidates, penalty: float) -> Iterator[ConceptInference]:
        """Heads with 1, 2, ... `concepts_per_class` concepts per class, of these candidates (see `sparse_path`)."""
        places = self.space(found.vectors + self.space.mean)  # a centred concept
        most, task = self.settings.concepts_per_class, self.task
        networks = sparse_path(
            self.offset, self.images, task.train.labels, places, found.concepts, float(penalty), most
        )  # fmt: skip
        for network in networks:
            yield ConceptInference(
                self.space, network, task.text_features, task.logit_scale, self.temperature, self.settings.alpha
            )  # fmt: skip


def fewer_classes(task: FewShotTask) -> FewShotTask:
    """The task, of many classes MOST_CLASSES, evenly spaced, which suffice to choose a sparse network's settings on.

    These are three numbers, and a fit takes time with the square of the classes.
    """
    if (classes := task.num_classes) <= MOST_CLASSES:
        return task
    return task.of_classes({k * classes // MOST_CLASSES: k for k in range(MOST_CLASSES)})


def sparse_scores(
    splits: Iterable[tuple[FewShotTask, Split]], settings: CcliSettings, seed: int
) -> dict[Sparse, float]:
    """The log-likelihood of held-out images' labels under each sparse network to choose from, over all pairs.

    Args:
        splits: pairs of a task to fit on and images to choose on (`selection.splits`).
    """
    scores = {}
    for task, images in splits:
        parts = SparseParts(task, settings, seed)
        for key, head in parts.heads():
            with torch.no_grad():
                found = selection.log_likelihoods(head(images.features), images.labels).cpu()
            scores[key] = scores.get(key, 0) + found
    return {key: float(value.max()) for key, value in scores.items()}


def chosen(task: FewShotTask, settings: CcliSettings, how: str, seed: int) -> CcliSettings:
    """The settings with what a sparse network chooses on held-out images; the same where there is nothing to choose.

    Args:
        how: as `selection.selected_by` gives it.
    """
    if settings.network != "sparse" or how not in selection.HELD_OUT:
        return settings
    scores = sparse_scores(selection.splits(how, fewer_classes(task), seed), settings, seed)
    share, penalty, most = max(scores, key=lambda key: (scores[key], -key[2]))  # of ties the fewest concepts
    return replace(settings, text_share=share, penalty=penalty, concepts_per_class=most)


def choose_alpha(pairs: Iterable[tuple[ConceptInference, Split]], settings: CcliSettings) -> float:
    """The network's weight that is best by the criterion, on pairs of a head and held-out images; of ties the least."""
    alphas = [settings.alpha * share for share in sorted(settings.alphas)]
    return selection.choose(alphas, selection.score(pairs, alphas, settings.criterion))


def describe(
    head: ConceptInference, task: FewShotTask, settings: CcliSettings, images: Sequence[str], seed: int = 0
) -> Concepts | None:
    """The concepts that a head was built with; None where its vectors are those of no named concepts.

    Of a sparse network these are the concepts that have a weight. `images` are files of the training images, or "" for
    each.
    """
    s = settings
    if s.source not in DESCRIBED:
        return None
    if s.network == "sparse":
        return _describe_sparse(head.network, SparseParts(task, s, seed), list(images))
    features, labels = task.train.features, task.train.labels
    _, picks = discover(task.concept_features, features, s.top_k)
    vectors, judges = concept_vectors(s.source, task.concept_features, features, s.top_k, 0, s.text_share)
    found = distinctiveness(judges, task)
    weights = found ** float(s.distinctive) if s.distinctive else None
    rows = centred_rows(vectors, weights) if s.representation == "space" else vectors
    kinds = task.concept_kinds or (DEFAULT_KIND,) * len(task.concepts)
    return Concepts(task.concepts, kinds, rows.cpu(), found.cpu(), picks.tolist(), list(images), labels.tolist())


def _describe_sparse(network: SparseLinear, parts: SparseParts, images: list[str]) -> Concepts:
    text, task, found = parts.text, parts.task, parts.candidates(parts.settings.text_share)
    chosen = network.chosen.tolist()
    of, vectors = found.concepts[network.chosen.cpu()].tolist(), found.vectors[network.chosen]
    picks = [found.picks[k] for k in chosen]
    x = candidates.centred_images(task)
    means = torch.stack([x[rows].mean(0) for rows in picks]) if picks else x[:0]
    ranks = candidates.name_ranks(text.features[of], means, text.features).tolist()
    names, kinds = tuple(text.names[k] for k in of), tuple(text.kinds[k] for k in of)
    return Concepts(
        names, kinds, vectors.cpu(), distinctiveness((vectors,), task).cpu(), picks, images, task.train.labels.tolist(),
        ranks, [list(text.synonyms[k]) for k in of],
    )  # fmt: skip
