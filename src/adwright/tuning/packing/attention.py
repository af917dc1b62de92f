"""Attention of many short texts laid end to end, by a few large products.

Each text attends to itself, causally. Texts of similar length form one block [n, L], shorter ones
padded, and with the heads that share keys side by side a block is two products forward and four
backward:

    P = softmax(s Q K' + mask)      O = P V
    dV = P' dO      dS = P * (dO V' - rowsum(dO V' * P))      dQ = s dS K      dK = s dS' Q

Q is [n G, (H/G) L, Dh], K and V are [n G, L, Dh]: keys are not repeated, and the product sums the
gradients of the heads that share them. The causal mask hides padding from the text itself, so only
dO has to be cleared there. P is kept for the backward pass where it is not larger than Q and K, and
computed again elsewhere.

The flash kernels of torch read one text at a time, and their backward pass is slow for texts
shorter than its blocks; texts of more than `LONG` tokens are left to them.

Letters: T tokens, H heads, G heads of keys, Dh width of a head, n texts, L tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


#: Tokens of a text above which the flash kernels take over.
LONG = 1024
#: Scores of a block: as many as fit the processor's cache.
_SCORES = 4_000_000
#: What an attention is told of where it is no full one: windows, bounds, sinks, biases of places.
_NOT_FULL = ("sliding_window", "softcap", "s_aux", "position_bias")
#: A text joins a block whose longest text is at most this many times longer.
_LIKE = 1.6


@dataclass(frozen=True)
class _Block:
    """n texts as rows of the matrices [T H, Dh] and [T G, Dh].

    queries: int64 [n G (H/G) L]; keys: int64 [n G L]; real: bool [n, 1, 1, L, 1], or None where
    no text is padded; mask: [L, L], 0 and -inf.
    """

    texts: int
    longest: int
    queries: Tensor
    keys: Tensor
    real: Tensor | None
    mask: Tensor


@dataclass(frozen=True)
class Blocks:
    """Which texts are read together; made once per step, used by all layers.

    lengths: of the texts. blocks: none where a text is longer than `LONG`, or on a GPU.
    from_queries, from_keys: int64 [T H] and [T G], where each row of the packed matrix is in the
    blocks.
    """

    heads: int
    kv_heads: int
    lengths: tuple[int, ...]
    blocks: tuple[_Block, ...]
    from_queries: Tensor
    from_keys: Tensor

    @staticmethod
    def of(offsets: Tensor, heads: int, kv_heads: int) -> Blocks:
        """offsets: int64 [S + 1] of S texts that lie end to end, as `Packed` has them."""
        starts, lengths = offsets[:-1].tolist(), offsets.diff().tolist()
        found: list[_Block] = []
        # Elsewhere than on the processor, the kernels of torch are the quick ones for any length.
        if max(lengths, default=0) <= LONG and offsets.device.type == "cpu":
            for rows in _alike(lengths, heads):
                first = [starts[row] for row in rows]
                found.append(_block(first, [lengths[row] for row in rows], heads, kv_heads))
        total = int(offsets[-1])
        return Blocks(
            heads=heads,
            kv_heads=kv_heads,
            lengths=tuple(lengths),
            blocks=tuple(found),
            from_queries=_inverse([block.queries for block in found], total * heads),
            from_keys=_inverse([block.keys for block in found], total * kv_heads),
        )


def block_attention(
    query: Tensor, key: Tensor, value: Tensor, blocks: Blocks, scale: float
) -> Tensor:
    """Attention [1, H, T, Dh] of each text to itself, causal: query [1, H, T, Dh], key and value
    [1, G, T, Dh] with G dividing H. scale: s."""
    if blocks.blocks:
        return _InBlocks.apply(query, key, value, blocks, scale)  # type: ignore[no-any-return, no-untyped-call]
    shared = blocks.heads // blocks.kv_heads
    parts = [
        functional.scaled_dot_product_attention(
            q,
            k.repeat_interleave(shared, dim=1),
            v.repeat_interleave(shared, dim=1),
            is_causal=True,
            scale=scale,
        )
        # Not by slices: each of them would make a gradient of all tokens.
        for q, k, v in zip(
            *(torch.split(x, list(blocks.lengths), dim=2) for x in (query, key, value)),
            strict=True,
        )
    ]
    return torch.cat(parts, 2)


def attends_in_blocks(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Within the context, the decoder takes `blocks=` with its tokens and positions, and attends by
    them. Where it does not attend fully (`attends_fully`), it takes no blocks.

    Raises MissingExtraError without transformers.
    """
    return attending(model, "adwright_blocks", _attend)


@contextmanager
def attending(model: PreTrainedModel, name: str, attend: Callable[..., Any]) -> Iterator[None]:
    """Within the context, let the model attend by `attend`, registered with transformers as `name`.
    A model that does not attend fully keeps the kernel of transformers, or takes the plain one
    where its scores are bounded: the mask of transformers keeps texts apart by their positions.

    Raises MissingExtraError without transformers.
    """
    try:
        from transformers import AttentionInterface
    except ImportError as error:
        raise MissingExtraError("training of language models", "lm") from error
    before = model.config._attn_implementation
    if attends_fully(model.config):
        AttentionInterface.register(name, attend)
    else:
        name = "eager" if getattr(model.config, "attn_logit_softcapping", None) else before
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before


def attends_fully(config: Any) -> bool:
    """Say whether in every layer each token attends to all earlier ones, by a plain softmax, as in
    a Llama: there are no windows, and scores are not bounded. config: of transformers."""
    kinds = getattr(config, "layer_types", None)
    # Some families name a window that no layer has: the kinds of the layers decide.
    windows = getattr(config, "sliding_window", None) if kinds is None else None
    bounded = getattr(config, "attn_logit_softcapping", None)
    return set(kinds or ("full_attention",)) == {"full_attention"} and not windows and not bounded


def require_known(module: nn.Module, more: Mapping[str, Any]) -> None:
    """Raise ConfigError where an attention is told of windows and the like, which the attention of
    this package would pass over. more: what transformers passes beside the usual arguments."""
    told = [name for name in _NOT_FULL if more.get(name) is not None]
    if told:
        raise ConfigError(
            f"the attention of this model cannot be trained on packed texts: it has {told[0]}",
            where=type(module).__name__,
            hint="tune a model whose layers attend to all earlier tokens, as a Llama's do",
        )


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    blocks: Blocks,
    scaling: float | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Compute the attention [1, T, H, Dh]; the signature is that of transformers."""
    require_known(module, more)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    seen = block_attention(query, key, value, blocks, scale)
    return seen.transpose(1, 2).contiguous(), None


class _InBlocks(torch.autograd.Function):
    """The products of the module."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks, scale: float
    ) -> Tensor:
        device, dtype = query.device.type, query.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        q, k, v = (_rows(x).to(dtype) for x in (query, key, value))
        kept: list[Tensor] = []
        found = []
        with torch.autocast(device, enabled=False):
            for block in blocks.blocks:
                mine = _taken(q, block.queries, block, blocks.kv_heads)
                # s is in the keys, which are fewer.
                keys = _taken(k, block.keys, block, blocks.kv_heads) * scale
                values = _taken(v, block.keys, block, blocks.kv_heads)
                share = _share(mine, keys, block)
                found.append(torch.bmm(share, values).view(-1, q.shape[-1]))
                again = block.longest > 2 * q.shape[-1]
                kept += [mine, keys, values, share.new_empty(0) if again else share]
        ctx.save_for_backward(*kept)
        ctx.blocks, ctx.scale = blocks, scale
        ctx.dtypes = (query.dtype, key.dtype, value.dtype)
        return _packed(found, blocks.from_queries, query.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        blocks: Blocks = ctx.blocks
        kept, up = ctx.saved_tensors, _rows(above)
        of_q, of_k, of_v = [], [], []
        for number, block in enumerate(blocks.blocks):
            mine, keys, values, share = kept[4 * number : 4 * number + 4]
            if not share.numel():
                share = _share(mine, keys, block)
            near = _taken(up, block.queries, block, blocks.kv_heads)
            if block.real is not None:
                near.view(block.texts, blocks.kv_heads, -1, block.longest, near.shape[-1]).mul_(
                    block.real
                )
            width = near.shape[-1]
            of_v.append(torch.bmm(share.transpose(1, 2), near).view(-1, width))
            slope = torch.bmm(near, values.transpose(1, 2))
            slope = torch._softmax_backward_data(slope, share, -1, share.dtype)
            of_q.append(torch.bmm(slope, keys).view(-1, width))
            of_k.append(torch.bmm(slope.transpose(1, 2), mine).mul_(ctx.scale).view(-1, width))
        shape, narrow = above.shape, (1, blocks.kv_heads, *above.shape[2:])
        of = (
            _packed(of_q, blocks.from_queries, shape),
            _packed(of_k, blocks.from_keys, narrow),
            _packed(of_v, blocks.from_keys, narrow),
        )
        return *(x.to(dtype) for x, dtype in zip(of, ctx.dtypes, strict=True)), None, None


def _share(query: Tensor, key: Tensor, block: _Block) -> Tensor:
    """P [n G, (H/G) L, L]; the softmax is computed in float32."""
    scores = torch.bmm(query, key.transpose(1, 2))
    scores.view(-1, block.longest, block.longest).add_(block.mask.to(scores.dtype))
    return torch.softmax(scores, -1)


def _rows(x: Tensor) -> Tensor:
    """View [1, H, T, Dh] as [T H, Dh], which is its order in memory in transformers."""
    return x[0].transpose(0, 1).reshape(-1, x.shape[-1])


def _taken(rows: Tensor, at: Tensor, block: _Block, kv_heads: int) -> Tensor:
    """Take the rows of a block, [n G, rows, Dh]."""
    return rows.index_select(0, at).view(block.texts * kv_heads, -1, rows.shape[-1])


def _packed(found: list[Tensor], at: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Put the rows of all blocks in the order [1, H, T, Dh], tokens before heads in memory."""
    whole = found[0] if len(found) == 1 else torch.cat(found)
    _, heads, tokens, width = shape
    return whole.index_select(0, at).view(1, tokens, heads, width).transpose(1, 2)


def _alike(lengths: list[int], heads: int) -> list[list[int]]:
    """Group the indices of texts by block, the longest first; texts without tokens are in none."""
    found: list[list[int]] = []
    longest = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if not lengths[row]:
            break
        room = _SCORES // (heads * longest**2) if longest else 0
        if not found or len(found[-1]) >= max(room, 1) or lengths[row] * _LIKE < longest:
            longest = lengths[row]
            found.append([])
        found[-1].append(row)
    return found


def _block(starts: list[int], lengths: list[int], heads: int, kv_heads: int) -> _Block:
    n, longest = len(starts), max(lengths)
    place = torch.arange(longest)
    own = torch.tensor(lengths)[:, None]
    token = torch.tensor(starts)[:, None] + torch.minimum(place, own - 1)  # [n, L]
    real = place < own
    head = torch.arange(heads).view(1, kv_heads, -1, 1)
    queries = token[:, None, None] * heads + head
    keys = token[:, None] * kv_heads + torch.arange(kv_heads)[None, :, None]
    return _Block(
        texts=n,
        longest=longest,
        queries=queries.reshape(-1),
        keys=keys.reshape(-1),
        real=None if bool(real.all()) else real[:, None, None, :, None],
        mask=torch.full((longest, longest), -torch.inf).triu(1),
    )


def _inverse(rows: list[Tensor], total: int) -> Tensor:
    """Find where each row of the packed matrix is in the blocks, int64 [total]. The last row of a
    padded text is there several times, the first time as itself."""
    if not rows:
        return torch.zeros(total, dtype=torch.int64)
    whole = torch.cat(rows)
    at = torch.full((total,), len(whole))
    return at.scatter_reduce(0, whole, torch.arange(len(whole)), "amin")
