"""The frozen model: what names mean, what is refused, what is known of it without running it."""

import json
import logging
import math
import os
import shutil
import subprocess

import pytest
import torch
from fork_server import python
from safetensors.torch import load_file, save_file

from ccli.clip.model import FrozenClip
from ccli.clip.weights import COOP_NAMES
from ccli.errors import CcliError


def refused(name, *parts, **other):
    """The message with which a model is refused, on construction or when it is first needed."""
    with pytest.raises(CcliError) as caught:
        assert FrozenClip(str(name), **other).facts is None
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message
    return message


@pytest.fixture
def tiny_architectures(tiny_clip_folder, tmp_path, monkeypatch):
    """open_clip knows `tiny` and `tiny-quickgelu`, which have the weights of one another."""
    import open_clip

    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", list(open_clip.factory._MODEL_CONFIG_PATHS))
    config = json.loads((tiny_clip_folder / "open_clip_config.json").read_text())["model_cfg"]
    (tmp_path / "configs").mkdir()
    for name, extra in {"tiny": {}, "tiny-quickgelu": {"quick_gelu": True}}.items():
        (tmp_path / "configs" / f"{name}.json").write_text(json.dumps(config | extra))
    open_clip.add_model_config(tmp_path / "configs")
    return load_file(tiny_clip_folder / "open_clip_model.safetensors")


@pytest.fixture
def asked(monkeypatch):
    """What open_clip is asked to load; it fails as it does without a network."""
    calls = []

    def create_model(architecture, pretrained=None, **_):
        calls.append(f"{architecture}@{pretrained}")
        raise RuntimeError("Failed to download weights for tag 'openai': \n Network is unreachable\n")

    monkeypatch.setattr("open_clip.create_model", create_model)
    return calls


@pytest.mark.parametrize("name", ["RN50", "RN101", "RN50x4", "ViT-B/32", "ViT-B/16", "ViT-L/14"])
def test_coops_names_mean_openais_weights_with_quickgelu(name, asked, tmp_path, monkeypatch):
    (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)  # a folder of that name does not matter
    expected = name.replace("/", "-") + "-quickgelu@openai"
    message = refused(name, "cannot be downloaded", expected.replace("@openai", "@FILE"))
    assert asked == [expected] and name in COOP_NAMES and "give the backbone as" in message
    refused(f"{name}@openai")
    assert asked[1:] == [expected]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ViT-B-32@laion2b_s34b_b79k", "ViT-B-32@laion2b_s34b_b79k"),
        ("ViT-B-16-quickgelu", "ViT-B-16-quickgelu@openai"),
        ("ViT-L-14-336-quickgelu", "ViT-L-14-336-quickgelu@openai"),
        ("ViT-L/14@336px", "ViT-L-14-336-quickgelu@openai"),
        ("ViT-B-32", "ViT-B-32-quickgelu@openai"),  # weights get the activation that they were trained with
        ("ViT-B-16@openai", "ViT-B-16-quickgelu@openai"),
        ("RN50x16", "RN50x16-quickgelu@openai"),
        ("ViT-B-16@metaclip_400m", "ViT-B-16-quickgelu@metaclip_400m"),
        ("ViT-H-14@dfn5b", "ViT-H-14-quickgelu@dfn5b"),
        ("ViT-B-16@laion2b_s34b_b88k", "ViT-B-16@laion2b_s34b_b88k"),
    ],
)
def test_open_clips_names_and_tags(name, expected, asked):
    refused(name, "cannot be downloaded")
    assert asked == [expected]


def test_weights_that_cannot_be_downloaded_for_real(tmp_path):
    code = """
from ccli.clip.model import FrozenClip
from ccli.errors import CcliError
try:
    FrozenClip("RN50").facts
except CcliError as error:
    print(error)
"""
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "HOME": str(tmp_path)}
    env |= {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}  # nothing listens there
    out = subprocess.run([python(), "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    assert "RN50-quickgelu (openai) are not on this machine and cannot be downloaded" in out.stdout
    assert len(out.stdout.splitlines()) == 1


def test_unknown_names_are_refused_at_once(tmp_path):
    with pytest.raises(CcliError, match=r"precision must be one of fp32, bf16, got 'fp16'"):
        FrozenClip("RN50", precision="fp16")
    for name, meant in {
        "RN5O": "RN50",
        "VIT-B/61": "ViT-B/16",
        "demo_clip": "demo-clip",
        "RN51@openai": "RN50",
    }.items():
        with pytest.raises(CcliError, match=f"unknown backbone '{name}'. Did you mean '{meant}'"):
            FrozenClip(name)
    with pytest.raises(CcliError, match="no such pretrained tag: 'opnai'; RN50-quickgelu has openai"):
        FrozenClip("RN50@opnai")
    with pytest.raises(CcliError, match=r"no such weights file: '.*gone\.pt'"):
        FrozenClip(f"RN50@{tmp_path}/gone.pt")
    with pytest.raises(CcliError, match=r"no open_clip_config\.json in this folder"):
        FrozenClip(str(tmp_path))
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(
        CcliError, match=r"architecture of these weights is not known: write ARCHITECTURE@.*weights\.pt"
    ):
        FrozenClip(str(tmp_path / "weights.pt"))


def test_facts_and_features_of_a_folder(tiny_clip_folder, tiny_clip):
    state = load_file(tiny_clip_folder / "open_clip_model.safetensors")
    facts = tiny_clip.facts
    assert (facts.image_size, facts.mean, facts.std, facts.interpolation) == (64, (0.5,) * 3, (0.25,) * 3, "bicubic")
    assert facts.logit_scale == pytest.approx(math.exp(float(state["logit_scale"])), rel=1e-6)
    assert facts.logit_scale == pytest.approx(1 / 0.07, rel=2e-3)  # where CLIP's training starts
    images = torch.rand(2, 3, 64, 64)
    features = tiny_clip.encode_image(images)
    assert features.shape == (2, 128) and features.dtype == torch.float32 and not features.requires_grad
    assert not torch.allclose(features.norm(dim=-1), torch.ones(2))


def test_facts_are_read_from_files_and_the_root_logger_is_left_alone(tiny_clip_folder, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    clip = FrozenClip(str(tiny_clip_folder))
    with monkeypatch.context() as patch:
        patch.setattr("open_clip.factory.create_model", lambda *_, **__: pytest.fail("the model was built"))
        assert clip.facts.image_size == 64
    clip.encode_text(["a"])
    assert logging.getLogger().level == logging.INFO


def test_fingerprints_follow_weights_and_configuration(tiny_clip_folder, tiny_clip, tmp_path, save_tiny_clip):
    same = shutil.copytree(tiny_clip_folder, tmp_path / "same")
    assert FrozenClip(str(same)).facts == tiny_clip.facts
    assert FrozenClip(str(same), precision="bf16").facts == tiny_clip.facts
    other = FrozenClip(str(save_tiny_clip(tmp_path / "other", seed=1))).facts
    assert other.fingerprint != tiny_clip.facts.fingerprint
    config = same / "open_clip_config.json"
    config.write_text(config.read_text().replace('"heads": 4', '"heads": 8'))  # the weights fit both
    assert FrozenClip(str(same)).facts.fingerprint != tiny_clip.facts.fingerprint


def test_a_weights_file_in_a_model_folder_is_the_one_that_is_read(tiny_clip_folder, tmp_path):
    folder = shutil.copytree(tiny_clip_folder, tmp_path / "both")
    state = load_file(folder / "open_clip_model.safetensors")
    torch.save(state | {"logit_scale": torch.tensor(2.0)}, folder / "epoch_3.pt")
    assert FrozenClip(str(folder / "epoch_3.pt")).facts.logit_scale == pytest.approx(math.exp(2))
    assert FrozenClip(str(folder)).facts.logit_scale != pytest.approx(math.exp(2))


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_local_weights_of_a_named_architecture(tiny_architectures, tiny_clip, tmp_path, suffix, precision):
    state = tiny_architectures | {"logit_scale": torch.tensor(math.log(100))}
    file = tmp_path / f"weights.{suffix}"
    save_file(state, file) if suffix == "safetensors" else torch.save({"state_dict": state}, file)
    clip = FrozenClip(f"tiny@{file}", precision=precision)
    assert clip.facts.logit_scale == pytest.approx(100, rel=1e-5)  # as stored, in any precision
    assert clip.facts.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))  # no configuration: OpenAI's
    images = torch.randn(2, 3, 64, 64)
    expected, features = tiny_clip.encode_image(images), clip.encode_image(images)
    assert features.dtype == torch.float32
    if precision == "fp32":
        torch.testing.assert_close(features, expected)
        torch.testing.assert_close(clip.encode_text(["a cat"]), tiny_clip.encode_text(["a cat"]))
    else:
        assert not torch.equal(features, expected)
        assert float(torch.cosine_similarity(features, expected).min()) > 0.99
        assert float(torch.cosine_similarity(clip.encode_text(["a cat"]), tiny_clip.encode_text(["a cat"]))) > 0.99


def test_equal_weights_in_another_architecture_are_another_model(tiny_architectures, tmp_path):
    save_file(tiny_architectures, tmp_path / "w.safetensors")
    plain, quick = (FrozenClip(f"{name}@{tmp_path}/w.safetensors") for name in ("tiny", "tiny-quickgelu"))
    assert not torch.equal(plain.encode_text(["a cat"]), quick.encode_text(["a cat"]))
    assert plain.facts.fingerprint != quick.facts.fingerprint


class Hostile:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("where", ["folder", "named"])
def test_a_pickle_for_weights_never_runs(tiny_architectures, tiny_clip_folder, tmp_path, where):
    if where == "folder":
        shutil.copy(tiny_clip_folder / "open_clip_config.json", tmp_path)
    file = tmp_path / ("open_clip_pytorch_model.bin" if where == "folder" else "weights.pt")
    torch.save(tiny_architectures | {"logit_scale": Hostile(tmp_path / "it ran")}, file)
    refused(tmp_path if where == "folder" else f"tiny@{file}", file, "cannot read")
    assert not (tmp_path / "it ran").exists()


def test_weights_that_do_not_fit(tiny_architectures, tmp_path, tiny_clip_folder):
    del tiny_architectures["ln_final.weight"]
    save_file(tiny_architectures, tmp_path / "open_clip_model.safetensors")
    refused(f"tiny@{tmp_path}/open_clip_model.safetensors", "cannot read weights", "open_clip_model.safetensors")
    shutil.copy(tiny_clip_folder / "open_clip_config.json", tmp_path)
    with pytest.raises(CcliError, match=r"cannot read .*open_clip_model\.safetensors"):
        FrozenClip(str(tmp_path)).encode_text(["a"])


def test_broken_folders(tiny_clip_folder, tmp_path):
    folder = shutil.copytree(tiny_clip_folder, tmp_path / "broken")
    config, whole = folder / "open_clip_config.json", (folder / "open_clip_config.json").read_text()
    for content in ("{", "[]", '{"model_cfg": {}}', '{"model_cfg": {"vision_cfg": {}}}'):
        config.write_text(content)
        refused(folder, config, "not an open_clip configuration")
    for old, new in {
        '"shortest"': '"squash"',
        '"bicubic"': '"random"',
        '"image_size": 64': '"image_size": [64, 32]',
    }.items():
        assert old in whole
        config.write_text(whole.replace(old, new))
        refused(folder, config, "not supported")
    config.write_text(whole)
    (folder / "open_clip_model.safetensors").write_bytes(b"x" * 100)
    refused(folder, "cannot read", "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").unlink()
    refused(folder, folder, "no weights here", "open_clip_pytorch_model.bin")
