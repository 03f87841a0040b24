"""The classifier in a run's folder, fuzzed: its json, its tensors, the header of their file, all bytes."""

import hashlib
import json
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import nn

from ccli.concepts import representation
from ccli.concepts.discovery import concept_vectors
from ccli.features.bundles import read_bundle
from ccli.features.encoder import ImageSpec
from ccli.features.task import FewShotTask
from ccli.fitting.calibration import Calibration
from ccli.inference.classifier import Classifier, Examples
from ccli.inference.saving import FACTS, TENSORS, load_run, save
from ccli.methods import clip_adapter, concept_inference, gda, lp_plus_plus, task_residual, tip_adapter
from ccli.methods.ccli import CcliSettings, build, describe
from ccli.methods.linear_probe import LinearProbe
from ccli.methods.zero_shot import ZeroShot
from stress.fuzz.mutations import damage_bytes, damage_json, damage_value, to_json
from stress.fuzz.targets import Target, small_arrays

NAMES = ("utf-8", "surrogatepass")  # of files and classes, which need not be UTF-8
SIZES = (0, 1, 2, 10**6, 10**9, 10**12, -1)
TYPES = (torch.float16, torch.float64, torch.int8, torch.int64, torch.bool, torch.bfloat16, torch.complex64)
SPARSE = CcliSettings(representation="space", network="sparse", text_share=0.67)
NUMBERS = (0, -1, 3, 1e30, float("nan"), float("inf"), 10**9, -(10**12))


def heads(task: FewShotTask) -> dict[str, nn.Module]:
    """One of each module of ccli.methods that a run can leave."""
    f, labels, text = task.train.features, task.train.labels, task.text_features
    found: dict[str, nn.Module] = {
        "ZeroshotCLIP": ZeroShot(text, 100.0), "LinearProbe": LinearProbe(text, torch.zeros(3)),
        "CLIPAdapter": clip_adapter.build(task), "TipAdapter": tip_adapter.build(task, 1.0, 1.0, False),
        "TaskRes": task_residual.build(task), "GDA": gda.build(task, 1.0),
        "LPPlusPlus": lp_plus_plus.start(f, labels, text),
    }  # fmt: skip
    concepts = concept_vectors("visual", task.concept_features, f, 2, 0)
    for kind, network in (("space", "convex"), ("plain", "mlp"), ("affinity", "convex")):
        r = representation.build(kind, concepts, task)
        found[f"CCLI {kind}"] = concept_inference.build(r, task, network, 4, 0.3, 1.0, 1.0, 0)
    found["CCLI sparse"] = build(task, SPARSE, 0)
    return found


def classifier(name: str, head: nn.Module, task: FewShotTask) -> Classifier:
    images = ImageSpec("demo-clip", "0" * 16, "fp32", 0, (0.5, 1.0), "photo")
    more = {}
    if name.startswith("CCLI"):
        kind = name.split()[1]
        settings = SPARSE if kind == "sparse" else CcliSettings(top_k=2, representation=kind)
        concepts = describe(head, task, settings, ["a.png"] * 6)
        examples = Examples(["a.png"] * 2, [0, 1], [1, 1], task.test.features[:2])
        more = {"concepts": concepts, "prototypes": task.train.class_means(3), "examples": examples}
        more["vocabulary"] = {"fingerprint": "0", "size": 2}
        more["edited"] = {"dropped": ["red"], "refitted": True} if kind == "sparse" else None
    return Classifier(
        head, name.split()[0], task.classnames, 5, Calibration(2.0, "validation"), ("a {}",), images, **more
    )


class ClassifierReader(Target):
    """ccli.load_run, and probabilities, labels and reasons of what it lets through."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        np.savez(folder / "task.npz", **small_arrays())
        task, self.good = read_bundle(folder / "task.npz"), []
        for name, head in heads(task).items():
            save(classifier(name, head, task), folder / "good")
            facts, tensors = (folder / "good" / FACTS).read_bytes(), (folder / "good" / TENSORS).read_bytes()
            self.good += [(facts, tensors)] * (3 if name.startswith("CCLI") else 1)
        (folder / "run").mkdir(exist_ok=True)

    def damage(self, rng: Random) -> None:
        facts, tensors = rng.choice(self.good)
        kind = rng.randrange(8)
        if kind == 0:
            facts = damage_bytes(rng, facts)
        elif kind < 4:
            facts = damage_json(rng, json.loads(facts))
        else:
            tensors = (_damaged_tensors, _damaged_tensors, _damaged_header, damage_bytes)[kind - 4](rng, tensors)
            said = json.loads(facts) | {"tensors": hashlib.sha256(tensors).hexdigest()}
            facts = damage_json(rng, said) if rng.randrange(5) == 0 else json.dumps(said).encode()
        (self.folder / "run" / FACTS).write_bytes(facts)
        (self.folder / "run" / TENSORS).write_bytes(tensors)

    def read(self) -> None:
        found = load_run(self.folder / "run")
        f = np.eye(2, found.width) + 0.01
        if not np.isfinite(found.predict_proba(f)).all():
            raise ValueError("a classifier whose probabilities are not finite was let through")
        " ".join([*found.predict(f), *found.templates]).encode(*NAMES)
        if found.concepts is not None:
            found.explain(f)
            found.explain_class(found.classnames[0], found.classnames[-1])
            _look_up(found)


def _look_up(found: Classifier) -> None:
    """Read all that the page of concepts reads."""
    concepts, examples = found.concepts, found.examples
    for *_, picks in zip(concepts.names, concepts.kinds, concepts.distinctiveness, concepts.picks, strict=True):
        _ = [(concepts.images[k].encode(*NAMES), found.classnames[concepts.labels[k]]) for k in picks]
    for row, path in enumerate(examples.paths if examples is not None else []):
        path.encode(*NAMES), found.classnames[examples.labels[row]], found.classnames[examples.predictions[row]]
        _ = examples.features[row]


def _damaged_tensors(rng: Random, content: bytes) -> bytes:
    from safetensors.torch import load
    from safetensors.torch import save as to_bytes

    tensors = dict(sorted(load(content).items()))  # which come in no order
    for _ in range(rng.randint(1, 2)):
        name, kind = rng.choice(sorted(tensors)), rng.randrange(6)
        x = tensors[name]
        if kind == 0:
            tensors[name] = x.to(rng.choice(TYPES))
        elif kind == 1:
            tensors[name] = rng.choice(
                (x[None], x.flatten(), x.flatten()[:0], x.flatten()[:1], x.movedim(0, -1) if x.ndim else x)
            )
        elif kind == 2:
            other = rng.choice((name + "x", "head.x", rng.choice(sorted(tensors))))
            tensors[other] = tensors.pop(name)
        elif kind == 3 and len(tensors) > 1:
            del tensors[name]
        elif kind == 4:
            shape = [rng.choice((0, 10**6, 10**9)) if rng.randrange(2) else n for n in x.shape]
            shape = shape[:3] if 0 in shape[:3] else [0, *shape[:2]]  # torch counts strides in 64 bits
            tensors[name] = torch.empty(shape, dtype=x.dtype)
        elif x.numel():
            y = x.flatten().double()
            y[rng.randrange(len(y))] = rng.choice(NUMBERS)
            tensors[name] = y.to(x.dtype).view(x.shape)  # integers take what is left of it
    return to_bytes({name: x.contiguous().clone() for name, x in tensors.items()})


def _damaged_header(rng: Random, content: bytes) -> bytes:
    """Other names, types, shapes and places in the json at the start of the file, and a length that fits it or not."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if rng.randrange(2):
        entry = header[rng.choice([name for name in header if name != "__metadata__"])]
        entry["shape"] = [rng.choice(SIZES) for _ in range(rng.randrange(4))]
    text = to_json(rng, damage_value(rng, header))
    size = rng.choice((len(text), len(text), len(text), 2**40, 2**63, 0))
    return size.to_bytes(8, "little") + text + content[8 + length :]
