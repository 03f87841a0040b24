"""A classifier in a folder: classifier.json, and its tensors in classifier.safetensors. Enough by themselves.

The json is written last, and names the tensors by their SHA-256, so that the two belong together; it ends with a digest
of itself, which those of older versions lack. Nothing is unpickled. The head is of a module of ccli.methods, or of a
plugin that the user has named (ccli.plugins); no file can have another module imported.
"""

import hashlib
import json
import pkgutil
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ccli import methods, plugins
from ccli.concepts.gallery import Concepts
from ccli.errors import CcliError, first_line, os_errors
from ccli.features.encoder import ImageSpec
from ccli.files.atomic import write_whole
from ccli.files.regular import refuse_special
from ccli.files.sealed_json import read_sealed, sealed
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
        CcliError: its head is neither of ccli.methods nor of a plugin, or the disk refuses.
    """
    from safetensors.torch import save as to_bytes

    head = _plain(classifier.head)
    if not (module := module_of(head)):
        raise CcliError(f"a {type(head).__name__} cannot be saved: it is neither of ccli.methods nor of a plugin")
    tensors = {f"head.{name}": x for name, x in head.state_dict().items()}
    facts: dict[str, Any] = {
        "version": VERSION, "head": module, "method": classifier.method, "classnames": list(classifier.classnames),
        "width": classifier.width, "calibration": asdict(classifier.calibration),
        "templates": list(classifier.templates), "vocabulary": classifier.vocabulary,
        "images": asdict(classifier.images) if classifier.images else None,
    }  # fmt: skip
    if classifier.edited is not None:
        facts["edited"] = classifier.edited
    if classifier.concepts is not None:
        facts["concepts"], found = _divided(classifier.concepts)
        tensors |= {f"concepts.{name}": x for name, x in found.items()}
    if classifier.prototypes is not None:
        tensors["prototypes"] = classifier.prototypes
    if classifier.examples is not None:
        facts["examples"], found = _divided(classifier.examples)
        tensors |= {f"examples.{name}": x for name, x in found.items()}
    content = to_bytes({name: x.detach().cpu().contiguous().clone() for name, x in tensors.items()})
    facts["tensors"] = hashlib.sha256(content).hexdigest()
    write_whole(Path(folder) / TENSORS, content)
    write_whole(Path(folder) / FACTS, sealed(json.dumps(facts)))


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
        why = f"{type(error).__name__}: {first_line(error, 100)}"
        raise CcliError(f"{folder / FACTS} is damaged ({why}); make the run again") from error


def module_of(head: torch.nn.Module) -> str:
    """The name of a head's module in ccli.methods, or its full name in a plugin; "" where it cannot be loaded again."""
    full = type(head).__module__
    name = full.removeprefix(f"{methods.__name__}.")
    return name if name in _known() or plugins.is_plugin(full) else ""


def _known() -> set[str]:
    return {one.name for one in pkgutil.iter_modules(methods.__path__)}


def _module(name: str) -> ModuleType:
    """The module that `module_of` named: only of ccli.methods, or of a plugin that the user has named."""
    if name in _known():
        return import_module(f"{methods.__name__}.{name}")
    if "." in name and plugins.is_plugin(name):
        return import_module(name)
    remedy = f"name its package in {plugins.VARIABLE}, or make the run again" if "." in name else "make the run again"
    raise CcliError(f"{FACTS} names a head {name!r}, which is not in ccli.methods; {remedy}")


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
    if not path.exists():
        why = f"the run in {path.parent} is not finished, was made by another version, or is none"
        raise CcliError(f"{path} is not there: {why}; give a run's own folder, or make the run again")
    try:
        with os_errors(f"{path} cannot be read", "check its permissions"):
            facts = read_sealed(path)
        version = facts["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise CcliError(f"{path} is damaged ({first_line(error, 100)}); make the run again") from error
    if version != VERSION:
        raise CcliError(f"{path} has version {version!r}, this code reads version {VERSION}; make the run again")
    return facts


def _read_tensors(path: Path, facts: dict[str, Any]) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    refuse_special(path)
    with os_errors(f"{path} cannot be read", "make the run again"):
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != facts.get("tensors"):
        raise CcliError(f"{path} does not belong to the {FACTS} beside it; make the run again")
    try:
        return load(content)
    except SafetensorError as error:
        raise CcliError(f"{path} is damaged ({first_line(error, 100)}); make the run again") from error


def _built(facts: dict[str, Any], tensors: dict[str, torch.Tensor], device, backbone: str) -> Classifier:
    def part(name: str) -> dict[str, torch.Tensor]:
        return {key.removeprefix(name): x for key, x in tensors.items() if key.startswith(name)}

    module = _module(facts["head"])
    check_facts(facts)
    check_tensors(tensors, facts)
    head = module.from_state(part("head."))
    concepts, examples, images = facts.get("concepts"), facts.get("examples"), facts["images"]
    if images is not None:
        images = ImageSpec(**images | {"crop": tuple(images["crop"])} | ({"backbone": backbone} if backbone else {}))
    if concepts is not None:
        tuples = {name: tuple(concepts[name]) for name in ("names", "kinds")}
        concepts = Concepts(**concepts | tuples | part("concepts."))
    classifier = Classifier(
        head, facts["method"], tuple(facts["classnames"]), facts["width"], Calibration(**facts["calibration"]),
        tuple(facts["templates"]), images, facts["vocabulary"], concepts, tensors.get("prototypes"),
        Examples(**examples | part("examples.")) if examples is not None else None, facts.get("edited"), device,
    )  # fmt: skip
    if classifier.logits(torch.ones(2, classifier.width)).shape[1] != len(classifier.classnames):
        raise ValueError("classes and logits differ in number")
    if concepts is not None and isinstance(head, ConceptInference):
        classifier.explain_features(torch.eye(1, classifier.width), torch.eye(1, len(classifier.classnames)))
    return classifier
