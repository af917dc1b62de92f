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

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.errors import ValueInvalidError
from adwright.tuning.modules import HeadLogits, decoder_layers
from adwright.tuning.packing.attention import Blocks, attending, block_attention, require_known

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
    return attending(model, "adwright_packed", _attend)


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


def _attend(
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
