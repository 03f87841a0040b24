"""The text tower from embeddings on: it is open_clip's, cut short or not, and gradients pass it."""

from types import SimpleNamespace

import pytest
import torch
from helpers import small_clip

from ccli.clip.model import FrozenClip
from ccli.clip.text_tower import TextTower
from ccli.errors import CcliError

SENTENCES = ["a", "a photo of a dog.", "three small, blue hexagons on a dark and rather noisy background!"]


@pytest.fixture(params=["tiny", "demo-clip"])
def clip(request, tiny_clip):
    return tiny_clip if request.param == "tiny" else FrozenClip("demo-clip")


def test_features_are_those_of_open_clip_whole_and_cut_short(clip):
    expected, tokens = clip.encode_text(SENTENCES), clip.tokenize(SENTENCES)
    tower, eot = clip.text_tower, tokens.argmax(-1)
    assert (tower.context_length, tower.width, tokens.shape) == (32, 64, (3, 32))
    assert eot.tolist() == [2, 7, 16]
    for length in (32, 20, 17):
        embeddings = tower.embed(tokens[:, :length])
        assert embeddings.shape == (3, length, 64)
        features = tower(embeddings, eot)
        assert features.shape == (3, 128) and features.dtype == torch.float32
        assert float((features - expected).abs().max()) < 1e-5
    assert not torch.allclose(tower(tower.embed(tokens), eot - 1), expected, atol=1e-3)


def test_gradients_through_the_cut_are_those_through_the_whole(clip):
    tokens, tower = clip.tokenize(SENTENCES), clip.text_tower
    gradients = []
    for length in (32, 17):
        x = tower.embed(tokens)[:, :length].clone().requires_grad_()
        tower(x, tokens.argmax(-1)).square().sum().backward()
        gradients.append(x.grad)
    whole, cut = gradients
    assert float(cut.norm()) > 0 and float((whole[:, :17] - cut).abs().max()) < 1e-5 * float(cut.abs().max())
    assert not whole[:, 17:].any()
    assert not whole[0, 3:].any() and whole[0, 2].any()  # what follows the end token does not matter


def test_weights_are_frozen_and_shared(tiny_clip):
    tower = tiny_clip.text_tower
    assert not any(p.requires_grad for p in tower.parameters())
    assert tower is tiny_clip.text_tower
    assert tower.token_embedding.weight is tiny_clip.model.token_embedding.weight


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_pass_a_model_that_was_first_used_for_encoding(tiny_clip_folder, precision):
    clip = FrozenClip(str(tiny_clip_folder), precision=precision)
    with torch.inference_mode():
        expected = clip.encode_text(SENTENCES)
    tokens = clip.tokenize(SENTENCES)
    x = clip.text_tower.embed(tokens).clone().requires_grad_()
    features = clip.text_tower(x, tokens.argmax(-1))
    assert x.dtype == features.dtype == torch.float32  # in bf16, too: what is learned has all its digits
    assert float((features.detach() - expected).abs().max()) < (1e-5 if precision == "fp32" else 0.05)
    features.sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.any()


def test_a_projection_with_bias_or_none():
    for text, width in (({"proj_bias": True}, 8), ({"proj_type": "none"}, 16)):
        model = small_clip(text)
        if width == 8:
            torch.nn.init.normal_(model.text_projection.bias)
        tokens = torch.tensor([[1, 5, 6, 49] + [0] * 8])
        tower = TextTower(model)
        features = tower(tower.embed(tokens[:, :4]), torch.tensor([3]))
        assert features.shape == (1, width)
        torch.testing.assert_close(features, model.encode_text(tokens), rtol=0, atol=1e-5)


def test_double_precision_stays():
    tower = TextTower(small_clip().double())
    x = tower.embed(torch.tensor([[1, 5, 49]]))
    assert x.dtype == tower(x, torch.tensor([2])).dtype == torch.float64


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: small_clip(cls="CustomTextCLIP"), "CustomTextCLIP, whose text tower"),
        (lambda: small_clip({"pool_type": "last"}), "pooled by 'last'"),
        (lambda: small_clip({"pool_type": "eos"}), "pooled by 'eos'"),
        (lambda: small_clip({"no_causal_mask": True}), "no causal mask"),
        (lambda: small_clip({"embed_cls": True}), "class token"),
        (lambda: torch.nn.Linear(2, 2), "a Linear, whose text tower"),
    ],
)
def test_other_architectures_are_refused(make, problem):
    with pytest.raises(CcliError) as caught:
        TextTower(make(), "backbone 'X'")
    message = str(caught.value)
    assert message.startswith("backbone 'X' cannot learn prompts") and problem in message and "\n" not in message


def test_a_mask_that_looks_ahead_is_refused():
    model = small_clip()
    model.attn_mask[0, 1] = 0
    with pytest.raises(CcliError, match="is not the causal one"):
        TextTower(model)


def test_a_backbone_without_a_text_tower_is_named(tiny_clip_folder):
    clip = FrozenClip(str(tiny_clip_folder))
    clip.__dict__["model"] = SimpleNamespace(visual=None)
    with pytest.raises(CcliError, match=r"backbone '.*tiny' cannot learn prompts"):
        assert clip.text_tower
