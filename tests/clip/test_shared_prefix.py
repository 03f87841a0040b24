"""Packed prompts: where their tokens go, and that features and gradients are those of the tower on whole prompts."""

import pytest
import torch
from helpers import small_clip
from torch import nn

from ccli.clip import shared_prefix
from ccli.clip.model import FrozenClip
from ccli.clip.shared_prefix import encode, is_known, pack
from ccli.clip.text_tower import TextTower

LONGEST = 12  # tokens that small_clip takes
PROMPTS = {
    "one prefix": [[1, 4, 5, 6, 49], [1, 4, 5, 7, 8, 9, 49], [1, 4, 5, 49], [1, 4, 5, 9, 9, 49]],
    "the start alone": [[1, 4, 5, 49], [1, 5, 5, 6, 49]],
    "nothing": [[1, 4, 5, 49], [2, 4, 5, 6, 49]],
    "one much longer, which fills the context": [[1, 4, 49], [1, 4, 5, 49], [1, 4, *range(5, 14), 49]],
    "all as long as the context": [[1, *range(3, 12), 20, 49], [1, *range(3, 12), 21, 49]],
    "one prompt": [[1, 4, 5, 49]],
    "equal prompts": [[1, 4, 5, 49], [1, 4, 5, 49]],
    "one the beginning of another": [[1, 4, 5, 49], [1, 4, 5, 49, 6, 49]],
}  # fmt: skip


def padded(prompts, length=LONGEST):
    return torch.tensor([row + [0] * (length - len(row)) for row in prompts]), torch.tensor(
        [len(r) - 1 for r in prompts]
    )


def test_the_packing_by_hand():
    packed = pack(*padded([[1, 7, 3, 4, 9], [1, 7, 5, 9], [1, 7, 5, 6, 9]]))
    assert (packed.prefix, packed.rest) == (2, 3)
    assert packed.ids.tolist() == [1, 7, 3, 4, 9, 5, 9, 5, 6, 9]
    assert packed.places.tolist() == [0, 1, 2, 3, 4, 2, 3, 2, 3, 4]
    assert packed.cells.tolist() == [0, 1, 2, 3, 4, 6, 7, 8]  # 5 is behind an end
    assert packed.ends.tolist() == [4, 6, 9] and packed.eot.tolist() == [4, 3, 4]
    assert packed.rows[:, :4].tolist() == [[0, 1, 2, 3], [0, 1, 5, 6], [0, 1, 7, 8]]
    assert packed.rows[[0, 2], 4].tolist() == [4, 9]


@pytest.mark.parametrize(("name", "prefix"), list(zip(PROMPTS, [3, 1, 0, 2, 10, 3, 3, 3])))
def test_the_prefix_is_what_all_begin_with_and_no_end_token(name, prefix):
    packed = pack(*padded(PROMPTS[name]))
    assert packed.prefix == prefix
    assert len(packed.ids) == prefix + sum(len(row) - prefix for row in PROMPTS[name])


def both_ways(model, prompts):
    """Features and gradients by the ids' embeddings, of `encode` and of the tower on all tokens."""
    tower, (ids, eot) = TextTower(model), padded(prompts)
    packed = pack(ids, eot)
    weight = torch.randn(
        len(ids), 8, generator=torch.Generator().manual_seed(3), dtype=tower.token_embedding.weight.dtype
    )
    out = []
    for run in (lambda e: encode(tower, e[packed.ids], packed), lambda e: tower(e[ids], eot)):
        embeddings = tower.token_embedding.weight.detach().clone().requires_grad_()
        features = run(embeddings)
        (features * weight).sum().backward()
        out.append((features.detach(), embeddings.grad))
    return out


def rough(model):
    """Weights and biases far from their start, where biases are 0 and attention is nearly even."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for x in model.parameters():
            x.add_(torch.randn(x.shape, generator=generator, dtype=x.dtype), alpha=0.3)
    return model


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("layers", [1, 3])
def test_features_and_gradients_are_the_towers(name, layers):
    model = rough(small_clip({"layers": layers}).double())
    (features, gradient), (expected, expected_gradient) = both_ways(model, PROMPTS[name])
    assert features.shape == (len(PROMPTS[name]), 8) and features.dtype == torch.float64
    torch.testing.assert_close(features, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-10)
    assert gradient[1].any() or name == "nothing"


@pytest.mark.parametrize(
    "text", [{"ls_init_value": 0.3}, {"heads": 1}, {"mlp_ratio": 2.0}, {"proj_type": "none", "width": 8}]
)
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_every_kind_of_clips_own_tower(text, quick_gelu):
    model = rough(small_clip(text, quick_gelu=quick_gelu).double())
    assert is_known(model.transformer)
    (features, gradient), (expected, expected_gradient) = both_ways(model, PROMPTS["one prefix"])
    torch.testing.assert_close(features, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-10)


def with_zero_attention(model):
    model.transformer.resblocks[1].attn.add_zero_attn = True


def with_cross_attention(model):
    model.transformer.resblocks[0].ln_1_kv = nn.LayerNorm(16)


def with_another_block(model):
    class Doubled(type(model.transformer.resblocks[0])):
        def forward(self, *args, **kwargs):
            return 2 * super().forward(*args, **kwargs)

    model.transformer.resblocks[1].__class__ = Doubled


def with_another_attention(model):
    class Negated(nn.MultiheadAttention):
        def forward(self, *args, **kwargs):
            out, weights = super().forward(*args, **kwargs)
            return -out, weights

    model.transformer.resblocks[0].attn.__class__ = Negated


@pytest.mark.parametrize(
    "change", [with_zero_attention, with_cross_attention, with_another_block, with_another_attention, "custom"]
)
def test_blocks_of_another_kind_are_run_by_the_tower(change, monkeypatch):
    if change == "custom":
        model = rough(small_clip({"scale_attn": True, "scale_heads": True}).double())
    else:
        model = rough(small_clip().double())
        change(model)
    assert not is_known(model.transformer)
    monkeypatch.setattr(shared_prefix, "_attention", None)
    (features, gradient), (expected, expected_gradient) = both_ways(model, PROMPTS["one prefix"])
    torch.testing.assert_close(features, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("precision", "close"), [("fp32", 1e-5), ("bf16", 2**-6)])
def test_sentences_in_either_precision(tiny_clip_folder, precision, close):
    clip = FrozenClip(str(tiny_clip_folder), precision=precision)
    tokens = clip.tokenize(["a photo of a cat.", "a photo of a red panda.", "a photo of two"])
    packed = pack(tokens, tokens.argmax(-1))
    assert packed.prefix == 4 and is_known(clip.text_tower.transformer)
    features = encode(clip.text_tower, clip.text_tower.embed(packed.ids), packed)
    with torch.inference_mode():
        expected = clip.model.encode_text(tokens).float()
    assert features.dtype == torch.float32
    assert float(((features - expected).norm(dim=-1) / expected.norm(dim=-1)).max()) < close
