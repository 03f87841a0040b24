"""Everything on a device other than the CPU: the same numbers, nothing forgotten on the CPU, and no needless waiting.

The device is a pretence (see accelerator.py): what only a real GPU shows, such as its rounding, is not seen here.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from accelerator import DEVICE, Accelerator, Far
from helpers import make_task, unit_rows
from torch.nn import functional as F

from ccli import methods
from ccli.clip.model import FrozenClip
from ccli.features.task import FewShotTask
from ccli.fitting.training import FeatureBatches, adamw_cosine, count_correct, train
from ccli.inference.classifier import Classifier
from ccli.inference.editing import class_weights, without
from ccli.methods import ccli as ccli_method
from ccli.methods import clip_adapter, gda, linear_probe, lp_plus_plus, task_residual, tip_adapter, zero_shot
from ccli.methods.ccli import CcliSettings

CLASSES, VIEWS = 6, 3
Build = Callable[[FewShotTask], torch.nn.Module]


def few_shots(**sizes: int) -> FewShotTask:
    """A task whose training images have views."""
    task = make_task(classes=CLASSES, **sizes)
    shape = task.train.features.shape
    views = F.normalize(task.train.features + unit_rows(VIEWS, *shape, seed=7), dim=-1)
    return replace(task, train=replace(task.train, views=views, view_norms=views.new_full((VIEWS, shape[0]), 9.0)))


def ccli(**settings) -> Build:
    return lambda task: ccli_method.build(task, CcliSettings(**settings), seed=3)


TRAINED: dict[str, Build] = {  # heads that are to be trained by gradient
    "clip_adapter": clip_adapter.build,
    "task_residual": task_residual.build,
    "tip_adapter trained": lambda task: tip_adapter.build(task, 1.0, 2.0, True),
    "concept_inference": ccli(),
    "concept_inference affinity": ccli(representation="affinity"),
    "concept_inference standardised": ccli(representation="standardised", source="images", text_share=0.5),
    "concept_inference space": ccli(representation="space", distinctive=0.5),
}
CONVEX = {"network": "convex", "representation": "space"}
FITTED: dict[str, Build] = {
    "zero_shot": lambda task: zero_shot.ZeroShot(task.text_features, task.logit_scale),
    "tip_adapter": lambda task: tip_adapter.build(task, 1.0, 2.0, False),
    "gda": lambda task: gda.build(task, 1.0),
    "linear_probe": lambda task: linear_probe.fit(task.train.features, task.train.labels, 1.0, CLASSES),
    "lp_plus_plus": lambda task: lp_plus_plus.fit(task, 20),
    "concept_inference convex": ccli(**CONVEX, distinctive=0.5, text_share=0.3),
    "concept_inference text": ccli(**CONVEX, source="text", class_axes=False),
    "concept_inference random": ccli(**CONVEX, source="random"),
    "concept_inference features": ccli(network="convex", source="features"),
    "concept_inference none": ccli(**CONVEX, source="none"),
    "concept_inference sparse": ccli(network="sparse", representation="space", distinctive=1.0, text_share=0.67),
    "concept_inference bottleneck": ccli(network="sparse", representation="cosine", class_names=False),
}


def trained(head: torch.nn.Module, task: FewShotTask, batch_size: int = 8, epochs: int = 2) -> torch.nn.Module:
    batches = FeatureBatches(task.train, batch_size, shuffle=True, seed=1)
    return train(head, batches, *adamw_cosine(head, 0.01, 0.01, 20), epochs)


def coop(tower: FrozenClip, task: FewShotTask, **options) -> torch.nn.Module:
    from ccli.methods import context_optimization

    names = [f"big_dog {k}" for k in range(CLASSES)]
    return context_optimization.build(tower.text_tower, tower.tokenize, names, task.logit_scale, n_ctx=4, **options)


def assert_far(head: torch.nn.Module) -> None:
    for name, x in {**dict(head.named_parameters()), **dict(head.named_buffers())}.items():
        assert isinstance(x, Far), f"{name} is on the CPU"


def test_the_pretence_itself():
    near = torch.arange(3.0)
    with Accelerator() as device:
        far = near.to(DEVICE)
        for mixed in (lambda: far + near, lambda: torch.cat([far, near]), lambda: near[far > 0], lambda: far @ near):
            with pytest.raises(RuntimeError):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            far.numpy()
        assert (far * torch.tensor(2.0)).tolist() == [0, 2, 4] == (far[torch.tensor([0, 1, 2])] * 2).tolist()
        for made in (torch.zeros(2, device=DEVICE), far.new_tensor([1.0]), torch.tensor(1, device=DEVICE)):
            assert isinstance(made, Far) and made.device == DEVICE
        device.waits.clear()
        assert far.sum() > 2 and far.nonzero().shape == (2, 1) and far.to("cpu", non_blocking=True).equal(near)
        assert dict(device.waits) == {"aten._local_scalar_dense": 1, "aten.nonzero": 1}


def test_every_method_is_here():
    known = {module.name for module in pkgutil.iter_modules(methods.__path__)}
    heads = {name for name in known if hasattr(import_module(f"ccli.methods.{name}"), "from_state")}
    assert heads == {name.split()[0] for name in (*TRAINED, *FITTED)}  # context_optimization is a test of its own


@pytest.mark.parametrize("name", [*TRAINED, *FITTED])
def test_a_head(name):
    """Fitted or trained, used, and rebuilt from its tensors."""
    task = few_shots()
    make = FITTED.get(name) or (lambda task: trained(TRAINED[name](task), task))
    wanted = make(task)(task.test.features)
    with Accelerator() as device:
        far = task.to(DEVICE)
        head = make(far)
        assert_far(head)
        device.waits.clear()
        with torch.no_grad():
            found = head(far.test.features)
        assert not device.waits, "a forward pass waits"
        assert torch.equal(found.cpu(), wanted)
        again = import_module(f"ccli.methods.{name.split()[0]}").from_state(head.state_dict())
        assert_far(again)
        assert torch.equal(again(far.test.features).cpu(), wanted)


@pytest.mark.parametrize("source", ["visual", "text"])
def test_concepts_taken_out(source):
    task = few_shots()
    s = CcliSettings(network="sparse", representation="space", source=source, text_share=0.5, concepts_per_class=3)

    def edited(task: FewShotTask, device: torch.device) -> Classifier:
        head = ccli_method.build(task, s, seed=3)
        concepts = ccli_method.describe(head, task, s, [""] * len(task.train))
        run = Classifier(head, "CCLI", task.classnames, task.train.features.shape[1], concepts=concepts, device=device)
        return without(run, concepts.names[:2], task.train)

    wanted = edited(task, torch.device("cpu"))
    with Accelerator():
        found = edited(task.to(DEVICE), DEVICE)
        assert_far(found.head)
        assert torch.equal(found.logits(task.test.features), wanted.logits(task.test.features))
        assert found.explain(task.test.features[:2]) == wanted.explain(task.test.features[:2])
        assert class_weights(found, [0]) == class_weights(wanted, [0])
    assert found.edited == wanted.edited and found.concepts.names == wanted.concepts.names


@pytest.mark.parametrize("name", TRAINED)
def test_no_step_of_training_waits(name):
    waits = []
    for batch_size in (3, 24):  # 8 steps an epoch, and 1
        with Accelerator() as device:
            task = few_shots().to(DEVICE)
            head = TRAINED[name](task)
            device.waits.clear()
            trained(head, task, batch_size)
            waits.append(device.waits)
    assert waits[0] == waits[1]


def test_no_step_of_lp_plus_plus_waits():
    waits = []
    for steps in (5, 50):
        counts = []
        with Accelerator() as device:
            task = few_shots().to(DEVICE)
            lp_plus_plus.fit(
                task, steps, lambda _, head, task=task, kept=counts: kept.append(count_correct(head, task.val))
            )
        assert len(counts) == steps
        waits.append(device.waits)
    assert waits[0] == waits[1]


@pytest.fixture(scope="module")
def far_clip(tiny_clip_folder) -> FrozenClip:
    with Accelerator():
        clip = FrozenClip(str(tiny_clip_folder), DEVICE)
        assert clip.text_tower.mask.device == DEVICE
    return clip


@pytest.mark.parametrize("options", [{}, {"class_specific": True, "position": "middle", "init": "a photo of a"}])
def test_learned_contexts(tiny_clip, far_clip, options):
    task = few_shots(width=128)
    wanted = trained(coop(tiny_clip, task, **options), task)(task.test.features)
    with Accelerator() as device:
        task, waits = task.to(DEVICE), []
        for batch_size in (24, 8):
            head = coop(far_clip, task, **options)
            assert_far(head)
            device.waits.clear()
            trained(head, task, batch_size)
            waits.append(dict(device.waits))
        assert torch.equal(head(task.test.features).cpu(), wanted)
    assert waits[0] == waits[1]
