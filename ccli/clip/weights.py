"""The weights that a backbone's name stands for, and the facts that the feature store needs to know of them."""

import hashlib
import json
import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ccli.errors import CcliError, first_line, in_one_line, nearest

COOP_NAMES = {  # OpenAI's weights were trained with QuickGELU
    name: f"{name.replace('/', '-')}-quickgelu@openai"
    for name in ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14")
} | {"ViT-L/14@336px": "ViT-L-14-336-quickgelu@openai"}
DEMO = "demo-clip"
_CONFIG = "open_clip_config.json"
_WEIGHTS = ("open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin", "pytorch_model.bin")
_OPENAI = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model without running it. `logit_scale` is exp(logit_scale), 100 for OpenAI's."""

    fingerprint: str  # changes when the weights do
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    logit_scale: float


class NamedWeights:
    """An architecture of open_clip with a pretrained tag or a weights file. Its facts are taken from the loaded model.

    tokenizer: open_clip's name for its tokenizer.
    """

    def __init__(self, architecture: str, pretrained: str):
        self.tokenizer, self.pretrained = architecture, pretrained

    @property
    def config(self) -> dict:
        """open_clip's configuration of the architecture."""
        import open_clip

        return open_clip.get_model_config(self.tokenizer)

    @cached_property
    def facts(self) -> ModelFacts:
        # equal weights give different features in another architecture (RN50 and RN50-quickgelu)
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, tensor in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.float().cpu().contiguous().numpy().tobytes())
        scale = self.model.logit_scale.float().exp().item()
        return _facts(self.tokenizer, digest, self.model.visual.preprocess_cfg, scale)

    @cached_property
    def model(self) -> torch.nn.Module:
        import open_clip

        try:
            with quiet():  # open_clip logs what it raises, too
                return open_clip.create_model(self.tokenizer, pretrained=self.pretrained)
        except Exception as error:  # hub, network and file errors come in a dozen types
            raise CcliError(self._why_not(error)) from error

    def _why_not(self, error: Exception) -> str:
        if Path(self.pretrained).is_file():
            pickled = "weights_only" in str(error).lower()
            reason = "a TorchScript archive or another pickle" if pickled else first_line(error, 160)
            return (
                f"cannot read weights {self.pretrained} for {self.tokenizer}: {reason}; "
                "give a state_dict (.safetensors or .pt)"
            )
        return (
            f"the weights of {self.tokenizer} ({self.pretrained}) are not on this machine and cannot be downloaded "
            f"({first_line(error, 160)}); fetch them where there is a network and give the backbone as "
            f"{self.tokenizer}@FILE"
        )


class FolderWeights:
    """A weights file beside its open_clip_config.json. Its facts are read from the two files, without the model."""

    def __init__(self, path: Path):
        self.path, self.tokenizer = path, f"local-dir:{path.parent}"

    @property
    def config(self) -> dict:
        return _read_config(self.path.parent / _CONFIG)["model_cfg"]

    @cached_property
    def facts(self) -> ModelFacts:
        config = self.path.parent / _CONFIG
        self._stamp = _stamp([self.path, config])
        digest = hashlib.sha256(config.read_bytes())
        with open(self.path, "rb") as file:
            hashlib.file_digest(file, lambda: digest)
        return _facts(str(config), digest, _read_config(config)["preprocess_cfg"], _stored_scale(self.path))

    @cached_property
    def model(self) -> torch.nn.Module:
        from open_clip.factory import create_model, load_state_dict

        _ = self.facts  # first, so that they are not those of newer files
        with in_one_line(Exception, f"cannot read {self.path}"):
            with quiet():  # open_clip warns that it was asked not to load weights
                model = create_model(self.tokenizer, load_weights=False, pretrained_text=False)
            model.load_state_dict(load_state_dict(self.path))
        if _stamp([self.path, self.path.parent / _CONFIG]) != self._stamp:
            raise CcliError(f"{self.path} changed while it was read; start again")
        return model


def find_weights(name: str) -> NamedWeights | FolderWeights:
    """The weights of a backbone, named as `ccli.clip.model.FrozenClip` takes it; nothing is loaded.

    Raises:
        CcliError: an unknown name or tag, or a missing file.
    """
    if local := _local_weights(name):
        return FolderWeights(local)
    import open_clip

    architecture, _, pretrained = COOP_NAMES.get(name, name).partition("@")
    architecture = COOP_NAMES.get(architecture, architecture).partition("@")[0].replace("/", "-")
    known = open_clip.list_models()
    if architecture not in known:
        hint = nearest(name.partition("@")[0], [*COOP_NAMES, DEMO, *known])
        raise CcliError(f"unknown backbone {name!r}.{hint} Any open_clip name, NAME@TAG or path to local weights works")
    pretrained = pretrained or "openai"
    if (file := Path(pretrained).expanduser()).is_file():
        return NamedWeights(architecture, str(file))
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained not in tags:
        what = "no such weights file" if "/" in pretrained or "." in pretrained else "no such pretrained tag"
        raise CcliError(f"backbone {name!r}: {what}: {pretrained!r}; {architecture} has {', '.join(tags) or 'no tags'}")
    quick = f"{architecture}-quickgelu"  # GELU in its place gives other features, and no error
    if open_clip.get_pretrained_cfg(architecture, pretrained).get("quick_gelu") and quick in known:
        architecture = quick
    return NamedWeights(architecture, pretrained)


def files_stamp(name: str) -> tuple:
    """Changes when the local files of a backbone do; empty for a name without local files."""
    return _stamp(local_files(name))


def local_files(name: str) -> list[Path]:
    """The files on this machine that a backbone's name stands for."""
    weights = _local_weights(name)
    parts = [weights, weights.parent / _CONFIG] if weights else [Path(name.partition("@")[2]).expanduser()]
    return [part for part in parts if part.is_file()]


def absolute_backbone(name: str) -> str:
    """A backbone's name that holds in any folder: the path of local weights made absolute."""
    architecture, at, file = name.partition("@")
    if at and Path(file).expanduser().is_file():
        return f"{architecture}@{os.path.abspath(Path(file).expanduser())}"
    return os.path.abspath(Path(name).expanduser()) if Path(name).expanduser().exists() else name


def _stamp(files: list[Path]) -> tuple:
    return tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in files)


def _local_weights(name: str) -> Path | None:
    """The weights file, beside its configuration, that a name stands for; None for other names."""
    path = Path(__file__).parent / "demo_clip" if name == DEMO else Path(name).expanduser()
    if name in COOP_NAMES or not path.exists():
        return None
    if path.is_file() and not (path.parent / _CONFIG).exists():
        raise CcliError(f"{name}: the architecture of these weights is not known: write ARCHITECTURE@{name}")
    if path.is_dir() and not (path / _CONFIG).exists():
        raise CcliError(f"{name}: no {_CONFIG} in this folder, so it is not an open_clip model")
    if path.is_file():
        return path
    found = next((path / one for one in _WEIGHTS if (path / one).is_file()), None)
    if found is None:
        raise CcliError(f"{path}: no weights here; expected one of {', '.join(_WEIGHTS)}")
    return found


def _read_config(path: Path) -> dict:
    """A folder's open_clip configuration: model_cfg, and preprocess_cfg with the image size."""
    with in_one_line((ValueError, KeyError, TypeError, AttributeError), f"{path}: not an open_clip configuration"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if "trust_remote_code" in json.dumps(content):  # transformers would run modules of the folder
            raise CcliError(f"{path}: trust_remote_code is refused: code of a downloaded model is never run")
        size = content["model_cfg"]["vision_cfg"]["image_size"]
        return content | {"preprocess_cfg": content.get("preprocess_cfg", {}) | {"size": size}}


def _facts(what: str, digest, pre: dict, logit_scale: float) -> ModelFacts:
    """Refuses preprocessing that the feature store does not repeat; `pre` is open_clip's preprocess_cfg."""
    pre = _OPENAI | {k: v for k, v in pre.items() if v is not None}
    size = pre["size"] if isinstance(pre["size"], (list, tuple)) else (pre["size"], pre["size"])
    resize, interpolation = pre.get("resize_mode", "shortest"), pre.get("interpolation", "bicubic")
    if resize != "shortest" or interpolation not in ("bicubic", "bilinear") or size[0] != size[1]:
        raise CcliError(
            f"{what}: images preprocessed with resize_mode {resize!r}, {interpolation!r}, {size[0]}x{size[1]} are not "
            "supported; take a model with 'shortest', bicubic or bilinear, and square images"
        )
    return ModelFacts(digest.hexdigest(), size[0], tuple(pre["mean"]), tuple(pre["std"]), interpolation, logit_scale)


def _stored_scale(weights: Path) -> float:
    """exp(logit_scale) out of a weights file, without building the model."""
    with in_one_line(Exception, f"cannot read {weights}"):
        if weights.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(weights, "pt") as file:
                return float(file.get_tensor("logit_scale").float().exp())
        state = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
        return float(state.get("state_dict", state)["logit_scale"].float().exp())


@contextmanager
def quiet(level: int = logging.ERROR):
    """No messages up to a level: open_clip writes them to the root logger, and the hub tells of every retry."""
    before = logging.root.manager.disable
    logging.disable(level)
    try:
        yield
    finally:
        logging.disable(before)
