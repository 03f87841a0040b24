"""Prompts with a common beginning through the text tower: the beginning is computed once, and nothing is padded.

The mask is causal: a token depends on what precedes it, so the tokens that all prompts begin with are the same in all
of them, in every layer, and the others need only their keys and values. Features and gradients are those of
`TextTower` on each whole prompt, to rounding.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from ccli.clip.text_tower import TextTower

_BLOCK = {"ln_1", "attn", "ls_1", "ln_2", "mlp", "ls_2"}


@dataclass(frozen=True)
class PackedPrompts:
    """N prompts as one row of T tokens: the P that all begin with, then the rest of each, up to its end token.

    ids: [T] of the tokens; places: [T], the position of each in its prompt; prefix: P; rest: R, the longest rest;
    cells: [T - P], the position of each token after the prefix in a table of N times R; ends: [N], the positions of
    the end tokens among the T; eot: [N], their positions in their prompts; rows: [N, P + R], the position among the T
    of each token of a prompt (after the end, any).
    """

    ids: torch.Tensor
    places: torch.Tensor
    prefix: int
    rest: int
    cells: torch.Tensor
    ends: torch.Tensor
    eot: torch.Tensor
    rows: torch.Tensor


def pack(ids: torch.Tensor, eot: torch.Tensor) -> PackedPrompts:
    """Prompts [N, L] with their end tokens at `eot` [N]. Equal ids in one place stand for equal embeddings."""
    ids = ids[:, : int(eot.max()) + 1]
    alike = (ids == ids[0]).all(0).cumprod(0)  # [L], 1 as long as all are equal
    prefix = min(int(alike.sum()), int(eot.min()))  # an end token is never among them
    places = torch.arange(ids.shape[1], device=ids.device)
    kept = places[prefix:] <= eot[:, None]  # [N, R]
    count = prefix + int(kept.sum())
    rows = torch.zeros_like(ids)
    rows[:, :prefix] = places[:prefix]
    rows[:, prefix:][kept] = torch.arange(prefix, count, device=ids.device)
    return PackedPrompts(
        ids=torch.cat([ids[0, :prefix], ids[:, prefix:][kept]]),
        places=torch.cat([places[:prefix], places[prefix:].expand_as(kept)[kept]]),
        prefix=prefix,
        rest=kept.shape[1],
        cells=kept.flatten().nonzero().flatten(),
        ends=prefix - 1 + (eot - prefix + 1).cumsum(0),
        eot=eot,
        rows=rows,
    )


def encode(tower: TextTower, embeddings: torch.Tensor, prompts: PackedPrompts) -> torch.Tensor:
    """Text features [N, D], not normalised, in the type of the embeddings.

    Args:
        embeddings: [T, width] of the packed tokens, without positions.
    """
    if not is_known(tower.transformer):  # the tower runs every prompt whole
        return tower(embeddings[prompts.rows], prompts.eot)
    dtype = tower.transformer.get_cast_dtype()
    x = embeddings.to(dtype) + tower.positional_embedding[prompts.places].to(dtype)  # [T, width]
    *blocks, last = tower.transformer.resblocks
    for block in blocks:
        x = x + block.ls_1(_attention(block.attn, block.ln_1(x), prompts))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
    ends = x.index_select(0, prompts.ends)  # nothing else of the last layer is used, [N, width]
    x = ends + last.ls_1(_attention_of_ends(last.attn, last.ln_1(x), prompts))
    x = x + last.ls_2(last.mlp(last.ln_2(x)))
    return tower.read_off(x).to(embeddings.dtype)


def is_known(transformer: nn.Module) -> bool:
    """Whether all blocks are CLIP's own, the only ones that `encode` walks through by itself."""
    from open_clip.transformer import ResidualAttentionBlock, Transformer

    return type(transformer) is Transformer and all(
        type(block) is ResidualAttentionBlock
        and {name for name, _ in block.named_children()} == _BLOCK
        and type(block.attn) is nn.MultiheadAttention
        and block.attn.in_proj_weight is not None
        and block.attn.bias_k is None
        and not block.attn.add_zero_attn
        and block.attn.dropout == 0
        for block in transformer.resblocks
    )


def _attention(attn: nn.MultiheadAttention, x: torch.Tensor, prompts: PackedPrompts) -> torch.Tensor:
    """Causal self-attention in every prompt; x [T, width] -> [T, width]."""
    p, n, rest = prompts.prefix, len(prompts.ends), prompts.rest
    qkv = F.linear(x, attn.in_proj_weight, attn.in_proj_bias)
    q0, k0, v0 = _heads(attn, qkv[:p], 1, p)  # [H, 1, P, d]
    q, k, v = _heads(attn, _table(qkv[p:], prompts), n, rest)  # [H, N, R, d]
    later = torch.ones(max(p, rest), max(p, rest), dtype=torch.bool, device=x.device).triu(1)
    ahead = _attend(q0, k0, v0, k0[:, 0, :0], v0[:, 0, :0], later[:p, :p])
    own = _attend(q, k, v, k0[:, 0], v0[:, 0], later[:rest, :rest])
    return attn.out_proj(torch.cat([_joined(ahead), _joined(own).index_select(0, prompts.cells)]))


def _attention_of_ends(attn: nn.MultiheadAttention, x: torch.Tensor, prompts: PackedPrompts) -> torch.Tensor:
    """Attention of the end tokens to their prompts; x [T, width] -> [N, width]."""
    p, n, rest, width = prompts.prefix, len(prompts.ends), prompts.rest, attn.embed_dim
    weight, bias = attn.in_proj_weight, attn.in_proj_bias
    of_q, of_kv = (None, None) if bias is None else (bias[:width], bias[width:])
    (q,) = _heads(attn, F.linear(x.index_select(0, prompts.ends), weight[:width], of_q), n, 1)  # [H, N, 1, d]
    kv = F.linear(x, weight[width:], of_kv)
    k0, v0 = _heads(attn, kv[:p], 1, p)
    k, v = _heads(attn, _table(kv[p:], prompts), n, rest)
    behind = torch.arange(p, p + rest, device=x.device) > prompts.eot[:, None, None]  # [N, 1, R]
    return attn.out_proj(_joined(_attend(q, k, v, k0[:, 0], v0[:, 0], behind)))


def _table(x: torch.Tensor, prompts: PackedPrompts) -> torch.Tensor:
    """The tokens after the prefix, [T - P, C], as a table [N * R, C] with zeros after the ends."""
    return x.new_zeros(len(prompts.ends) * prompts.rest, x.shape[1]).index_copy(0, prompts.cells, x)


def _heads(attn: nn.MultiheadAttention, x: torch.Tensor, n: int, length: int) -> torch.Tensor:
    """[n * length, parts * width] -> [parts, H, n, length, d]"""
    parts = x.shape[1] // attn.embed_dim
    return x.view(n, length, parts, attn.num_heads, attn.head_dim).permute(2, 3, 0, 1, 4)


def _joined(x: torch.Tensor) -> torch.Tensor:
    """[H, n, length, d] -> [n * length, width]"""
    h, n, length, d = x.shape
    return x.permute(1, 2, 0, 3).reshape(n * length, h * d)


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, k0: torch.Tensor, v0: torch.Tensor, unseen: torch.Tensor
) -> torch.Tensor:
    """Softmax attention [H, N, Q, d] to the common prefix and to a prompt's own tokens.

    Args:
        q: [H, N, Q, d]; k, v: [H, N, R, d], of each prompt; k0, v0: [H, P, d], of the prefix.
        unseen: the keys that a query does not see, to be broadcast to [H, N, Q, R].
    """
    (h, n, count, d), p = q.shape, k0.shape[1]
    q = q * d**-0.5
    common = (q.reshape(h, n * count, d) @ k0.mT).view(h, n, count, p)  # one product for all prompts
    weights = torch.cat([common, (q @ k.mT).masked_fill(unseen, float("-inf"))], -1).softmax(-1)
    common, own = weights[..., :p].reshape(h, n * count, p), weights[..., p:]
    return (common @ v0).view(h, n, count, d) + own @ v
