"""A frozen image-text model behind one small interface; open_clip builds it.

Nothing of the model is loaded until something has to be encoded: what the feature store needs to know of a local model
(its fingerprint, its preprocessing, its logit scale) is read from its files.
"""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from ccli.clip.fuse_batchnorm import for_encoding
from ccli.clip.text_tower import TextTower, is_clips_own
from ccli.errors import CcliError, first_line, nearest

COOP_NAMES = {  # OpenAI's weights were trained with QuickGELU
    "RN50": "RN50-quickgelu@openai",
    "RN101": "RN101-quickgelu@openai",
    "RN50x4": "RN50x4-quickgelu@openai",
    "ViT-B/32": "ViT-B-32-quickgelu@openai",
    "ViT-B/16": "ViT-B-16-quickgelu@openai",
    "ViT-L/14": "ViT-L-14-quickgelu@openai",
}
DEMO = "demo-clip"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
_AT_ONCE = 64  # images
_PIXELS = 16 * 224 * 224  # of the images at once on a CPU: more of them fall out of its caches
_CONFIG = "open_clip_config.json"
_WEIGHTS = ("open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin", "pytorch_model.bin")


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model without running it. `logit_scale` is exp(logit_scale), 100 for OpenAI's."""

    fingerprint: str  # changes when the weights do
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    logit_scale: float


class FrozenClip:
    """A CLIP model for encoding only.

    Args:
        name: a Dassl/CoOp backbone name ("RN50", "ViT-B/16"), "demo-clip", any open_clip name (its "openai" weights),
            "NAME@PRETRAINED_TAG", "NAME@FILE" with local weights, a folder that holds open_clip_config.json and
            weights, or a weights file in such a folder.
        device: where it runs.
        precision: "fp32" or "bf16".

    Raises:
        CcliError: an unknown name or tag, a missing file, weights that cannot be downloaded, preprocessing other than
            resizing the shorter side and cropping the centre.
    """

    def __init__(self, name: str, device: str | torch.device = "cpu", precision: str = "fp32"):
        if precision not in PRECISIONS:
            raise CcliError(f"unknown precision {precision!r}: use one of {', '.join(PRECISIONS)}")
        self.name, self.device, self.precision = name, torch.device(device), precision
        self._weights = _local_weights(name)
        if self._weights is None:
            self._architecture, self._pretrained = _resolve(name)

    @cached_property
    def facts(self) -> ModelFacts:
        self._stamp = files_stamp(self.name)
        return _facts_of_folder(self._weights) if self._weights else self._named[1]

    @property
    def images_at_once(self) -> int:
        """How many images to encode together; always as many, and the bits of one do not depend on the others."""
        fit = _PIXELS // self.facts.image_size**2
        return max(1, min(_AT_ONCE, fit)) if self.device.type == "cpu" else _AT_ONCE

    @property
    def model(self) -> torch.nn.Module:
        """open_clip's model itself: frozen, on the device, in the precision."""
        return self._model

    def load(self) -> None:
        """Load the model now, and not when something is first encoded."""
        _ = self._model

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Preprocessed images [B, 3, H, W] to features [B, D], float32, not normalised."""
        with torch.inference_mode():
            x = images.to(self.device, PRECISIONS[self.precision])
            return self._model.encode_image(x).float()

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        """B sentences to features [B, D], float32, not normalised.

        They are cut to the greatest of their `text_lengths`: what follows its end token does not change a feature.
        """
        tokens = self.tokenize(texts).to(self.device)
        with torch.inference_mode():
            if not is_clips_own(self._model):
                return self._model.encode_text(tokens).float()
            cut = max(_rounded_lengths(tokens), default=1)
            return self.text_tower(self.text_tower.embed(tokens[:, :cut]), tokens.argmax(-1)).float()

    def text_lengths(self, texts: list[str]) -> list[int]:
        """To how many tokens `encode_text` cuts each of the texts when it is alone: start and end count."""
        tokens = self.tokenize(texts)
        return _rounded_lengths(tokens) if is_clips_own(self._model) else [tokens.shape[1]] * len(texts)

    def tokenize(self, texts: list[str]) -> torch.Tensor:
        """B texts to token ids [B, context length]: start, text, end, padding. What does not fit is cut off."""
        return self._tokenizer(texts)

    def token_text(self, token: int) -> str:
        """What a token id stands for; it ends in a space where the token ends a word."""
        return getattr(self._tokenizer, "tokenizer", self._tokenizer).decode([token])

    def refuse_without_text_tower(self) -> None:
        """Refuse a configuration whose text tower is not CLIP's own, without loading weights.

        Raises:
            CcliError: there is none, or it is another architecture's.
        """
        import open_clip

        if self._weights:
            config = _read_config(self._weights.parent / _CONFIG)["model_cfg"]
        else:
            config = open_clip.get_model_config(self._architecture)
        text = config.get("text_cfg")
        if not text or config.get("custom_text") or "hf_model_name" in text or "multimodal_cfg" in config:
            has = "no text tower" if not text else "a text tower of another architecture than CLIP's"
            raise CcliError(f"backbone {self.name!r} has {has}; learning prompts needs CLIP's own, such as RN50's")

    @cached_property
    def text_tower(self) -> TextTower:
        """The text tower from token embeddings on, through which gradients flow.

        Raises:
            CcliError: a backbone without a text tower, or with one that is not CLIP's own.
        """
        return TextTower(self._model, f"backbone {self.name!r}")

    @cached_property
    def _model(self) -> torch.nn.Module:
        with torch.inference_mode(False):  # gradients cannot pass weights that were made in inference mode
            _ = self.facts  # before the model, so that what it is known by is not newer
            model = _load_folder(self._weights) if self._weights else self._named[0]
            if self._weights and files_stamp(self.name) != self._stamp:
                raise CcliError(f"{self._weights} changed while it was read; start again")
            model = model.eval().requires_grad_(False)
            model.visual = for_encoding(model.visual)  # in float32, whatever the precision
            return model.to(self.device, PRECISIONS[self.precision])

    @cached_property
    def _named(self) -> tuple[torch.nn.Module, ModelFacts]:
        """The model and its facts, taken before its precision changes."""
        model = _load_named(self._architecture, self._pretrained)
        return model, _facts_of_model(model, self._architecture)

    @cached_property
    def _tokenizer(self):
        import open_clip

        return open_clip.get_tokenizer(f"local-dir:{self._weights.parent}" if self._weights else self._architecture)


def _rounded_lengths(tokens: torch.Tensor) -> list[int]:
    """Of each row of ids [B, L], up to its end token, rounded up to a multiple of 4 where L allows: few lengths."""
    up = (tokens.argmax(-1) // 4 + 1) * 4
    return up.clamp(max=tokens.shape[1]).tolist()


def files_stamp(name: str) -> tuple:
    """Changes when the local files behind a backbone's name do; empty where a name is not that of a file."""
    return tuple((p.stat().st_size, p.stat().st_mtime_ns) for p in local_files(name))


def local_files(name: str) -> list[Path]:
    """The files of this machine that a backbone's name stands for; none where it is a name alone."""
    weights = _local_weights(name)
    parts = [weights, weights.parent / _CONFIG] if weights else [Path(name.partition("@")[2]).expanduser()]
    return [part for part in parts if part.is_file()]


def _local_weights(name: str) -> Path | None:
    """The weights file, beside its configuration, that a name means; None where it means something else."""
    path = Path(__file__).parent / "demo_clip" if name == DEMO else Path(name).expanduser()
    if name in COOP_NAMES or not path.exists():
        return None
    if path.is_file() and not (path.parent / _CONFIG).exists():
        raise CcliError(f"{name}: the architecture of these weights is not known: write ARCHITECTURE@{name}")
    if path.is_dir() and not (path / _CONFIG).exists():
        raise CcliError(f"{name}: no {_CONFIG} in this folder, so it is not an open_clip model")
    return path if path.is_file() else _weights_file(path)


def _resolve(name: str) -> tuple[str, str]:
    """(open_clip architecture, pretrained tag or weights file)."""
    import open_clip

    architecture, _, pretrained = COOP_NAMES.get(name, name).partition("@")
    architecture = COOP_NAMES.get(architecture, architecture).partition("@")[0].replace("/", "-")
    known = open_clip.list_models()
    if architecture not in known:
        hint = nearest(name.partition("@")[0], [*COOP_NAMES, DEMO, *known])
        raise CcliError(
            f"unknown backbone {name!r}.{hint} Any open_clip name, NAME@TAG or path to local weights works too"
        )
    pretrained = pretrained or "openai"
    if Path(pretrained).expanduser().is_file():
        return architecture, str(Path(pretrained).expanduser())
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if pretrained not in tags:
        what = "no such weights file" if "/" in pretrained or "." in pretrained else "no such pretrained tag"
        raise CcliError(f"backbone {name!r}: {what}: {pretrained!r}; {architecture} has {', '.join(tags) or 'no tags'}")
    return architecture, pretrained


@torch.inference_mode(False)  # as for `_model`
def _load_named(architecture: str, pretrained: str) -> torch.nn.Module:
    import open_clip

    try:
        with _quiet():  # open_clip logs what it raises, too
            return open_clip.create_model(architecture, pretrained=pretrained)
    except Exception as error:  # hub, network and file errors come in a dozen types
        if Path(pretrained).is_file():
            pickled = "weights_only" in str(error).lower()
            reason = "a TorchScript archive or another pickle" if pickled else _short(error)
            raise CcliError(
                f"cannot read weights {pretrained} for {architecture}: {reason}; "
                "give a state_dict (.safetensors or .pt)"
            ) from error
        raise CcliError(
            f"the weights of {architecture} ({pretrained}) are not on this machine and cannot be downloaded "
            f"({_short(error)}); fetch them where there is a network and give MODEL.BACKBONE.NAME {architecture}@FILE"
        ) from error


def _load_folder(weights: Path) -> torch.nn.Module:
    from open_clip.factory import create_model, load_state_dict

    try:
        with _quiet():  # open_clip warns that it was asked not to load weights
            model = create_model(f"local-dir:{weights.parent}", load_weights=False, pretrained_text=False)
        model.load_state_dict(load_state_dict(weights))
    except Exception as error:
        raise CcliError(f"cannot read {weights}: {_short(error)}") from error
    return model


@contextmanager
def _quiet():
    """No warnings from open_clip, which writes to the root logger, and from the hub, which tells of every retry."""
    loggers = [logging.getLogger(name) for name in (None, "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _weights_file(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise CcliError(f"{folder}: no weights here; expected one of {', '.join(_WEIGHTS)}")


def _read_config(path: Path) -> dict:
    """A folder's open_clip configuration."""
    try:
        content = json.loads(path.read_text())
        if "trust_remote_code" in json.dumps(content):  # transformers would run modules of the folder
            raise CcliError(f"{path}: trust_remote_code is refused: nothing of a downloaded model is run")
        _ = content.get("preprocess_cfg", {}) | {"size": content["model_cfg"]["vision_cfg"]["image_size"]}
        return content
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CcliError(f"{path}: not an open_clip configuration ({_short(error)})") from error


def _facts_of_folder(weights: Path) -> ModelFacts:
    config = weights.parent / _CONFIG
    digest = hashlib.sha256(config.read_bytes())
    with open(weights, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 22), b""):
            digest.update(chunk)
    content = _read_config(config)
    pre = content.get("preprocess_cfg", {}) | {"size": content["model_cfg"]["vision_cfg"]["image_size"]}
    return _facts(str(config), digest, pre, _stored_scale(weights))


def _facts_of_model(model: torch.nn.Module, architecture: str) -> ModelFacts:
    import open_clip

    # equal weights give different features in another architecture (RN50 and RN50-quickgelu)
    digest = hashlib.sha256(json.dumps(open_clip.get_model_config(architecture), sort_keys=True).encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.float().cpu().contiguous().numpy().tobytes())
    return _facts(architecture, digest, model.visual.preprocess_cfg, model.logit_scale.float().exp().item())


def _facts(what: str, digest, pre: dict, logit_scale: float) -> ModelFacts:
    """Refuses preprocessing that the feature store does not repeat; `pre` is open_clip's preprocess_cfg."""
    pre = {"mean": _OPENAI_MEAN, "std": _OPENAI_STD} | {k: v for k, v in pre.items() if v is not None}
    size = pre["size"] if isinstance(pre["size"], (list, tuple)) else (pre["size"], pre["size"])
    resize, interpolation = pre.get("resize_mode", "shortest"), pre.get("interpolation", "bicubic")
    if resize != "shortest" or interpolation not in ("bicubic", "bilinear") or size[0] != size[1]:
        raise CcliError(
            f"{what}: images preprocessed with resize_mode {resize!r}, {interpolation!r}, {size[0]}x{size[1]} are not "
            "supported; take a model with 'shortest', bicubic or bilinear, and square images"
        )
    return ModelFacts(digest.hexdigest(), size[0], tuple(pre["mean"]), tuple(pre["std"]), interpolation, logit_scale)


_OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


def _stored_scale(weights: Path) -> float:
    """exp(logit_scale) out of a weights file, without building the model."""
    try:
        if weights.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(weights, "pt") as file:
                return float(file.get_tensor("logit_scale").float().exp())
        state = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
        return float(state.get("state_dict", state)["logit_scale"].float().exp())
    except Exception as error:
        raise CcliError(f"cannot read {weights}: {_short(error)}") from error


def _short(error: Exception) -> str:
    return first_line(error)[:160]
