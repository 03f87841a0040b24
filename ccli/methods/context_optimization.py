"""Context optimisation: the words around a class name are vectors, learned from the shots.

    logits = scale * f w(ctx)^T,   w_i = text features of  [start] ctx_1 ... ctx_M NAME_i . [end]

CoOp (Zhou, Yang, Loy, Liu; IJCV 2022, arXiv 2109.01134), with its options: one context for all classes or one per
class, random or from words, and the name after, within or before the context. Image features are frozen, as there.
The prefix that all prompts share, such as a shared context before the name, goes through the text tower once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ccli.clip.shared_prefix import encode, pack
from ccli.clip.text_tower import TextTower
from ccli.errors import CcliError, check_choice

POSITIONS = ("end", "middle", "front")  # of the class name
_STD = 0.02  # of a random start
Tokenize = Callable[[list[str]], torch.Tensor]  # n texts -> ids [n, context length]: start, text, end, padding


@dataclass(frozen=True)
class Prompts:
    """The prompts of N classes, no longer than the longest of them.

    tokens: [N, L] ids; slots: [N, M], where in a row the context is; eot: [N], where the end token is.
    """

    tokens: torch.Tensor
    slots: torch.Tensor
    eot: torch.Tensor


class ContextOptimization(nn.Module):
    """The classifier; f [B, D] -> logits [B, N]. `ctx` is its only parameter and its whole state_dict.

    It stays on the device of the tower, which is not a submodule.

    Args:
        tower: embeddings to text features.
        prompts: of the N classes.
        ctx: the initial context, [M, width], or [N, M, width] for one per class.
        logit_scale: exp(logit_scale) of the model.
    """

    def __init__(self, tower: TextTower, prompts: Prompts, ctx: torch.Tensor, logit_scale: float):
        super().__init__()
        device = tower.positional_embedding.device
        self._tower = (tower,)  # a tuple, so that it is no submodule
        self.logit_scale = float(logit_scale)
        self.ctx = nn.Parameter(ctx.to(device, copy=True))
        vectors = torch.arange(ctx[..., 0].numel()).view(ctx.shape[:-1]).expand_as(prompts.slots)  # [N, M]
        self._packed = pack(prompts.tokens.scatter(1, prompts.slots, -1 - vectors).to(device), prompts.eot.to(device))
        ids = self._packed.ids  # vector k of the context is -1 - k
        with torch.no_grad():
            self.register_buffer("fixed", tower.embed(ids.clamp(min=0)), persistent=False)
        self.register_buffer("slots", (ids < 0).nonzero().flatten(), persistent=False)
        self.register_buffer("vectors", -1 - ids[self.slots], persistent=False)
        self._kept: tuple[torch.Tensor, torch.Tensor] | None = None

    def embeddings(self) -> torch.Tensor:
        """The packed prompts with the context in its slots, [T, width]."""
        return self.fixed.index_copy(0, self.slots, self.ctx.flatten(0, -2)[self.vectors])

    def text_features(self) -> torch.Tensor:
        """[N, D], unit rows. Without gradients they are computed once per value of the context."""
        if torch.is_grad_enabled() and self.ctx.requires_grad:
            return self._encode()
        if self._kept is None or not torch.equal(self._kept[0], self.ctx):
            with torch.inference_mode(False), torch.no_grad():  # the cache may be used outside inference mode
                self._kept = (self.ctx.detach().clone(), self._encode())
        return self._kept[1]

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        return self.logit_scale * f @ self.text_features().T

    def _encode(self) -> torch.Tensor:
        return F.normalize(encode(self._tower[0], self.embeddings(), self._packed), dim=-1)

    def _apply(self, fn, recurse: bool = True):
        self._kept = None  # the device or type may change
        return super()._apply(fn, recurse)


def build(
    tower: TextTower, tokenize: Tokenize, classnames: Sequence[str], logit_scale: float, n_ctx: int = 16,
    init: str = "", class_specific: bool = False, position: str = "end", seed: int = 0,
) -> ContextOptimization:  # fmt: skip
    """A classifier to be trained.

    Args:
        classnames: "_" stands for a space, as in CoOp.
        n_ctx: the number of vectors; with `init` there is one per token of it.
        init: words to start from, such as "a photo of a"; "" starts from N(0, 0.02), which depends on `seed` alone.
        class_specific: a context per class. (CoOp ignores this with `init`; here each class starts from these words.)
        position: of the class name, one of POSITIONS.

    Raises:
        CcliError: a prompt is too long for the model, the position is unknown, or there is no context or no class.
    """
    words = init.replace("_", " ").strip()
    ids = _ids(tokenize, words) if words else _ids(tokenize, "X") * n_ctx
    if not ids or not classnames:
        raise CcliError(f"{len(classnames)} classes and a context of {len(ids)} vectors: there must be at least one")
    prompts = lay_out(tokenize, classnames, ids, position, tower.context_length)
    shape = (len(classnames), len(ids), tower.width) if class_specific else (len(ids), tower.width)
    if words:
        with torch.no_grad():
            ctx = tower.embed(torch.tensor(ids, device=tower.positional_embedding.device)).expand(shape)
    else:
        ctx = _STD * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return ContextOptimization(tower, prompts, ctx, logit_scale)


def lay_out(
    tokenize: Tokenize, classnames: Sequence[str], context: Sequence[int], position: str, longest: int
) -> Prompts:
    """Lay out prompts: start, part of the context, the name, the rest of the context, the full stop, the end.

    Args:
        context: M token ids as placeholders of the context.
        longest: the context length of the model.
    """
    check_choice("position", position, POSITIONS)
    m = len(context)
    ahead = {"end": m, "middle": m // 2, "front": 0}[position]  # context before the name
    names = [name.replace("_", " ") for name in classnames]
    # a name and its full stop may share a token ("!."), which then belongs to the name
    alone, ended = tokenize(names).tolist(), tokenize([f"{name}." for name in names]).tolist()
    rows, slots = [], []
    for name, short, text in zip(names, alone, ended):
        tail = text[1 : _end(text) + 1]  # name, full stop, end
        cut = min(_end(short), len(tail)) - 1
        if 1 + m + len(tail) > min(longest, len(text)):
            raise CcliError(
                f"the prompt of class {name!r} has {1 + m + len(tail)} tokens or more, {m} of them context, and the "
                f"model takes {min(longest, len(text))}; take a shorter context or name"
            )
        rows.append([text[0], *context[:ahead], *tail[:cut], *context[ahead:], *tail[cut:]])
        slots.append([1 + k if k < ahead else 1 + cut + k for k in range(m)])
    width = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return Prompts(tokens, torch.tensor(slots), torch.tensor([len(row) - 1 for row in rows]))


def _ids(tokenize: Tokenize, text: str) -> list[int]:
    """A text's token ids, without start and end."""
    row = tokenize([text])[0].tolist()
    return row[1 : _end(row)]


def _end(row: list[int]) -> int:
    """Where a row's end token is: no other id is as high."""
    return row.index(max(row))
