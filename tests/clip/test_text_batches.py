"""Texts cut to length: the features are open_clip's on all tokens, and depend on no other text."""

import pytest
import torch
from helpers import small_clip

from ccli.clip.model import FrozenClip, encode_texts
from ccli.clip.text_tower import TextTower
from ccli.features.encoder import FeatureEncoder

TEXTS = ["", "a cat", "striped", "a photo of a dog.", "a photo of a red, round and wooden mountain bike.", "word " * 40]
TEXTS += [f"a photo of {k} mountain bikes{' in the rain' * (k % 3)}." for k in range(90)]


def whole(clip, texts):
    """open_clip's own encode_text on all tokens."""
    with torch.inference_mode():
        return clip.model.encode_text(clip.tokenize(texts)).float()


@pytest.fixture
def lengths(monkeypatch):
    """How many texts and tokens each pass through a text tower has."""
    seen, forward = [], TextTower.forward
    monkeypatch.setattr(TextTower, "forward", lambda self, x, eot: seen.append(x.shape[:2]) or forward(self, x, eot))
    return seen


@pytest.mark.parametrize("name", ["tiny", "demo-clip"])
def test_features_are_open_clips_on_all_tokens(tiny_clip, name, lengths):
    clip = tiny_clip if name == "tiny" else FrozenClip(name)
    expected = whole(clip, TEXTS)
    for some in ([0], [1, 3], range(5), range(len(TEXTS))):
        features = clip.encode_text([TEXTS[k] for k in some])
        difference = (features - expected[list(some)]).norm(dim=-1) / expected[list(some)].norm(dim=-1)
        assert float(difference.max()) < 1e-5
    assert lengths == [(1, 4), (2, 8), (5, 16), (96, 32)]


def test_in_bf16_they_are_the_same_to_its_rounding(tiny_clip_folder):
    clip = FrozenClip(str(tiny_clip_folder), precision="bf16")
    features, expected = clip.encode_text(TEXTS), whole(clip, TEXTS)
    assert features.dtype == torch.float32 and torch.equal(features.bfloat16().float(), features)
    assert float(((features - expected).norm(dim=-1) / expected.norm(dim=-1)).max()) < 2**-6


def test_a_length_is_the_end_tokens_place_rounded_up(tiny_clip):
    texts = ["", "a", "a cat", "a red cat", "a small red cat", "word " * 28, "word " * 40]
    assert (tiny_clip.tokenize(texts).argmax(-1) + 1).tolist() == [2, 3, 4, 5, 6, 30, 32]
    assert tiny_clip.text_lengths(texts) == [4, 4, 4, 8, 8, 32, 32]  # 32 is all that this model takes
    assert tiny_clip.text_lengths([]) == [] and tiny_clip.encode_text([]).shape == (0, 128)


def test_bits_do_not_depend_on_the_request(tiny_clip):
    def features(rows):
        out = torch.full((len(TEXTS), 128), float("nan"))
        for some, batch in encode_texts(tiny_clip, TEXTS, rows, 64, "texts"):
            out[some] = batch
        return out[list(rows)]

    everything = list(range(len(TEXTS)))
    together = features(everything)
    assert not together.isnan().any() and len(torch.unique(together, dim=0)) == len(TEXTS)
    assert torch.equal(features(everything[::-1]), together.flip(0))
    for some in ([0], [3], [5], [70], [95, 4, 31], everything[40:]):
        assert torch.equal(features(some), together[some])


def test_batches_have_one_size_and_one_length(tiny_clip, lengths):
    rows = [row for some, _ in encode_texts(tiny_clip, TEXTS, range(len(TEXTS)), 16, "texts") for row in some]
    assert sorted(rows) == list(range(len(TEXTS)))
    of_texts = tiny_clip.text_lengths(TEXTS)
    assert [of_texts[row] for row in rows] == sorted(of_texts)
    expected = [(16, n) for n in sorted(set(of_texts)) for _ in range(-(-of_texts.count(n) // 16))]
    assert lengths == expected and len(set(of_texts)) > 3


def test_the_store_keeps_them_under_their_text(tiny_clip, tmp_path):
    def texts(folder, some):
        return FeatureEncoder(tiny_clip, tmp_path / folder, tmp_path).texts(some)

    together = texts("all", TEXTS)
    torch.testing.assert_close(together, whole(tiny_clip, TEXTS), rtol=1e-3, atol=1e-4)
    assert torch.equal(texts("some", TEXTS[50:1:-7]), together[list(range(50, 1, -7))])
    assert torch.equal(texts("some", TEXTS), together)


def test_another_architectures_tower_is_run_whole(tiny_clip_folder, lengths):
    clip, model = FrozenClip(str(tiny_clip_folder)), small_clip(cls="CustomTextCLIP")
    tokens = {"short": [1, 5, 49] + [0] * 9, "": [1, 49] + [0] * 10}
    clip.__dict__.update(model=model, _tokenizer=lambda texts: torch.tensor([tokens[text] for text in texts]))
    assert clip.text_lengths(["short", ""]) == [12, 12]
    expected = model.encode_text(clip.tokenize(["short", ""]))
    assert torch.equal(clip.encode_text(["short", ""]), expected)
    ((rows, features),) = encode_texts(clip, ["short", ""], [0, 1], 4, "texts")
    assert rows == [0, 1] and torch.allclose(features, expected, atol=1e-6) and not lengths
