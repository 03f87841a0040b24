"""A classifier in a folder: classifier.json, and its tensors in classifier.safetensors. Enough by themselves.

The json is written last, and names the tensors by their SHA-256, so that the two belong together; it ends with a digest
of itself, which those of older versions lack. Nothing is unpickled, and of the code only the modules of ccli.methods
are named.
"""

from __future__ import annotations

import hashlib
import json
import pkgutil
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ccli import methods
from ccli.concepts.gallery import Concepts
from ccli.errors import CcliError, first_line
from ccli.features.encoder import ImageSpec
from ccli.files.atomic import moved_into_place
from ccli.files.plain_json import loads
from ccli.files.regular import refuse_special
from ccli.files.sealed_json import check_seal, sealed
from ccli.fitting.calibration import Calibration
from ccli.inference.checks import check_facts, check_tensors
from ccli.inference.classifier import Classifier, Examples
from ccli.methods.concept_inference import ConceptInference
from ccli.methods.context_optimization import ContextOptimization
from ccli.methods.zero_shot import ZeroShot

VERSION = 1
FACTS, TENSORS = "classifier.json", "classifier.safetensors"


def save(classifier: Classifier, folder: str | Path) -> None:
    """Write a classifier into a folder, which is made if absent; one that is there is replaced.

    Raises:
        CcliError: its head is of no module of ccli.methods, or the disk refuses.
    """
    from safetensors.torch import save as to_bytes

    head = _plain(classifier.head)
    module = module_of(head)
    if not module:
        raise CcliError(f"a {type(head).__name__} cannot be saved: it is none of the heads of ccli.methods")
    tensors = {f"head.{name}": x for name, x in head.state_dict().items()}
    facts: dict[str, Any] = {
        "version": VERSION, "head": module, "method": classifier.method, "classnames": list(classifier.classnames),
        "width": classifier.width, "calibration": asdict(classifier.calibration),
        "templates": list(classifier.templates), "vocabulary": classifier.vocabulary,
        "images": asdict(classifier.images) if classifier.images else None,
    }  # fmt: skip
    if classifier.concepts is not None:
        facts["concepts"], found = _divided(classifier.concepts)
        tensors |= {f"concepts.{name}": x for name, x in found.items()}
    if classifier.prototypes is not None:
        tensors["prototypes"] = classifier.prototypes
    if classifier.examples is not None:
        facts["examples"], found = _divided(classifier.examples)
        tensors |= {f"examples.{name}": x for name, x in found.items()}
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        content = to_bytes({name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()})
        facts["tensors"] = hashlib.sha256(content).hexdigest()
        with moved_into_place(folder / TENSORS) as scratch:
            scratch.write_bytes(content)
        with moved_into_place(folder / FACTS) as scratch:
            scratch.write_text(sealed(json.dumps(facts)), encoding="utf-8")
    except OSError as error:
        raise CcliError(
            f"cannot write {error.filename or folder} ({error.strerror or error}); make room or choose another folder"
        ) from error


def load_run(folder: str | Path, device: str | torch.device = "cpu", backbone: str = "") -> Classifier:
    """The classifier in the folder of a finished run, or where `save` has put one.

    Args:
        device: where it runs.
        backbone: in place of the name or place that is in the folder, where that has moved; of the same weights.

    Raises:
        CcliError: there is none, it is of another version, or its files are damaged or do not belong together.
    """
    folder = Path(folder)
    facts = _read_facts(folder / FACTS)
    tensors = _read_tensors(folder / TENSORS, facts)
    try:
        return _built(facts, tensors, device, backbone)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, AttributeError) as error:
        raise CcliError(
            f"{folder / FACTS} is damaged ({type(error).__name__}: {first_line(error)[:100]}); make the run again"
        ) from error


def module_of(head: torch.nn.Module) -> str:
    """The name of the module of ccli.methods that a head is of, "" where it is of none that can be loaded again."""
    name = type(head).__module__.rpartition(".")[2]
    return name if name in _known() and type(head).__module__ == f"{methods.__name__}.{name}" else ""


def _known() -> set[str]:
    return {one.name for one in pkgutil.iter_modules(methods.__path__)}


def _plain(head: torch.nn.Module) -> torch.nn.Module:
    """A head that needs no text tower: the texts that CoOp has learned are zero-shot's."""
    if isinstance(head, ContextOptimization):
        with torch.no_grad():
            return ZeroShot(head.text_features(), head.logit_scale)
    return head


def _divided(record) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The fields of a dataclass: plain ones, and tensors."""
    tensors = {name: x for name, x in vars(record).items() if isinstance(x, torch.Tensor)}
    return {name: x for name, x in vars(record).items() if name not in tensors}, tensors


def _read_facts(path: Path) -> dict[str, Any]:
    refuse_special(path)
    try:
        text = path.read_text(encoding="utf-8")
        check_seal(text)
        facts = loads(text)
        version = facts["version"]
    except FileNotFoundError:
        raise CcliError(
            f"{path} is not there: the run in {path.parent} is not finished, was made by another version, or is none; "
            "give a run's own folder, or make the run again"
        ) from None
    except OSError as error:
        raise CcliError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CcliError(f"{path} is damaged ({first_line(error)[:100]}); make the run again") from error
    if version != VERSION:
        raise CcliError(f"{path} has version {version!r}, this code reads version {VERSION}; make the run again")
    return facts


def _read_tensors(path: Path, facts: dict[str, Any]) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    refuse_special(path)
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != facts.get("tensors"):
            raise CcliError(f"{path} does not belong to the {FACTS} beside it; make the run again")
        return load(content)
    except OSError as error:
        raise CcliError(f"{path} cannot be read ({error.strerror or error}); make the run again") from error
    except SafetensorError as error:
        raise CcliError(f"{path} is damaged ({first_line(error)[:100]}); make the run again") from error


def _built(facts: dict[str, Any], tensors: dict[str, torch.Tensor], device, backbone: str) -> Classifier:
    def part(name: str) -> dict[str, torch.Tensor]:
        return {key.removeprefix(name): x for key, x in tensors.items() if key.startswith(name)}

    if facts["head"] not in _known():
        raise CcliError(f"{FACTS} names a head {facts['head']!r}, which is none of ccli.methods; make the run again")
    check_facts(facts)
    check_tensors(tensors, facts)
    head = import_module(f"{methods.__name__}.{facts['head']}").from_state(part("head."))
    concepts, examples, images = facts.get("concepts"), facts.get("examples"), facts["images"]
    if images is not None:
        images = ImageSpec(**images | {"crop": tuple(images["crop"])} | ({"backbone": backbone} if backbone else {}))
    if concepts is not None:
        tuples = {name: tuple(concepts[name]) for name in ("names", "kinds")}
        concepts = Concepts(**concepts | tuples | part("concepts."))
    classifier = Classifier(
        head, facts["method"], tuple(facts["classnames"]), facts["width"], Calibration(**facts["calibration"]),
        tuple(facts["templates"]), images, facts["vocabulary"], concepts, tensors.get("prototypes"),
        Examples(**examples | part("examples.")) if examples is not None else None, device,
    )  # fmt: skip
    if classifier.logits(torch.ones(2, classifier.width)).shape[1] != len(classifier.classnames):
        raise ValueError("classes and logits differ in number")
    if concepts is not None and isinstance(head, ConceptInference):
        classifier.explain_features(torch.eye(1, classifier.width), torch.eye(1, len(classifier.classnames)))
    return classifier
