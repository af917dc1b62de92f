"""Texts laid end to end: what a language model trains on, without padding.

A step reads S texts as one row of T tokens. Linear layers need no change; attention must keep the
texts apart, and positions restart in each. transformers lets a model attend by a custom function,
so here each text attends to itself, causally: by torch's flash kernel, or for gradients by
`block_attention`, since the kernel's backward pass is slow for short texts. No mask of the whole
row is ever made. A model whose layers have windows or bounded scores attends by transformers' own
kernels, under the mask that transformers makes of the positions. The result is what each text gives
alone, up to rounding.

The loss is that of the answers alone. Logits are computed only at the positions that predict an
answer's token, on a contiguous matrix (a strided one makes torch copy the head for each row), and
with a frozen head they are not kept: the gradient of the hidden states is computed together with
the loss, chunk by chunk,

    L = sum over answers t of  log sum_v e^(h_t . w_v) - h_t . w_y(t),
    dL/dh_t = sum_v softmax(h_t . w)_v w_v - w_y(t)

where the family neither scales nor bounds its logits, see `tuning.head`.
With the 49,152 words of SmolLM2, logits are a fifth of the work and most of the memory of a step.

Where a tuning step can be preempted: between its decoder layers.

A tuning step computes for seconds. Its forward and backward pass go layer by layer, so at some
points nothing is half done: before a layer's forward pass, before the head, and before the
gradient of a layer's output is taken further. What runs there, in the same thread, may read the
base's weights but must not change them, nor draw from torch's global random numbers; then the step
ends with the same bits.

Points have names ("forward 0", ..., "head", "head 1", ..., "backward 29", ...): what follows one
takes about as long in each step, so a scheduler can predict when it will be called again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.errors import ConfigError, MissingExtraError, ValueInvalidError
from adwright.tuning.modules import HeadLogits, decoder_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# --------------------------------------------------------------------------------------------------
# Attention of many short texts laid end to end, by a few large products.
#
# Each text attends to itself, causally. Texts of similar length form one block [n, L], shorter ones
# padded, and with the heads that share keys side by side a block is two products forward and four
# backward:
#
#     P = softmax(s Q K' + mask)      O = P V
#     dV = P' dO      dS = P * (dO V' - rowsum(dO V' * P))      dQ = s dS K      dK = s dS' Q
#
# Q is [n G, (H/G) L, Dh], K and V are [n G, L, Dh]: keys are not repeated, and the product sums the
# gradients of the heads that share them. The causal mask hides padding from the text itself, so
# only
# dO has to be cleared there. P is kept for the backward pass where it is not larger than Q and K,
# and
# computed again elsewhere.
#
# The flash kernels of torch read one text at a time, and their backward pass is slow for texts
# shorter than its blocks; texts of more than `LONG` tokens are left to them.
#
# Letters: T tokens, H heads, G heads of keys, Dh width of a head, n texts, L tokens of the longest.

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


#: Called with the name of the point.
PreemptionHook = Callable[[str], None]


@contextmanager
def between_layers(model: nn.Module, call: PreemptionHook) -> Iterator[None]:
    """Within the context, run `call` before each decoder layer of a forward pass, after the last
    one, and before each layer of a backward pass; outside autocast and without gradients.

    model: a causal LM of the Llama type, plain or tuned. Raises ConfigError where it is none.
    """
    layers = decoder_layers(model)
    decoder: Any = model.model
    handles = [_after(decoder, "head", call, "backward head")]
    for number, layer in enumerate(layers):
        handles.append(_before(layer, f"forward {number}", call))
        handles.append(_after(layer, "", call, f"backward {number}"))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _aside(call: PreemptionHook, place: str) -> None:
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        call(place)


def _before(module: nn.Module, place: str, call: PreemptionHook) -> Any:
    return module.register_forward_pre_hook(lambda *_: _aside(call, place))


def _after(module: nn.Module, place: str, call: PreemptionHook, backward: str) -> Any:
    """Call with `place`, unless it is empty, after a module's forward pass, and with `backward`
    when the gradient of its output is there."""

    def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        first = getattr(output, "last_hidden_state", None)
        hidden = first if first is not None else output
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        if isinstance(hidden, Tensor) and hidden.requires_grad:
            hidden.register_hook(lambda slope: _aside(call, backward))  # type: ignore[no-untyped-call]
        if place:
            _aside(call, place)

    return module.register_forward_hook(hook)


#: Answers whose logits are in memory at once: 512 of 49,152 words are 100 MB.
_CHUNK = 512
#: The same where a hook is called between chunks: each takes about as long as two layers.
_PREEMPTIBLE_CHUNK = 32
#: Logits are the head's products.
_AS_IT_IS = HeadLogits()


@dataclass(frozen=True)
class Packed:
    """S texts of T tokens. ids: int64 [T]. offsets: int64 [S + 1]. answer: bool [T], tokens that
    the model is to predict; never the first of a text."""

    ids: Tensor
    offsets: Tensor
    answer: Tensor

    def __post_init__(self) -> None:
        if self.answer.shape != self.ids.shape or int(self.offsets[-1]) != len(self.ids):
            raise ValueInvalidError(
                "packed texts need an offset where each ends, and a mark for each token",
                value=f"{len(self.ids)} tokens, {len(self.answer)} marks, "
                f"offsets to {int(self.offsets[-1])}",
            )
        starts = self.offsets[:-1]
        if bool(self.answer[starts[starts < len(self.ids)]].any()):
            raise ValueInvalidError("nothing predicts the first token of a text")

    def __len__(self) -> int:
        """Texts."""
        return len(self.offsets) - 1

    @property
    def answers(self) -> int:
        """Tokens that are predicted."""
        return int(self.answer.sum())

    def places(self) -> Tensor:
        """The position of each token in its text, int64 [T]."""
        starts = torch.repeat_interleave(self.offsets[:-1], self.offsets.diff())
        return torch.arange(len(self.ids), device=self.ids.device) - starts

    def twice(self) -> Packed:
        """Repeat all texts behind themselves."""
        again = self.offsets[1:] + self.offsets[-1]
        return Packed(self.ids.repeat(2), torch.cat([self.offsets, again]), self.answer.repeat(2))

    def alone(self) -> list[Packed]:
        """Split into single texts."""
        return [
            Packed(self.ids[start:end], torch.tensor([0, end - start]), self.answer[start:end])
            for start, end in pairwise(self.offsets.tolist())
        ]

    def to(self, device: torch.device | str) -> Packed:
        """The same on another device."""
        return Packed(self.ids.to(device), self.offsets.to(device), self.answer.to(device))


def pack(texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Packed:
    """Pack pairs of the tokens of a prompt, at least one, and of its answer.

    Raises ValueInvalidError for an empty prompt, since something must predict the first token of
    an answer.
    """
    for number, (prompt, _) in enumerate(texts):
        if not len(prompt):
            raise ValueInvalidError(
                "a prompt is empty", row=number, hint="begin it with the beginning-of-text token"
            )
    ids = [token for pair in texts for text in pair for token in text]
    marks = [
        mark for prompt, answer in texts for mark in [False] * len(prompt) + [True] * len(answer)
    ]
    lengths = torch.tensor([0, *(len(prompt) + len(answer) for prompt, answer in texts)])
    return Packed(torch.tensor(ids, dtype=torch.int64), lengths.cumsum(0), torch.tensor(marks))


def attends_apart(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Within the context, let the model attend text by text; its decoder has to pass positions to
    its attention, as the Llama family does. Where a backward pass computes layers again (activation
    checkpointing), both passes belong inside.

    Raises MissingExtraError without transformers.
    """
    return attending(model, "adwright_packed", _texts_attend)


def answer_loss(
    hidden: Tensor, head: nn.Module, packed: Packed, scaled: HeadLogits = _AS_IT_IS
) -> Tensor:
    """Compute the cross-entropy [] in nats, summed over the tokens of the answers.

    hidden: [T, D]. head: from rows [A, D] to products [A, V]. scaled: from
    these to logits, as `head_logits` reads it from the model's config.
    """
    if _is_frozen(head):
        each = torch.split(answer_losses(hidden, head, packed, scaled=scaled), _CHUNK)
        return sum((part.sum() for part in each), hidden.new_zeros((), dtype=torch.float32))
    parts = [
        functional.cross_entropy(scaled(head(h).float()), y, reduction="sum")
        for h, y in _chunks(hidden, packed)
    ]
    return torch.stack([hidden.new_zeros((), dtype=torch.float32), *parts]).sum()


def answer_losses(
    hidden: Tensor,
    head: nn.Module,
    packed: Packed,
    hook: PreemptionHook | None = None,
    *,
    scaled: HeadLogits = _AS_IT_IS,
) -> Tensor:
    """Compute the cross-entropy [A] in nats of each token of the answers, see `answer_loss`.

    hook: called between smaller chunks of the work, where the head is frozen.
    """
    if _is_frozen(head):
        rows, target = _answers(hidden, packed)
        return _FrozenHeadLosses.apply(rows, head.weight, target, hook, scaled)  # type: ignore[no-any-return, no-untyped-call]
    parts = [
        functional.cross_entropy(scaled(head(h).float()), y, reduction="none")
        for h, y in _chunks(hidden, packed)
    ]
    return torch.cat([hidden.new_zeros(0, dtype=torch.float32), *parts])


def _is_frozen(head: nn.Module) -> bool:
    return type(head) is nn.Linear and head.bias is None and not head.weight.requires_grad


def _answers(hidden: Tensor, packed: Packed) -> tuple[Tensor, Tensor]:
    """The hidden states [A, D] that predict the answers' tokens, and these [A]."""
    asked = packed.answer.nonzero()[:, 0]
    return hidden.index_select(0, asked - 1), packed.ids[asked]


def _chunks(hidden: Tensor, packed: Packed) -> Iterator[tuple[Tensor, Tensor]]:
    rows, target = _answers(hidden, packed)
    return zip(torch.split(rows, _CHUNK), torch.split(target, _CHUNK), strict=True)


class _FrozenHeadLosses(torch.autograd.Function):
    """Losses [A], and beside them their gradients, see the module."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        target: Tensor,
        hook: PreemptionHook | None,
        scaled: HeadLogits,
    ) -> Tensor:
        dtype = hidden.dtype
        if torch.is_autocast_enabled(hidden.device.type):
            dtype = torch.get_autocast_dtype(hidden.device.type)
        near, weight = hidden.to(dtype), weight.to(dtype)
        losses = hidden.new_empty(len(near), dtype=torch.float32)
        slope = torch.empty_like(near)
        size = _CHUNK if hook is None else _PREEMPTIBLE_CHUNK
        with torch.autocast(hidden.device.type, enabled=False):
            for at in range(0, len(near), size):
                if hook is not None and at:
                    hook(f"head {at // size}")
                part = slice(at, at + size)
                logits = scaled((near[part] @ weight.T).float())
                by_product = scaled.slope(logits)
                known = logits.gather(1, target[part, None])
                whole = logits.logsumexp(1, keepdim=True)
                losses[part] = (whole - known)[:, 0]
                share = logits.sub_(whole).exp_()
                share.scatter_add_(1, target[part, None], torch.full_like(known, -1.0))
                if isinstance(by_product, Tensor) or by_product != 1:
                    share.mul_(by_product)
                slope[part] = share.to(dtype) @ weight
        ctx.save_for_backward(slope)
        ctx.dtype = hidden.dtype
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return (slope * above[:, None]).to(ctx.dtype), None, None, None, None


def _texts_attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    position_ids: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> tuple[Tensor, None]:
    """Compute the attention [1, T, H, Dh] of each text to itself.

    query: [1, H, T, Dh]. key, value: [1, G, P + T, Dh] with G dividing H. position_ids: [1, T], 0
    where a text begins.

    P: keys of a prefix that all texts see; with one there is a mask [1, 1, T, P + T], of which
    each text takes its own columns. The signature is that of transformers.
    """
    require_known(module, more)
    starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
    if wanted and attention_mask is None and not dropout and query.device.type == "cpu":
        blocks = _blocks((*starts, query.shape[2]), query.shape[1], key.shape[1])
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        seen = block_attention(query, key, value, blocks, scale)
        return seen.transpose(1, 2).contiguous(), None
    shared, prefix = query.shape[1] // key.shape[1], key.shape[2] - query.shape[2]
    if shared > 1:
        key, value = (x.repeat_interleave(shared, dim=1) for x in (key, value))
    found = []
    for start, end in pairwise([*starts, query.shape[2]]):
        mine = slice(prefix + start, prefix + end)
        if attention_mask is None:
            mask, k, v = None, key[:, :, mine], value[:, :, mine]
        else:
            rows = attention_mask[:, :, start:end]
            mask, k, v = (
                torch.cat(
                    [whole.narrow(dim, 0, prefix), whole.narrow(dim, mine.start, end - start)], dim
                )
                for whole, dim in ((rows, 3), (key, 2), (value, 2))
            )
        seen = functional.scaled_dot_product_attention(
            query[:, :, start:end],
            k,
            v,
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=mask is None,
            scale=scaling,
        )
        found.append(seen)
    return torch.cat(found, 2).transpose(1, 2).contiguous(), None


@lru_cache(maxsize=8)
def _blocks(offsets: tuple[int, ...], heads: int, kv_heads: int) -> Blocks:
    """Make the blocks of a step once for all its layers."""
    return Blocks.of(torch.tensor(offsets), heads, kv_heads)
