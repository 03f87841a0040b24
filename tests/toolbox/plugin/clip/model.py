"""A CLIP small enough for tests, with the attributes that plugins take from OpenAI's."""

from collections import OrderedDict

import torch
from torch import nn


class LayerNorm(nn.LayerNorm):
    """In float32, whatever the model's precision."""

    def forward(self, x):
        return nn.functional.layer_norm(
            x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps
        ).type(x.dtype)


class ResidualAttentionBlock(nn.Module):
    def __init__(self, width, heads, mask=None):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1, self.ln_2 = LayerNorm(width), LayerNorm(width)
        layers = [("c_fc", nn.Linear(width, 2 * width)), ("act", nn.GELU()), ("c_proj", nn.Linear(2 * width, width))]
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.attn_mask = mask

    def forward(self, x):
        mask = None if self.attn_mask is None else self.attn_mask.to(x.dtype).to(x.device)
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Takes and gives [length, batch, width]."""

    def __init__(self, width, layers, heads, mask=None):
        super().__init__()
        self.resblocks = nn.Sequential(*(ResidualAttentionBlock(width, heads, mask) for _ in range(layers)))

    def forward(self, x):
        return self.resblocks(x)


class VisionTransformer(nn.Module):
    def __init__(self, input_resolution, patch_size, width, output_dim):
        super().__init__()
        self.input_resolution = input_resolution
        self.conv1 = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        self.transformer = Transformer(width, 1, 2)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, output_dim) / width**0.5)

    def forward(self, image):
        x = self.transformer(self.conv1(image).flatten(2).permute(2, 0, 1))
        return self.ln_post(x.mean(dim=0)) @ self.proj


class CLIP(nn.Module):
    def __init__(self, embed_dim, image_resolution, patch_size, width, context_length, vocab_size):
        super().__init__()
        self.context_length = context_length
        self.visual = VisionTransformer(image_resolution, patch_size, width, embed_dim)
        causal = torch.full((context_length, context_length), float("-inf")).triu(1)
        self.transformer = Transformer(width, 1, 2, causal)
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(context_length, width))
        self.ln_final = LayerNorm(width)
        self.text_projection = nn.Parameter(torch.randn(width, embed_dim) / width**0.5)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    @property
    def dtype(self):
        return self.visual.conv1.weight.dtype

    def encode_image(self, image):
        return self.visual(image.type(self.dtype))

    def encode_text(self, text):
        x = (self.token_embedding(text) + self.positional_embedding).type(self.dtype)
        x = self.ln_final(self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2))
        return x[torch.arange(len(x)), text.argmax(dim=-1)] @ self.text_projection


def build_model(state_dict):
    """A model in half precision, as OpenAI's loader gives it."""
    width, _, patch_size, _ = state_dict["visual.conv1.weight"].shape
    context_length = len(state_dict["positional_embedding"])
    embed_dim, vocab_size = state_dict["text_projection"].shape[1], len(state_dict["token_embedding.weight"])
    model = CLIP(embed_dim, 16, patch_size, width, context_length, vocab_size)
    model.load_state_dict(state_dict)
    return model.half().eval()
