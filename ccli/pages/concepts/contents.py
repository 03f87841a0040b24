"""What the page shows of a run, as `ccli.pages.concepts.render_concepts` takes it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ccli.concepts.gallery import Concepts
from ccli.errors import CcliError
from ccli.inference.explanations import Parts, strongest
from ccli.pages.concepts.thumbnails import thumbnails
from ccli.pages.report.sections import shots_text, value_text
from ccli.results.records import RECORD, read_record

MOST_CONCEPTS = 300  # the most distinctive; those that have a part in a class or an image come on top
MANY_CLASSES = 60
MARKS = (8, 4)  # concepts for and against a class
SEPARATE = (6, 2)  # a class and its rival
EXPLAIN = (6, 4)  # a test image; of a sparse network, all concepts are listed in these three places
SYNONYMS = 3  # other names of a concept
ROWS = 256  # explained at a time
NO_CONCEPTS = "explanations need a run of CCLI with visual or text concepts"


def contents(folder: str | Path) -> dict[str, Any]:
    """The contents of the page about the run in a folder.

    Raises:
        CcliError: no finished run of CCLI is there, or it has no concepts to show.
    """
    from ccli import load_run

    run = load_run(folder)
    if run.edited is not None and not (Path(folder) / RECORD).exists():
        raise CcliError(
            f"{folder} holds an edited classifier, which was not tested; give the run that it was made from, "
            f"or see what is left with: ccli explain --model-dir {folder} --class CLASS"
        )
    return contents_of(run, read_record(folder), str(folder))


def contents_of(run: Any, record: dict[str, Any], name: str = "the run") -> dict[str, Any]:
    """The same from a loaded run and its record.

    Raises:
        CcliError: as above, or run and record are not of the same classes.
    """
    if run.concepts is None:
        raise CcliError(f"{name} has no concepts to show: {NO_CONCEPTS}")
    if len(record["per_class"]) != len(run.classnames):
        counts = f"{len(run.classnames)} classes and its record {len(record['per_class'])}"
        raise CcliError(f"{name} has {counts}; give the folder of a run, not of its test elsewhere")
    many = len(run.classnames) > MANY_CLASSES
    classes, examples = _classes(run, record, many), _examples(run)
    kept = _kept(run, [*_all_parts(classes), *_all_parts(examples)])
    place = {concept: k for k, concept in enumerate(kept)}
    for parts in [*_all_parts(classes), *_all_parts(examples)]:
        parts["concepts"] = [(place[k], value) for k, value in parts["concepts"]]
        parts["lacked"] = [place[k] for k in parts["lacked"]]
    concepts, kinds = _concepts(run, kept)
    images, notes = _images(run, examples, concepts, classes)
    return {
        "title": f"What a run of CCLI saw in {record['dataset']}", "overview": _overview(run, record),
        "notes": [*record.get("warnings", ()), *_left_out(run, kept), *notes], "many": many, "sparse": run.sparse,
        "kinds": kinds, "images": images, "concepts": concepts, "classes": classes, "examples": examples,
    }  # fmt: skip


def _overview(run: Any, record: dict[str, Any]) -> list[tuple[str, str]]:
    accuracy = f"{record['accuracy']:.2f} % ({record['correct']} of {record['total']} test images)"
    found = [
        ("Method", run.method), ("Data set", record["dataset"]), ("Backbone", record["backbone"]),
        ("Shots", shots_text(record["shots"])), ("Seed", str(record["seed"])), ("Accuracy", accuracy),
        ("Temperature", value_text(float(run.temperature))),
    ]  # fmt: skip
    calibration = record.get("calibration") or {}
    if "ece" in calibration:
        found.append(("Calibration error (ECE)", f"{100 * calibration['ece']:.2f} %"))
    training = f"{len(run.concepts.labels)} images, {len(run.concepts.names)} concepts"
    return [*found, ("Learned from", training)]


def _classes(run: Any, record: dict[str, Any], many: bool) -> list[dict[str, Any]]:
    """Every class, with what marks it and what tells it from those it is confused with."""
    count = len(run.classnames)
    others = () if run.sparse else range(count)
    marks = _explained(run, run.prototypes, [(label, others) for label in range(count)])
    members = defaultdict(list)
    for row, label in enumerate(run.concepts.labels):
        members[label].append(row)
    confused = _confused(record["labels"], record["predictions"], count, 2 if many else 3)
    separations = _separations(run, [(label, other) for label in confused for other, _, _ in confused[label]])
    return [
        {
            "name": run.classnames[label], "correct": share["correct"], "total": share["total"],
            "images": members[label][: 1 if many else 6], "marks": _shown(parts, *_most(run, MARKS)),
            "confused": [
                {"class": other, "as": taken, "from": given, "parts": separations[label, other]}
                for other, taken, given in confused[label]
            ],
        }
        for label, (share, parts) in enumerate(zip(record["per_class"], marks))
    ]  # fmt: skip


def _confused(
    labels: Sequence[int], predictions: Sequence[int], count: int, most: int
) -> dict[int, list[tuple[int, int, int]]]:
    """For each class the most confused others: (class, its images taken for that one, that one's taken for it)."""
    wrong = Counter((a, b) for a, b in zip(labels, predictions) if a != b and 0 <= a < count and 0 <= b < count)
    others = defaultdict(set)
    for a, b in wrong:
        others[a].add(b)
        others[b].add(a)
    found = {}
    for label in range(count):
        counted = [(other, wrong[label, other], wrong[other, label]) for other in others[label]]
        found[label] = sorted(counted, key=lambda c: (-c[1] - c[2], c[0]))[:most]
    return found


def _separations(run: Any, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], dict[str, Any]]:
    """What tells images of one class from those of the other, in the logit of the one less the other's."""
    if not pairs:
        return {}
    directions = [(label, (other,)) for label, other in pairs]
    ones = _explained(run, run.prototypes[[label for label, _ in pairs]], directions)
    others = _explained(run, run.prototypes[[other for _, other in pairs]], directions)
    most = _most(run, SEPARATE)
    return {pair: _shown(one - other, *most, of_two=True) for pair, one, other in zip(pairs, ones, others)}


def _most(run: Any, most: tuple[int, int]) -> tuple[int, int]:
    """How many concepts for and against are listed."""
    return (len(run.concepts.names),) * 2 if run.sparse else most


def _examples(run: Any) -> list[dict[str, Any]]:
    """The kept test images, mistakes first, each with what its answer is made of."""
    kept = run.examples
    labels, predictions = [int(k) for k in kept.labels], [int(k) for k in kept.predictions]
    if not labels:
        return []
    probabilities = (run.logits(kept.features) / run.temperature).double().softmax(1)
    why = _explained(run, kept.features, [(label, ()) for label in predictions])
    instead = _explained(run, kept.features, [(p, (t,)) for p, t in zip(predictions, labels)])
    most = _most(run, EXPLAIN)
    found = [
        {
            "image": row, "label": label, "prediction": prediction,
            "probability": _rounded(probabilities[row, prediction]), "parts": _shown(parts, *most),
            "instead": _shown(difference, *most) if label != prediction else None,
        }
        for row, (label, prediction, parts, difference) in enumerate(zip(labels, predictions, why, instead))
    ]  # fmt: skip
    return sorted(found, key=lambda one: one["label"] == one["prediction"])


def _explained(run: Any, features: torch.Tensor, directions: Sequence[tuple[int, Sequence[int]]]) -> Iterator[Parts]:
    """The parts of each image's logit of a class, less the mean logit of other classes, one image's at a time.

    Args:
        run: from `ccli.load_run`.
        features: [B, D]
        directions: B of (the class, those whose mean logit is taken off it, which may be none).
    """
    for start in range(0, len(features), ROWS):
        f = features[start : start + ROWS]
        direction = f.new_zeros(len(f), len(run.classnames))
        for row, (label, others) in zip(direction, directions[start : start + ROWS]):
            row[label] += 1
            if len(others):
                row[list(others)] -= 1 / len(others)
        found = run.explain_features(f, direction)
        yield from map(found.row, range(len(f)))


def _shown(parts: Parts, most_for: int, most_against: int, of_two: bool = False) -> dict[str, Any]:
    """What the page needs of one image's parts, with concepts by their place in the run.

    Args:
        of_two: whether they are a difference of two images' parts, neither of which the cosines are of.
    """
    chosen = strongest(parts.concepts, most_for, most_against)
    lacked = [] if of_two else [k for k in chosen if parts.cosines[k] < 0]
    rest = parts.concepts.sum() - parts.concepts[chosen].sum()
    sums = {name: _rounded(getattr(parts, name).sum()) for name in ("total", "zero_shot", "class_texts", "constant")}
    return sums | {
        "concepts": [(k, _rounded(parts.concepts[k])) for k in chosen],
        "lacked": lacked,
        "others": (len(parts.concepts) - len(chosen), _rounded(rest)),
    }


def _rounded(value: torch.Tensor | float) -> float:
    """Six decimals: more than is shown, and short in the page."""
    return round(float(value), 6) or 0.0  # not -0.0


def _all_parts(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every decomposition in classes or examples."""
    found = []
    for entry in entries:
        found += [entry[name] for name in ("marks", "parts", "instead") if entry.get(name)]
        found += [pair["parts"] for pair in entry.get("confused", ())]
    return found


def _kept(run: Any, decompositions: Sequence[dict[str, Any]]) -> list[int]:
    """The concepts that the page has, most distinctive first."""
    order = run.concepts.distinctiveness.argsort(descending=True, stable=True).tolist()
    named = {k for parts in decompositions for k, _ in parts["concepts"]}
    return [k for rank, k in enumerate(order) if rank < MOST_CONCEPTS or k in named]


def _left_out(run: Any, kept: Sequence[int]) -> list[str]:
    left = len(run.concepts.names) - len(kept)
    if not left:
        return []
    which = "concept that is" if left == 1 else "concepts that are"
    return [f"Left out: {left} {which} less distinctive and not among the strongest for any class or image here."]


def _concepts(run: Any, kept: Sequence[int]) -> tuple[list[dict[str, Any]], list[str]]:
    """(the kept concepts, the kinds they are of); images are rows of the training images."""
    kinds = list(dict.fromkeys(run.concepts.kinds[k] for k in sorted(kept)))
    concepts = [
        {
            "name": run.concepts.names[k], "kind": kinds.index(run.concepts.kinds[k]),
            "distinctiveness": _rounded(run.concepts.distinctiveness[k]),
            "images": [int(row) for row in run.concepts.picks[k]],
            **_naming(run.concepts, k),
        }
        for k in kept
    ]  # fmt: skip
    return concepts, kinds


def _naming(concepts: Concepts, k: int) -> dict[str, Any]:
    """How well concept k's name fits, and its other names; nothing of what is not known."""
    found: dict[str, Any] = {"doubtful": True} if concepts.doubtful(k) else {}
    if concepts.ranks:
        found["better"] = concepts.ranks[k]
    if concepts.synonyms and concepts.synonyms[k]:
        found |= {"also": concepts.synonyms[k][:SYNONYMS], "more": len(concepts.synonyms[k][SYNONYMS:])}
    return found


def _images(
    run: Any, examples: list[dict], concepts: list[dict], classes: list[dict]
) -> tuple[list[dict[str, Any]], list[str]]:
    """(the pictures, notes on those that are not there); rows in the entries become places among the pictures.

    Test images come first, then concepts' from the most distinctive on, then classes', so that these are there where
    the page would become too large.
    """
    test, train = run.examples, run.concepts
    found = [(test.paths[one["image"]], int(test.labels[one["image"]])) for one in examples]
    for k, one in enumerate(examples):
        one["image"] = k
    places: dict[int, int] = {}
    for entry in [*concepts, *classes]:
        for row in entry["images"]:
            if row not in places:
                places[row] = len(found)
                found.append((train.images[row], int(train.labels[row])))
        entry["images"] = [places[row] for row in entry["images"]]
    uris, notes = thumbnails([path or "" for path, _ in found])
    if not any(path for path, _ in found):
        notes = ["A feature bundle has no pictures: an empty field with the name of a class stands for its image."]
    return [{"label": label, "uri": uri} for (_, label), uri in zip(found, uris)], notes
