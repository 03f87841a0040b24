"""Concepts taken out of a trained classifier, such as a background that its training images happen to share.

Only a sparse network has concepts that can be taken out one by one: in the others all concepts share the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

import torch

from ccli.concepts.gallery import Concepts
from ccli.errors import CcliError, listed, nearest
from ccli.features.task import Split
from ccli.inference.classifier import Classifier
from ccli.methods import sparse_inference
from ccli.methods.concept_inference import ConceptInference
from ccli.methods.sparse_inference import SparseLinear


def without(
    classifier: Classifier, names: str | Iterable[str], shots: Split | None = None, refit: bool = True
) -> Classifier:
    """A classifier that lacks the concepts of these names, in all classes; the one given stays as it is.

    The other weights are fitted anew on the training images, by the penalty and beside the zero-shot part of the first
    fit; where these images are not at hand, the weights stay. `edited` says which. The weight alpha of the network and
    the calibration stay as they are: probabilities may be a little less calibrated than before.

    Args:
        names: of concepts, as `concepts_of` takes them.
        shots: the training images and the index of each one's class; None: those that `stored_shots` finds.
        refit: False keeps the other weights in any case.

    Raises:
        CcliError: the network is not sparse, a name is unknown (the nearest is named), or shots do not fit.
        FloatingPointError: the loss of the fit is not finite.
    """
    found = concepts_of(classifier, names)
    gone = {row for rows in found.values() for row in rows}
    kept = [row for row in range(len(classifier.concepts.names)) if row not in gone]
    network = classifier.head.network.take(kept)
    if refit and shots is None:
        shots, _ = stored_shots(classifier)
    refitted = refit and shots is not None
    if refitted:
        network = _refitted(classifier, network, shots)
    head = copy.deepcopy(classifier.head)
    head.network = network
    before = classifier.edited["dropped"] if classifier.edited else []
    edited = {"dropped": [*before, *found], "refitted": refitted}
    new = replace(classifier, head=head, concepts=classifier.concepts.take(kept), edited=edited)
    if new.examples is not None:
        predictions = new.logits(new.examples.features).argmax(1).tolist()
        new.examples = replace(new.examples, predictions=predictions)
    return new


def concepts_of(classifier: Classifier, names: str | Iterable[str]) -> dict[str, list[int]]:
    """The rows of the classifier's concepts that each name means: by name, synonym, or title ("looks like NAME").

    Raises:
        CcliError: as `without`.
    """
    names = list(dict.fromkeys([names] if isinstance(names, str) else names))
    known = _by_name(_editable(classifier))
    if unknown := [name for name in names if name not in known]:
        if before := [name for name in unknown if classifier.edited and name in classifier.edited["dropped"]]:
            raise CcliError(f"{', '.join(map(repr, before))}: taken out of this classifier before; name others")
        hints = "".join(dict.fromkeys(nearest(name, known) for name in unknown))
        has = listed(sorted(set(classifier.concepts.names))) or "none"
        raise CcliError(f"no concept {', '.join(map(repr, unknown))}.{hints} The classifier has {has}")
    if not names:
        raise CcliError("no concept to take out; give one or more names")
    return {name: known[name] for name in names}


def stored_shots(classifier: Classifier) -> tuple[Split | None, str]:
    """The training images by their files, or None and the reason why they are not at hand.

    They are encoded as new pictures are, so that those of a benchmark have other random crops than in their run.
    """
    concepts = _editable(classifier)
    if not all(concepts.images):
        return None, "it was trained on features, which a classifier does not keep"
    try:
        return Split(classifier.features(concepts.images), torch.tensor(concepts.labels)), ""
    except CcliError as error:
        return None, str(error)


def class_weights(classifier: Classifier, rows: list[int]) -> dict[str, float]:
    """The sum of the weights of these concepts in each class where it is not 0, the largest first."""
    _editable(classifier)
    weights = (classifier.head.alpha * classifier.head.network.take(rows).weight.sum(1)).tolist()
    found = {name: weight for name, weight in zip(classifier.classnames, weights) if weight}
    return dict(sorted(found.items(), key=lambda one: -abs(one[1])))


def _editable(classifier: Classifier) -> Concepts:
    """The classifier's concepts, refused where they cannot be taken out one by one."""
    head = classifier.head
    if not (isinstance(head, ConceptInference) and isinstance(head.network, SparseLinear)):
        what = f"this classifier of {classifier.method} has no sparse network, whose concepts alone can be taken out"
        raise CcliError(f"{what}; train CCLI with a sparse network")
    if classifier.concepts is None:
        raise CcliError("this classifier's concepts have no names; train CCLI on visual or text concepts")
    return classifier.concepts


def _by_name(concepts: Concepts) -> dict[str, list[int]]:
    known: dict[str, list[int]] = {}
    for row, name in enumerate(concepts.names):
        for one in {name, concepts.title(row), *(concepts.synonyms[row] if concepts.synonyms else ())}:
            known.setdefault(one, []).append(row)
    return known


@torch.no_grad()
def _refitted(classifier: Classifier, network: SparseLinear, shots: Split) -> SparseLinear:
    head, (f, labels), count = classifier.head, (shots.features, shots.labels), len(classifier.classnames)
    if not len(labels) or f.shape != (len(labels), classifier.width):
        wanted = f"one or more labels, and as many features of width {classifier.width}"
        raise CcliError(f"shots have {len(labels)} labels and features of shape {tuple(f.shape)}; give {wanted}")
    if int(labels.min()) < 0 or int(labels.max()) >= count:
        raise CcliError(f"shots have labels from {int(labels.min())} to {int(labels.max())}; give 0 to {count - 1}")
    f, labels = f.to(classifier.device), labels.to(classifier.device)
    return sparse_inference.refit(network, head.parts(f)[0], head.representation(f), labels)
