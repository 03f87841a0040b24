"""Shared fixtures: a tiny CLIP with random weights, and small pictures of many kinds."""

import os
import shutil
import signal
from pathlib import Path

import fork_server
import pytest

# Before NumPy and torch are imported: the tests' processes share the cores, and threads would wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
# A background job is started with SIGINT ignored, and so would be what the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("MPLCONFIGDIR", str(Path("~/.cache/matplotlib").expanduser()))  # not built again for each test


LONGEST = (  # they start first, so that two processes end together
    "test_gpu_check", "test_sweep", "test_onnx_export", "test_determinism", "test_benchmarks", "test_chaos",
    "test_supply_chain", "test_estimator", "test_startup", "test_baselines", "test_no_code_from_data", "test_crops",
    "test_concept_shapes", "test_tip_adapter", "test_check", "test_report", "test_finite", "test_wheel",
    "test_own_images", "test_folder_sweep", "test_sweep_all",
)  # fmt: skip


def pytest_configure(config):
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        fork_server.share()


def pytest_collection_modifyitems(items):
    order = {name: k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(autouse=True, scope="session")
def _cache_of_the_session(tmp_path_factory):
    """For fixtures that several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory, monkeypatch) -> Path:
    """The user's cache folder, where features are kept by default: another one for each test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def _save_tiny_clip(folder: Path, seed: int) -> Path:
    """demo-clip's architecture with random float16 weights, as open_clip lays a model out."""
    import torch
    from open_clip.factory import create_model
    from safetensors.torch import save_file

    import ccli

    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(ccli.__file__).parent / "clip" / "demo_clip" / "open_clip_config.json", folder)
    torch.manual_seed(seed)
    state = create_model(f"local-dir:{folder}", load_weights=False).state_dict()
    half = {name: x.half().contiguous() if x.is_floating_point() else x for name, x in state.items()}
    save_file(half, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def save_tiny_clip():
    """A function (folder, seed) -> folder."""
    return _save_tiny_clip


@pytest.fixture(scope="session")
def tiny_clip_folder(tmp_path_factory) -> Path:
    return _save_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny", seed=0)


@pytest.fixture(scope="session")
def tiny_clip(tiny_clip_folder):
    """A FrozenClip."""
    from ccli.clip.model import FrozenClip

    return FrozenClip(str(tiny_clip_folder))


@pytest.fixture
def image_folder(tmp_path) -> Path:
    """Smooth noise: larger and smaller than 64 pixels, wide and tall, in every mode that data sets hold."""
    import numpy as np
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    kinds = {
        "wide.png": (150, 90, "RGB"), "tall.jpg": (70, 131, "RGB"), "small.png": (40, 23, "RGB"),
        "grey.png": (100, 81, "L"), "rgba.png": (90, 120, "RGBA"), "palette.png": (111, 77, "P"),
    }  # fmt: skip
    for k, (name, (width, height, mode)) in enumerate(kinds.items()):
        coarse = np.random.default_rng(k).integers(0, 256, (9, 9, 4), dtype=np.uint8)
        Image.fromarray(coarse, "RGBA").resize((width, height), Image.Resampling.BICUBIC).convert(
            "RGB" if mode == "P" else mode
        ).convert(mode).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def many_images(tmp_path_factory) -> list[Path]:
    """150 different pictures of 12x12 pixels, not to be changed."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("many")
    for k in range(150):
        noise = np.random.default_rng(k).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{k:03d}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """How many different images each call of the image tower was given."""
    import torch

    from ccli.clip.model import FrozenClip

    calls: list[int] = []
    encode = FrozenClip.encode_image

    def counted(self, images):
        calls.append(len(torch.unique(images, dim=0)))
        return encode(self, images)

    monkeypatch.setattr(FrozenClip, "encode_image", counted)
    return calls


def _few_counts(patch: pytest.MonkeyPatch) -> None:
    from ccli.datasets import concept_shapes

    patch.setattr(concept_shapes.ConceptShapes, "counts", {"train": 1, "val": 1, "test": 2})
    patch.setattr(concept_shapes.ConceptShapesV2, "counts", {"test": 3})


@pytest.fixture(scope="session")
def _drawn(tmp_path_factory) -> Path:
    from ccli.datasets import concept_shapes

    folder = tmp_path_factory.mktemp("drawn") / "data"
    with pytest.MonkeyPatch.context() as patch:
        _few_counts(patch)
        for kind in vars(concept_shapes).values():
            if isinstance(kind, type) and issubclass(kind, concept_shapes.ConceptShapes):
                kind.folder(folder)
    return folder


@pytest.fixture
def few_pictures(_drawn, tmp_path, monkeypatch):
    """All five data sets with a few pictures each, drawn already."""
    _few_counts(monkeypatch)
    shutil.copytree(_drawn, tmp_path / "data")
    return tmp_path
