"""A frozen image-text model behind one small interface; open_clip builds it.

Nothing of the model is loaded until something has to be encoded: the feature store's questions about a local model
(its fingerprint, its preprocessing, its logit scale) are answered from its files.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm import tqdm

from ccli.clip.text_tower import TextTower, is_clips_own
from ccli.clip.weights import ModelFacts, find_weights
from ccli.errors import CcliError, check_choice

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
_AT_ONCE = 64  # images per batch
_PIXELS = 16 * 224 * 224  # of the images of a batch on a CPU: more of them do not fit into its caches


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
        check_choice("precision", precision, PRECISIONS)
        self.name, self.device, self.precision = name, torch.device(device), precision
        self._weights = find_weights(name)

    @cached_property
    def facts(self) -> ModelFacts:
        with torch.inference_mode(False):  # gradients cannot pass weights that were made in inference mode
            return self._weights.facts

    @property
    def images_at_once(self) -> int:
        """Images per batch. All batches have this size: the bits of a feature do not depend on the other images."""
        fit = _PIXELS // self.facts.image_size**2
        return max(1, min(_AT_ONCE, fit)) if self.device.type == "cpu" else _AT_ONCE

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Preprocessed images [B, 3, H, W] to features [B, D], float32, not normalised."""
        with torch.inference_mode():
            x = images.to(self.device, PRECISIONS[self.precision])
            return self.model.encode_image(x).float()

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        """B sentences to features [B, D], float32, not normalised.

        Tokens beyond the greatest of the `text_lengths` are cut off; they follow all end tokens and change no feature.
        """
        tokens = self.tokenize(texts)
        with torch.inference_mode():
            if not is_clips_own(self.model):
                return self.model.encode_text(tokens.to(self.device)).float()
            tokens = tokens[:, : max(_rounded_lengths(tokens), default=1)].to(self.device)
            return self.text_tower(self.text_tower.embed(tokens), tokens.argmax(-1)).float()

    def text_lengths(self, texts: list[str]) -> list[int]:
        """The number of tokens that `encode_text` keeps of each text alone, start and end included."""
        tokens = self.tokenize(texts)
        return _rounded_lengths(tokens) if is_clips_own(self.model) else [tokens.shape[1]] * len(texts)

    def tokenize(self, texts: list[str]) -> torch.Tensor:
        """B texts to token ids [B, context length]: start, text, end, padding. Longer texts are cut off."""
        return self._tokenizer(texts)

    def cut(self, texts: Sequence[str]) -> dict[int, int]:
        """The texts that are longer than the context, which cuts their end off: row -> number of its tokens.

        A tokenizer takes a second to load, and is not where every text is short by far: a token is a byte or more, and
        of words without digits more than 1.25 letters on average. Texts of models with a tokenizer of their own are not
        looked at.
        """
        most = self._weights.config.get("text_cfg", {}).get("context_length", 77)
        long = [k for k, text in enumerate(texts) if _at_most_tokens(text) > most]
        encode = getattr(self._tokenizer, "encode", None) if long else None
        counts = {k: len(encode(texts[k])) + 2 for k in long} if encode else {}
        return {k: count for k, count in counts.items() if count > most}

    def token_text(self, token: int) -> str:
        """The text of a token id, with a space at its end where the token ends a word."""
        return getattr(self._tokenizer, "tokenizer", self._tokenizer).decode([token])

    def refuse_without_text_tower(self) -> None:
        """Raise CcliError where the text tower is absent or not CLIP's own; no weights are loaded."""
        config = self._weights.config
        text = config.get("text_cfg")
        if not text or config.get("custom_text") or "hf_model_name" in text or "multimodal_cfg" in config:
            has = "no text tower" if not text else "a text tower of another architecture than CLIP's"
            raise CcliError(f"backbone {self.name!r} has {has}; learning prompts needs CLIP's own, such as RN50's")

    @cached_property
    def text_tower(self) -> TextTower:
        """The text tower from token embeddings on, through which gradients flow.

        Raises CcliError for a backbone without a text tower, or with one that is not CLIP's own.
        """
        return TextTower(self.model, f"backbone {self.name!r}")

    @cached_property
    def model(self) -> torch.nn.Module:
        """open_clip's model itself: frozen, on the device, in the precision; loaded when it is first asked for."""
        _ = self.facts  # of the weights before they are fused or rounded
        with torch.inference_mode(False):
            model = self._weights.model.eval().requires_grad_(False)
            model.visual = fuse_batchnorm(model.visual)  # in float32, whatever the precision
            if self.device.type == "cuda" and self.precision == "fp32":
                torch.backends.cudnn.allow_tf32 = False  # convolutions in fewer bits, which is the default
            return model.to(self.device, PRECISIONS[self.precision])

    @cached_property
    def _tokenizer(self):
        import open_clip

        return open_clip.get_tokenizer(self._weights.tokenizer)


def encode_texts(
    clip: FrozenClip, texts: Sequence[str], rows: Sequence[int], size: int, what: str
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Features of some of the texts, in batches of one size and one length, the shortest first.

    A text's features depend on no other text: on some machines a row's last bits depend on the shape of its batch,
    which here follows from the text's own length.

    Args:
        rows: which of the texts.
        size: texts in a batch; the last one of each length is filled up with "".
        what: their name on the progress bar, which is shown for two batches or more.

    Yields:
        (their rows, features [at most size, D], not normalised)
    """
    groups: dict[int, list[int]] = {}
    for row, length in zip(rows, clip.text_lengths([texts[k] for k in rows])):
        groups.setdefault(length, []).append(row)
    bar = tqdm(total=len(rows), desc=f"Encoding {what}", unit="", disable=len(rows) < 2 * size or None, leave=False)
    with bar:
        for _, group in sorted(groups.items()):
            for start in range(0, len(group), size):
                some = group[start : start + size]
                features = clip.encode_text([texts[k] for k in some] + [""] * (size - len(some)))
                yield some, features[: len(some)]
                bar.update(len(some))


def _at_most_tokens(text: str) -> float:
    letters = sum(one.isascii() and one.isalpha() for one in text)
    return 2 + 0.8 * letters + len("".join(text.split()).encode()) - letters


def _rounded_lengths(tokens: torch.Tensor) -> list[int]:
    """Length of each row of ids [B, L] to its end token, rounded up to a multiple of 4, at most L: few lengths."""
    up = (tokens.argmax(-1) // 4 + 1) * 4
    return up.clamp(max=tokens.shape[1]).tolist()


def fuse_batchnorm(visual: torch.nn.Module) -> torch.nn.Module:
    """open_clip's ResNet towers with their batch norms fused, in place; other towers are left as they are.

    The same function of the image, to rounding: each batch norm that follows a convolution is multiplied into it (it is
    constant when a model is frozen), and weights are stored channels last. On two cores RN50 becomes about 3 times as
    fast in float32.
    """
    from open_clip.modified_resnet import Bottleneck, ModifiedResNet

    if not isinstance(visual, ModifiedResNet):
        return visual
    for module in visual.modules():
        if isinstance(module, ModifiedResNet | Bottleneck):
            for k in (1, 2, 3):
                _fuse(module, f"conv{k}", f"bn{k}")
        if isinstance(module, Bottleneck) and module.downsample is not None:
            _fuse(module.downsample, "0", "1")
    return visual.to(memory_format=torch.channels_last)


def _fuse(module: torch.nn.Module, conv: str, norm: str) -> None:
    """Into the convolution, which gets a bias; the norm becomes the identity."""
    with torch.no_grad():
        fused = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
    setattr(module, conv, fused.requires_grad_(False))
    setattr(module, norm, torch.nn.Identity())
