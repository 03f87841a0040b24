"""Learned contexts: where the tokens go, where they start, what they compute, what is kept."""

import pytest
import torch
from helpers import small_clip
from torch.nn import functional as F

from ccli.clip.model import FrozenClip
from ccli.clip.text_tower import TextTower
from ccli.errors import CcliError
from ccli.features.task import unit
from ccli.fitting import training
from ccli.methods import context_optimization
from ccli.methods.context_optimization import Prompts, build, lay_out

NAMES = ["dog", "red_panda", "mountain bike"]
SCALE = 20.0


def head(clip, names=NAMES, **options):
    return build(clip.text_tower, clip.tokenize, names, SCALE, **options)


def batch(n=6, classes=3, width=128):
    f = torch.randn(n, width, generator=torch.Generator().manual_seed(7))
    return {"img": F.normalize(f, dim=-1), "label": torch.arange(n) % classes}


def toy_tokenize(texts):
    """Ids of letters: start 30, a..z 1..26, full stop 27, end 31, padding 0; 10 tokens at most, the end among them."""
    rows = []
    for text in texts:
        ids = [ord(c) - 96 if c.isalpha() else 27 for c in text.lower() if c != " "]
        ids = [30, *ids[:8], 31]
        rows.append(ids + [0] * (10 - len(ids)))
    return torch.tensor(rows)


def test_the_layout_by_hand():
    # names of 2 and 1 tokens, a context of 3 (id 24)
    expected = {
        "end": [[30, 24, 24, 24, 1, 2, 27, 31], [30, 24, 24, 24, 3, 27, 31, 0]],
        "middle": [[30, 24, 1, 2, 24, 24, 27, 31], [30, 24, 3, 24, 24, 27, 31, 0]],
        "front": [[30, 1, 2, 24, 24, 24, 27, 31], [30, 3, 24, 24, 24, 27, 31, 0]],
    }
    slots = {
        "end": [[1, 2, 3], [1, 2, 3]],
        "middle": [[1, 4, 5], [1, 3, 4]],
        "front": [[3, 4, 5], [2, 3, 4]],
    }
    for position, rows in expected.items():
        prompts = lay_out(toy_tokenize, ["ab", "c"], [24, 24, 24], position, 10)
        assert isinstance(prompts, Prompts)
        assert prompts.tokens.tolist() == rows
        assert prompts.slots.tolist() == slots[position]
        assert prompts.eot.tolist() == [7, 6]


@pytest.mark.parametrize(
    ("position", "sentence"),
    [("end", "X X X X X {}."), ("middle", "X X {} X X X."), ("front", "{} X X X X X.")],
)
def test_the_layout_is_the_tokenizers_of_coops_placeholders(tiny_clip, position, sentence):
    texts = [sentence.format(name.replace("_", " ")) for name in NAMES]
    tokens = tiny_clip.tokenize(texts)
    x = int(tiny_clip.tokenize(["X"])[0, 1])
    prompts = lay_out(tiny_clip.tokenize, NAMES, [x] * 5, position, 32)
    length = prompts.tokens.shape[1]
    assert length == 1 + 5 + 2 + 1 + 1  # no longer than the longest
    assert torch.equal(prompts.tokens, tokens[:, :length]) and not tokens[:, length:].any()
    assert torch.equal(prompts.eot, tokens.argmax(-1))
    for row, slots in zip(prompts.tokens, prompts.slots):
        assert (row == x).nonzero().flatten().tolist() == slots.tolist()


def test_a_full_stop_that_joins_the_name_stays_with_it(tiny_clip):
    ended = tiny_clip.tokenize(["wow!."])[0].tolist()
    assert tiny_clip.tokenize(["wow!"])[0].argmax() == 3 == ended.index(max(ended))  # "!." is one token, as "!" is
    wow, stop = ended[1:3]
    for position, row in {"end": [5, 5, wow, stop], "middle": [5, wow, stop, 5], "front": [wow, stop, 5, 5]}.items():
        prompts = lay_out(tiny_clip.tokenize, ["wow!"], [5, 5], position, 32)
        assert prompts.tokens[0, 1:-1].tolist() == row and prompts.eot.tolist() == [5]


@pytest.mark.parametrize("name", ["tiny", "demo-clip"])
@pytest.mark.parametrize(
    ("position", "sentence"),
    [("end", "a photo of a {}."), ("middle", "a photo {} of a."), ("front", "{} a photo of a.")],
)
@pytest.mark.parametrize("class_specific", [False, True])
def test_a_context_of_words_is_these_words(tiny_clip, name, position, sentence, class_specific):
    clip = tiny_clip if name == "tiny" else FrozenClip(name)
    texts = [sentence.format(c.replace("_", " ")) for c in NAMES]
    expected = unit(clip.encode_text(texts))
    model = head(clip, init="a_photo of a", n_ctx=16, position=position, class_specific=class_specific)
    assert model.ctx.shape == ((3, 4, 64) if class_specific else (4, 64))
    for features in (model.text_features(), model.eval().text_features()):
        assert float((features.detach() - expected).abs().max()) < 1e-5
    f = batch()["img"]
    torch.testing.assert_close(model(f), SCALE * f @ expected.T, rtol=0, atol=1e-3)


def test_words_of_several_tokens_are_learned_whole(tiny_clip):
    assert head(tiny_clip, init="a hyperspectral photo").ctx.shape[0] == int(
        tiny_clip.tokenize(["a hyperspectral photo"])[0].argmax() - 1
    )
    assert head(tiny_clip, init="  ", n_ctx=3).ctx.shape == (3, 64)  # no words


def test_a_random_start_depends_on_the_seed_alone(tiny_clip):
    torch.manual_seed(5)
    first = head(tiny_clip, seed=1).ctx
    torch.manual_seed(6)
    state = torch.get_rng_state()
    assert torch.equal(head(tiny_clip, seed=1, names=["cat"], position="front").ctx, first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(head(tiny_clip, seed=2).ctx, first)
    assert first.shape == (16, 64)
    assert float(first.detach().mean()) == pytest.approx(0, abs=3 * 0.02 / 32)  # 1024 draws
    assert float(first.detach().std()) == pytest.approx(0.02, rel=0.08)


def test_class_specific_contexts_start_and_move_apart(tiny_clip):
    model = head(tiny_clip, n_ctx=4, class_specific=True)
    assert model.ctx.shape == (3, 4, 64)
    assert len(torch.unique(model.ctx.detach().flatten(), dim=0)) == 3 * 4 * 64
    features = model.text_features()
    (gradient,) = torch.autograd.grad(features[1].square()[:5].sum(), model.ctx)
    assert gradient[1].any() and not gradient[0].any() and not gradient[2].any()
    words = head(tiny_clip, init="a photo", class_specific=True)
    assert torch.equal(words.ctx[0], words.ctx[2])
    training.step(words, batch(), torch.optim.SGD(words.parameters(), lr=0.1))  # each is a tensor of its own
    assert not torch.equal(words.ctx[0], words.ctx[2])


MIXED = ["dog", "red_panda", "dogs", "yin and yang symbol", "word " * 12, "snoopy (cartoon beagle)"]


def whole(model, clip, names, position):
    """Logits' text features and ctx's gradient with every token of every prompt computed, as CoOp's own code does."""
    length, ctx = clip.text_tower.context_length, model.ctx.detach().clone().requires_grad_()
    prompts = lay_out(clip.tokenize, names, [7] * ctx.shape[-2], position, length)
    tokens = F.pad(prompts.tokens, (0, length - prompts.tokens.shape[1]))
    vectors = ctx.expand(len(names), *ctx.shape[-2:])
    x = clip.text_tower.embed(tokens).index_put((torch.arange(len(names))[:, None], prompts.slots), vectors)
    return ctx, F.normalize(clip.text_tower(x, prompts.eot), dim=-1)


@pytest.fixture(scope="module", params=["tiny", "demo-clip"])
def exact_clip(request, tiny_clip_folder):
    """In double precision: where the parts of a gradient cancel, rounding in float32 is a large share of it."""
    clip = FrozenClip(str(tiny_clip_folder) if request.param == "tiny" else request.param)
    clip.model.double()
    return clip


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("names", [MIXED, ["dog"], ["word " * 13, "dog"]])
def test_logits_and_gradients_are_those_of_whole_prompts(exact_clip, class_specific, position, names):
    model = head(exact_clip, names, position=position, class_specific=class_specific, seed=3).double()
    images, labels = batch(8)["img"].double(), batch(8, len(names))["label"]
    ctx, features = whole(model, exact_clip, names, position)
    expected, logits = SCALE * images @ features.T, model(images)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)
    for side in (expected, logits):
        F.cross_entropy(side, labels).backward()
    torch.testing.assert_close(model.ctx.grad, ctx.grad, rtol=0, atol=1e-10 * float(ctx.grad.abs().max()) + 1e-14)
    assert ctx.grad.any() or len(names) == 1


def test_what_all_prompts_begin_with_is_computed_once(tiny_clip):
    def rows(names=("dog", "red_panda"), n_ctx=5, **options):
        model = head(tiny_clip, names, n_ctx=n_ctx, **options)
        assert len(model.embeddings()) == len(model._packed.ids)
        return model._packed.prefix, len(model.embeddings())

    assert rows() == (1 + 5, 6 + 3 + 4)  # the name, full stop and end are left
    assert rows(position="middle") == (1 + 2, 3 + 6 + 7)
    assert rows(position="front") == (1, 1 + 8 + 9)
    assert rows(class_specific=True) == (1, 1 + 8 + 9)
    assert rows(class_specific=True, position="front") == (1, 1 + 8 + 9)
    # what stands for the context while prompts are laid out is not taken for a word
    assert rows(["dog", "a"], init="a", position="front") == (1, 1 + 4 + 4)
    assert rows(["dog", "dog a"], init="a", position="front") == (2, 2 + 3 + 4)


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_the_gradient_is_that_of_finite_differences(position, class_specific):
    tower = TextTower(small_clip().double())
    model = build(
        tower, toy_tokenize, ["ab", "c"], 3.0, n_ctx=3, position=position, class_specific=class_specific, seed=1
    )
    model.double()
    images, labels = batch(4, 2, 8)["img"].double(), torch.tensor([0, 1, 1, 0])

    def loss():
        return F.cross_entropy(model(images), labels)

    loss().backward()
    direction = torch.randn(model.ctx.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    start, h = model.ctx.detach().clone(), 1e-5
    sides = []
    for sign in (1, -1):
        with torch.no_grad():
            model.ctx.copy_(start + sign * h * direction)
            sides.append(float(loss()))
    slope = (sides[0] - sides[1]) / (2 * h)
    assert abs(slope) > 1e-5
    assert float((model.ctx.grad * direction).sum()) == pytest.approx(slope, rel=1e-5)


def test_only_the_context_is_learned_and_kept(tiny_clip):
    model = head(tiny_clip, n_ctx=4)
    assert [name for name, _ in model.named_parameters()] == ["ctx"]
    assert list(model.state_dict()) == ["ctx"]
    other = head(tiny_clip, n_ctx=4, seed=9, names=["cat"])  # a shared context fits other classes
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.ctx, model.ctx)
    f = batch()["img"]
    again = head(tiny_clip, n_ctx=4, seed=9)
    assert not torch.equal(again(f), model(f))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(f), model(f))


def test_training_lowers_the_loss_and_leaves_the_tower_alone(tiny_clip):
    before = {name: x.clone() for name, x in tiny_clip.text_tower.state_dict().items()}
    model = head(tiny_clip, n_ctx=4)
    optim = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = [float(training.step(model, batch(), optim)[0].detach()) for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(x, before[name]) for name, x in tiny_clip.text_tower.state_dict().items())


@pytest.fixture
def counted(tiny_clip, monkeypatch):
    """A head, and a list that grows with each pass through the text tower."""
    calls, encode = [], context_optimization.encode
    monkeypatch.setattr(context_optimization, "encode", lambda *args: calls.append(1) or encode(*args))
    return head(tiny_clip, n_ctx=4), calls


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_text_is_encoded_once_for_each_value_of_the_context(counted, mode):
    model, calls = counted
    optim = torch.optim.SGD(model.parameters(), lr=0.1)
    f = batch()["img"]

    def fresh():
        return SCALE * f @ model._encode().detach().T

    model.eval()
    with mode():
        first = model(f)
        assert torch.equal(model(f), first) and len(calls) == 1
    torch.testing.assert_close(first.clone(), fresh(), rtol=0, atol=1e-4)
    model.train()
    training.step(model, batch(), optim)
    model.eval()
    with mode():
        second = model(f)
    assert not torch.allclose(second, first, atol=1e-3)
    torch.testing.assert_close(second.clone(), fresh(), rtol=0, atol=1e-4)
    for change in (
        lambda: model.load_state_dict({"ctx": torch.zeros(4, 64)}),
        lambda: model.ctx.data.add_(0.1),  # past autograd's counter
        lambda: model.double(),
    ):
        change()
        f = f.to(model.ctx.dtype)
        with mode():
            torch.testing.assert_close(model(f).clone(), fresh().to(f.dtype), rtol=0, atol=1e-4)
    assert model.text_features().requires_grad  # where a gradient is wanted nothing is kept, in any mode


def test_what_is_kept_can_be_used_outside_inference_mode(counted):
    model, _ = counted
    with torch.inference_mode():
        model(batch()["img"])
    with torch.no_grad():
        features = model.text_features()
    x = batch()["img"].requires_grad_()
    (x @ features.T).sum().backward()
    assert x.grad.any()


def test_prompts_that_are_too_long_name_the_class(tiny_clip):
    head(tiny_clip, names=["dog"], n_ctx=28)  # 1 + 28 + 1 + 1 + 1 = 32 fits
    with pytest.raises(CcliError, match=r"class 'dog' has 33 tokens.*29 of them context.*takes 32"):
        head(tiny_clip, names=["dog"], n_ctx=29)
    with pytest.raises(CcliError, match="class 'red panda' has 33 tokens"):
        head(tiny_clip, names=["dog", "red_panda"], n_ctx=28)
    with pytest.raises(CcliError, match=r"class 'word word .*takes 32"):
        head(tiny_clip, names=["dog", "word " * 40], n_ctx=1)
    with pytest.raises(CcliError, match=r"class 'dog'.*takes 32"):
        head(tiny_clip, init="word " * 40)


def test_what_makes_no_prompt_is_refused(tiny_clip):
    with pytest.raises(CcliError, match="position must be one of end, middle, front, got 'back'"):
        head(tiny_clip, position="back")
    with pytest.raises(CcliError, match="a context of 0 vectors"):
        head(tiny_clip, n_ctx=0)
    with pytest.raises(CcliError, match="0 classes"):
        head(tiny_clip, names=[])
