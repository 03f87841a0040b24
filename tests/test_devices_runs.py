"""Selection, towers, classifiers and whole runs on a device other than the CPU; see test_devices.py."""

import pickle

import numpy as np
import pytest
import torch
from accelerator import DEVICE, Accelerator
from dassl.engine import SimpleTrainer
from helpers import bundle_args, bundle_file, make_bundle, make_task, run_here
from torch.overrides import TorchFunctionMode

from ccli import CCLIClassifier, load_run
from ccli.clip.model import FrozenClip
from ccli.features import crops, encoder
from ccli.features.bundles import read_bundle, write_bundle
from ccli.features.encoder import FeatureEncoder
from ccli.fitting import calibration, selection
from ccli.methods import clip_adapter, concept_inference, gda, tip_adapter
from ccli.results.records import read_record

WAYS = {
    "accuracy": lambda task: selection.score(_folds(task, gda.build), gda.CANDIDATES),
    "likelihood": lambda task: selection.score(_folds(task, gda.build), (0.0, 1.0), "likelihood"),
    "grid": lambda task: tip_adapter.search(_folds(task, _cache), (0.1, 1.0, 5.0), (0.5, 2.0)).tolist(),
    "temperature": lambda task: calibration.calibrate(_some(_folds(task, gda.build)), "").temperature,
    "class means": lambda task: task.train.class_means(task.num_classes).tolist(),
    "some classes": lambda task: _facts(task.of_classes({4: 0, 1: 1})),
    "some concepts": lambda task: _facts(task.of_concepts(torch.tensor([7, 3]))),
    "error": lambda task: calibration.calibration_error(task.test.features[:, 0].abs(), task.test.labels > 2),
}


def _cache(task, weight):
    return tip_adapter.build(task, weight, 1.0, False)


def _folds(task, build):
    return selection.held_out("cross-validation", task, None, lambda part: build(part, 1.0), 1)


def _some(pairs):
    return ((head, calibration.subsample(split, 5)) for head, split in pairs)


def _facts(task) -> list:
    return [task.classnames, task.concepts] + [
        x.tolist() for x in (task.text_features, task.concept_features, *(vars(task.train).values())) if x is not None
    ]


@pytest.mark.parametrize("name", WAYS)
def test_choosing(name):
    wanted = WAYS[name](make_task())
    with Accelerator():
        assert WAYS[name](make_task().to(DEVICE)) == wanted


def test_a_gpu_is_given_more_at_once():
    head = gda.build(make_task(), 1.0)
    assert selection.at_once(10, head) == 10
    with Accelerator():
        assert selection.at_once(10, head.to(DEVICE)) == 160


def test_a_bundle_that_lies_elsewhere_is_written(tmp_path):
    write_bundle(tmp_path / "near.npz", make_bundle())
    with Accelerator():
        write_bundle(tmp_path / "far.npz", make_bundle().to(DEVICE))
    near, far = (read_bundle(tmp_path / f"{name}.npz") for name in ("near", "far"))
    assert torch.equal(near.test.features, far.test.features) and torch.equal(near.train.labels, far.train.labels)


@pytest.fixture
def in_turn(monkeypatch):
    """No threads, which would not know of the pretend device, and no inference mode, in which it makes no views."""

    def one_after_another(work, blocks, size):
        for block in blocks:
            yield block, torch.cat([work(block[k : k + size]) for k in range(0, len(block), size)])

    monkeypatch.setattr(encoder, "in_threads", one_after_another)
    monkeypatch.setattr(torch, "inference_mode", lambda on=True: torch.set_grad_enabled(not on))


def test_towers(tiny_clip, tiny_clip_folder, image_folder, in_turn):
    paths, texts = sorted(image_folder.iterdir()), ["a photo of a cat.", "", "a house and a long rest of a sentence"]

    def features(clip):
        found = FeatureEncoder(clip, None, image_folder)
        return found.images(paths), found.views(paths, 2, (0.5, 1.0)), found.texts(texts)

    wanted = features(tiny_clip)
    with Accelerator() as device:
        clip = FrozenClip(str(tiny_clip_folder), DEVICE)
        for a, b in zip(wanted, features(clip)):  # stored as half floats; convolutions and attention are other kernels
            torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-4)
        device.waits.clear()
        clip.encode_text(texts)
        assert not {"aten._local_scalar_dense", "copy to the CPU"} & set(device.waits)
        device.waits.clear()
        clip.encode_image(crops.normalised([np.zeros((64, 64, 3), np.uint8)], (0.5,) * 3, (0.5,) * 3, DEVICE))
        assert not device.waits


class Calls(TorchFunctionMode):
    """Takes copies to a GPU, and into memory that it copies from, for done, and writes them down."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func not in (torch.Tensor.pin_memory, torch.Tensor.to):
            return func(*args, **kwargs or {})
        self.made = [*getattr(self, "made", []), (func.__name__, *args[1:], *(kwargs or {}).items())]
        return args[0]


def test_images_are_copied_by_a_gpu_itself():
    with Calls() as calls:
        crops.normalised([np.zeros((4, 4, 3), np.uint8)], (0.5,) * 3, (0.5,) * 3, "cuda")
    assert calls.made == [("pin_memory",)] + 3 * [("to", "cuda", ("non_blocking", True))]


@pytest.mark.parametrize(("precision", "rounded"), [("fp32", False), ("bf16", True)])
def test_float32_is_float32_on_a_gpu(tiny_clip_folder, monkeypatch, precision, rounded):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **__: self)
    assert FrozenClip(str(tiny_clip_folder), "cuda", precision).model is not None
    assert torch.backends.cudnn.allow_tf32 is rounded


def test_a_network_leaves_the_generators_of_gpus_alone(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    concept_inference.mlp(4, 3, 2, seed=5), clip_adapter.bottleneck(4, 2, seed=5)
    assert seeded == []


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return {"val": bundle_file(folder), "none": bundle_file(folder, "none.npz", val=0)}


def use_the_device(patch: pytest.MonkeyPatch) -> None:
    """Trainers run on the pretend device."""
    patch.setattr(SimpleTrainer, "device", property(lambda _: DEVICE, lambda *_: None), raising=False)


@pytest.fixture
def far(monkeypatch):
    use_the_device(monkeypatch)
    with Accelerator() as device:
        yield device


RUNS = {
    "CCLI": (), "CCLI mlp": ("TRAINER.CCLI.NETWORK", "mlp", "OPTIM.MAX_EPOCH", 3), "ZeroshotCLIP": (), "GDA": (),
    "LinearProbe": (), "LPPlusPlus": ("TRAINER.LPPLUSPLUS.STEPS", 20), "TipAdapter": (),
    **{name: ("OPTIM.MAX_EPOCH", 3) for name in ("TipAdapterF", "TaskRes", "CLIPAdapter")},
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_a_run(bundles, tmp_path, monkeypatch, name):
    trainer, val = name.split()[0], "val" if name in ("CCLI mlp", "LinearProbe", "CLIPAdapter") else "none"
    argv = [bundle_args(bundles[val], tmp_path / place, *RUNS[name], trainer=trainer) for place in ("near", "far")]
    run_here(*argv[0])
    with monkeypatch.context() as patch, Accelerator():
        use_the_device(patch)
        run_here(*argv[1])
    near, far = (read_record(tmp_path / place) for place in ("near", "far"))
    assert far["versions"]["device"] == "lazy"
    assert {key for key in near if near[key] != far[key]} <= {"seconds", "versions"}
    wanted = load_run(tmp_path / "near")
    with Accelerator() as device:
        run = load_run(tmp_path / "far", DEVICE)
        device.pickled = 0
        again = pickle.loads(pickle.dumps(run))
        assert device.pickled == 0
    X = make_task().test.features
    with Accelerator():
        assert (run.predict_proba(X.to(DEVICE)) == wanted.predict_proba(X)).all()
        if trainer == "CCLI":
            assert run.explain(X[:2].to(DEVICE)) == wanted.explain(X[:2])
            assert run.explain_class("class 1", "class 2") == wanted.explain_class("class 1", "class 2")
    assert (again.predict_proba(X) == wanted.predict_proba(X)).all()


@pytest.mark.parametrize("name", ["CCLI mlp", "TipAdapterF"])
def test_a_step_of_a_run_waits_once(bundles, tmp_path, far, name):
    """For the loss and the accuracy, which Dassl's log has of each batch."""
    waits = []
    for size in (24, 6):  # 1 and 4 batches an epoch
        far.waits.clear()
        options = (*RUNS[name], "DATALOADER.TRAIN_X.BATCH_SIZE", size)
        run_here(*bundle_args(bundles["val"], tmp_path / f"{size}", *options, trainer=name.split()[0]))
        waits.append(far.waits.total())
    assert waits[1] - waits[0] == 3 * (4 - 1)


def test_an_evaluation_on_some_of_the_classes(bundles, tmp_path, far):
    argv = bundle_args(bundles["val"], tmp_path / "run", trainer="GDA")
    run_here(*argv)
    some = bundle_args(bundles["val"], tmp_path / "again", "DATASET.SUBSAMPLE_CLASSES", "new", trainer="GDA")
    run_here("--eval-only", "--model-dir", tmp_path / "run", *some)
    assert len(read_record(tmp_path / "again")["per_class"]) == 3


def test_a_run_is_resumed(bundles, tmp_path, far):
    argv = bundle_args(bundles["val"], tmp_path / "run", *RUNS["TaskRes"], trainer="TaskRes")
    run_here(*argv)
    first = read_record(tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    run_here(*argv)
    assert read_record(tmp_path / "run")["predictions"] == first["predictions"]


def test_the_estimator():
    task = make_task(val=0)
    given = {"concepts": task.concepts, "logit_scale": task.logit_scale}
    wanted = CCLIClassifier(class_texts=task.text_features, concept_features=task.concept_features, **given)
    wanted.fit(task.train.features, task.train.labels)
    with Accelerator() as device:
        t = task.to(DEVICE)
        texts = dict(enumerate(t.text_features))
        model = CCLIClassifier(class_texts=texts, concept_features=t.concept_features, device=DEVICE, **given)
        model.fit(t.train.features, t.train.labels)
        model.set_params(class_texts=None, concept_features=None)
        found, reasons = model.predict_proba(t.test.features), model.explain(t.test.features[:1])
        device.pickled = 0
        content = pickle.dumps(model)
        assert device.pickled == 0
    X = task.test.features
    assert (found == wanted.predict_proba(X)).all() and reasons == wanted.explain(X[:1])
    assert (pickle.loads(content).predict_proba(X) == found).all()
