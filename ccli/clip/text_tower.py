"""The text tower of an open_clip model, from token embeddings on, so that some of the embeddings may be learned.

The mask is causal: a token sees itself and what precedes it. Features are read off at the end token, so whatever
follows it can be cut off without changing them.
"""

import torch
from torch import nn

from ccli.errors import CcliError

_PARTS = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection", "attn_mask")


class TextTower(nn.Module):
    """Embeddings to text features. Its parameters are the model's own, and frozen; gradients reach the embeddings.

    Args:
        model: an open_clip model whose text tower is CLIP's own; its text parameters lose `requires_grad`.
        what: the model's name in errors.

    Raises:
        CcliError: a text tower of another architecture.
    """

    def __init__(self, model: nn.Module, what: str = "this model"):
        super().__init__()
        if problem := _difference(model):  # it would compute something else than the model does
            raise CcliError(f"{what} cannot learn prompts: {problem}; take a CLIP model, such as RN50 or ViT-B/16")
        self.token_embedding, self.positional_embedding = model.token_embedding, model.positional_embedding
        self.transformer, self.ln_final = model.transformer, model.ln_final
        self.text_projection = model.text_projection
        self.register_buffer("mask", model.attn_mask, persistent=False)
        self.requires_grad_(False)

    @property
    def context_length(self) -> int:
        """The most tokens a prompt may have, start and end included."""
        return len(self.positional_embedding)

    @property
    def width(self) -> int:
        return self.token_embedding.embedding_dim

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids [n, L] to embeddings [n, L, width] without positions; float32 where the weights are shorter."""
        x = self.token_embedding(tokens)
        return x.to(torch.promote_types(x.dtype, torch.float32))

    def forward(self, embeddings: torch.Tensor, eot: torch.Tensor) -> torch.Tensor:
        """Text features [n, D], not normalised, in the type of the embeddings.

        Args:
            embeddings: [n, L, width], of L <= context_length tokens, beginning with the start token.
            eot: [n], where the end token is.
        """
        length, dtype = embeddings.shape[1], self.transformer.get_cast_dtype()
        x = embeddings.to(dtype) + self.positional_embedding[:length].to(dtype)
        x = self.transformer(x, attn_mask=self.mask[:length, :length])
        return self.read_off(x[torch.arange(len(x), device=x.device), eot]).to(embeddings.dtype)

    def read_off(self, x: torch.Tensor) -> torch.Tensor:
        """The last layer's output at the end tokens, [n, width], to features [n, D]."""
        x = self.ln_final(x)
        if isinstance(self.text_projection, nn.Linear):
            return self.text_projection(x)
        return x if self.text_projection is None else x @ self.text_projection


def is_clips_own(model: nn.Module) -> bool:
    """Whether `TextTower` computes what the model's own encode_text does."""
    return _difference(model) is None


def _difference(model: nn.Module) -> str | None:
    """How a model's text tower differs from CLIP's own; None if it does not."""
    if not all(hasattr(model, part) for part in _PARTS):
        return f"it is a {type(model).__name__}, whose text tower (if any) is not CLIP's own"
    pooling, mask = getattr(model, "text_pool_type", "argmax"), model.attn_mask
    length = len(model.positional_embedding)
    if pooling != "argmax":
        return f"its text features are pooled by {pooling!r}, not read off at the end token"
    if mask is None:
        return "its text tower has no causal mask"
    if not torch.equal(mask, mask.new_full((length, length), float("-inf")).triu(1)):
        return "the mask of its text tower is not the causal one"
    return "its text tower appends a class token" if getattr(model, "context_length", length) != length else None
