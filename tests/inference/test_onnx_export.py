import importlib.util
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import make_task, unit_rows

from ccli.clip.model import FrozenClip
from ccli.concepts import representation
from ccli.concepts.discovery import concept_vectors
from ccli.errors import CcliError
from ccli.features.crops import normalised
from ccli.features.encoder import ImageSpec
from ccli.features.task import unit
from ccli.fitting.calibration import Calibration
from ccli.inference import onnx_export, saving
from ccli.inference.classifier import Classifier
from ccli.inference.onnx_export import export
from ccli.methods import (
    ccli,
    clip_adapter,
    concept_inference,
    gda,
    linear_probe,
    lp_plus_plus,
    task_residual,
    tip_adapter,
    zero_shot,
)
from ccli.methods.ccli import CcliSettings

needs_packages = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript")),
    reason='ONNX is absent: pip install -e ".[onnx]"',
)
NAMES = ("a", "größe", 'said "c"', "d", "e", "f")


def ccli_head(task, kind, network):
    vectors = concept_vectors("visual", task.concept_features, task.train.features, 3, 0)
    r = representation.build(kind, vectors, task, 3.0)
    return concept_inference.build(r, task, network, 16, 0.3, 0.5, 0.7, 0)


def residual(task):
    head = task_residual.build(task, 0.5)
    torch.nn.init.normal_(head.residual, generator=torch.Generator().manual_seed(0))
    return head


HEADS = {
    "zero-shot": lambda task: zero_shot.ZeroShot(task.text_features, 100.0),
    "linear probe": lambda task: linear_probe.fit(task.train.features, task.train.labels, 100.0, 6),
    "CLIP-Adapter": clip_adapter.build,
    "Tip-Adapter": lambda task: tip_adapter.build(task, 3.0, 5.5, trainable=False),
    "TaskRes": residual,
    "LP++": lp_plus_plus.fit,
    "GDA": lambda task: gda.build(task, 1.0),
    "CCLI space convex": lambda task: ccli_head(task, "space", "convex"),
    "CCLI sparse": lambda task: ccli.build(task, CcliSettings(network="sparse", representation="space"), 0),
    "CCLI plain mlp": lambda task: ccli_head(task, "plain", "mlp"),
    "CCLI standardised convex": lambda task: ccli_head(task, "standardised", "convex"),
    "CCLI affinity mlp": lambda task: ccli_head(task, "affinity", "mlp"),
}


def loaded(head, folder, **fields) -> Classifier:
    """What a run with this head leaves, read again."""
    settings = {"method": "M", "classnames": NAMES, "width": 32, "calibration": Calibration(0.7, "validation")}
    saving.save(Classifier(head, **settings | fields), folder)
    return saving.load_run(folder)


def on_features(folder) -> Classifier:
    return loaded(zero_shot.ZeroShot(unit_rows(6, 32), 100.0), folder)


def on_pictures(folder, backbone, crops=0, precision="fp32") -> Classifier:
    clip = FrozenClip(str(backbone))
    width = clip.model.text_projection.shape[1]
    spec = ImageSpec(str(backbone), clip.facts.fingerprint, precision, crops, (0.3, 1.0), "pillow")
    return loaded(zero_shot.ZeroShot(unit_rows(6, width), 100.0), folder, width=width, images=spec)


def run(path, given) -> tuple[np.ndarray, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return tuple(session.run(["logits", "probabilities"], {session.get_inputs()[0].name: given}))


def metadata(path) -> dict[str, str]:
    import onnx

    return {one.key: one.value for one in onnx.load(path).metadata_props}


@pytest.fixture(scope="module")
def tiny_vit(tmp_path_factory):
    """A folder with a vision transformer of random weights."""
    from open_clip.factory import create_model
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("vit")
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 16}
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    state = create_model(f"local-dir:{folder}", load_weights=False).state_dict()
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


@needs_packages
@pytest.mark.parametrize("kind", HEADS)
def test_every_head_from_features(kind, tmp_path, capfd):
    task = make_task()
    classifier = loaded(HEADS[kind](task), tmp_path)
    capfd.readouterr()
    done = export(classifier, tmp_path / "new/model.onnx")
    assert capfd.readouterr() == ("", "")
    assert done.paths == (tmp_path / "new/model.onnx",) == tuple((tmp_path / "new").iterdir())
    assert done.whole is None and 0 <= done.difference <= 1e-4
    for n in (1, 3, len(task.test)):
        f = 7 * task.test.features[-n:]  # not unit rows
        logits, probabilities = run(done.features, f.numpy())
        np.testing.assert_allclose(logits, classifier.logits(f), atol=1e-4, rtol=1e-5)
        np.testing.assert_allclose(probabilities, classifier.predict_proba(f), atol=1e-4)


@needs_packages
@pytest.mark.parametrize(
    "model, crops, precision",
    [
        ("demo-clip", 0, "fp32"),
        ("tiny", 2, "bf16"),
        ("vit", 2, "fp32"),
        pytest.param("demo-clip", 3, "fp32", marks=pytest.mark.slow),  # crops are those of the two before
    ],
)
def test_the_whole_from_pictures(model, crops, precision, tmp_path, image_folder, tiny_clip_folder, tiny_vit):
    backbone = {"tiny": tiny_clip_folder, "vit": tiny_vit}.get(model, model)
    classifier = on_pictures(tmp_path, backbone, crops, precision)
    done = export(classifier, tmp_path / "out/m.onnx")
    assert done.paths == (tmp_path / "out/m.onnx", tmp_path / "out/m.features.onnx")
    assert sorted(done.paths) == sorted((tmp_path / "out").iterdir()) and done.difference <= 1e-4
    if precision == "bf16":
        classifier = replace(classifier, images=replace(classifier.images, precision="fp32"))
    paths = sorted(image_folder.iterdir())[:4]
    pixels = np.stack([classifier.pixels(path) for path in paths])
    size = classifier.encoder.clip.facts.image_size
    assert pixels.shape == (4, max(1, crops), size, size, 3) and pixels.dtype == np.uint8
    clip = classifier.encoder.clip
    batch = normalised(list(pixels.reshape(-1, size, size, 3)), clip.facts.mean, clip.facts.std, "cpu")
    features = unit(clip.encode_image(batch)).unflatten(0, (4, -1)).mean(1)
    expected, chances = classifier.logits(features).numpy(), classifier.predict_proba(features)
    np.testing.assert_allclose(classifier.predict_proba(paths), chances, atol=2e-3)  # of half floats
    assert np.ptp(expected, axis=0).max() > 0.1  # pictures differ in it
    for part in (slice(1), slice(1, 4)):
        logits, probabilities = run(done.whole, pixels[part])
        np.testing.assert_allclose(logits, expected[part], atol=1e-4, rtol=1e-5)
        np.testing.assert_allclose(probabilities, chances[part], atol=1e-4)
        np.testing.assert_allclose(run(done.features, features[part].numpy())[0], logits, atol=1e-4)
    found = metadata(done.whole)
    assert json.loads(found["classnames"]) == list(NAMES) and float(found["temperature"]) == 0.7
    assert (found["input"], found["method"], found["width"]) == ("pixels", "M", str(classifier.width))
    assert found["backbone"] == ("demo-clip" if model == "demo-clip" else backbone.name)
    assert (found["image_size"], found["crops"], found["decoding"]) == (str(size), str(crops), "pillow")
    assert json.loads(found["crop"]) == [0.3, 1.0] and found["weights"] == classifier.images.weights
    assert found["ccli"] and found["interpolation"] == "bicubic"
    content = done.whole.read_bytes()
    assert str(onnx_export.__file__).encode() not in content and b"site-packages" not in content
    assert metadata(done.features)["input"] == "features"


@needs_packages
def test_the_tower_is_left_out_where_it_is_not_wanted(tmp_path):
    classifier = on_pictures(tmp_path, "demo-clip")
    classifier.images = replace(classifier.images, backbone=str(tmp_path / "gone"))
    with pytest.raises(CcliError, match="gone"):
        export(classifier, tmp_path / "out/m.onnx")
    done = export(classifier, tmp_path / "out/m.onnx", image_tower=False)
    assert done.paths == (tmp_path / "out/m.onnx",) == tuple((tmp_path / "out").iterdir())
    assert metadata(done.features)["backbone"] == "gone"
    with pytest.raises(CcliError, match="trained on features"):
        export(on_features(tmp_path), tmp_path / "out/m.onnx", image_tower=True)


@needs_packages
def test_weights_that_one_file_cannot_hold_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "ONE_FILE", 0)
    classifier, f = on_features(tmp_path), unit_rows(3, 32, seed=1)
    done = export(classifier, tmp_path / "out/m.onnx")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"m.onnx", "m.onnx.data"}
    np.testing.assert_allclose(run(done.features, f.numpy())[0], classifier.logits(f), atol=1e-4)


@needs_packages
def test_a_model_that_differs_from_pytorch_is_not_written(tmp_path, monkeypatch):
    before = onnx_export.OfFeatures.forward
    monkeypatch.setattr(onnx_export.OfFeatures, "forward", lambda self, f: tuple(x + 0.5 for x in before(self, f)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/m.onnx").write_text("what was there")
    with pytest.raises(CcliError, match=r"m\.onnx was not written: onnxruntime and PyTorch differ by"):
        export(on_features(tmp_path), tmp_path / "out/m.onnx")
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["what was there"]


@pytest.mark.parametrize(
    "logits, probabilities, found",
    [(9e-3, 0, 9e-5), (2e-2, 0, "2.0e-04"), (0, 9e-5, 9e-5), (0, 2e-4, "2.0e-04"), (torch.nan, 0, "nan")],
)
def test_what_difference_is_allowed(logits, probabilities, found, tmp_path, monkeypatch):
    """Of logits up to 100 a ten-thousandth, of probabilities 1e-4, nan never."""
    classifier, f = on_features(tmp_path), unit_rows(6, 32)
    expected = classifier.logits(f)  # the head's own rows: 100 on the diagonal
    off = expected + logits * torch.eye(6), torch.from_numpy(classifier.predict_proba(f)) + probabilities
    monkeypatch.setattr(onnx_export, "_run", lambda path, batches: [off])
    if isinstance(found, str):
        with pytest.raises(CcliError, match=f"differ by {found}"):
            onnx_export._difference(tmp_path / "m.onnx", classifier, [f], classifier.logits)
    else:
        difference = onnx_export._difference(tmp_path / "m.onnx", classifier, [f], classifier.logits)
        assert difference == pytest.approx(found, rel=0.1)


@needs_packages
def test_a_head_without_a_form_in_onnx_and_a_model_that_does_not_run(tmp_path, monkeypatch):
    classifier = on_features(tmp_path)
    classifier.head.forward = lambda f: torch.linalg.eigvals(f @ f.T).real  # nothing that a head does
    with pytest.raises(CcliError, match="no form in ONNX: this head cannot be exported"):
        export(classifier, tmp_path / "out/m.onnx")
    monkeypatch.setattr(onnx_export, "_write", lambda *args: args[-1].write_bytes(b"none"))
    with pytest.raises(CcliError, match=r"m\.onnx was not written: onnxruntime cannot run it"):
        export(on_features(tmp_path), tmp_path / "out/m.onnx")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_and_only_where_it_is_needed(name, tmp_path, monkeypatch):
    for one in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, one, None if one == name else sys)
    spec = importlib.util.find_spec("ccli.inference.onnx_export")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)  # needs none of them
    with pytest.raises(CcliError, match=rf'^{name} is not installed here: pip install -e "\.\[onnx\]"$'):
        module.export(on_features(tmp_path), tmp_path / "out/m.onnx")
    assert not (tmp_path / "out").exists()


@needs_packages
def test_places_that_cannot_be_written(tmp_path):
    classifier = on_features(tmp_path)
    with pytest.raises(CcliError, match=r"ends in \.onnx"):
        export(classifier, tmp_path / "model")
    (tmp_path / "file").write_text("")
    with pytest.raises(CcliError, match="cannot write"):
        export(classifier, tmp_path / "file/m.onnx")
