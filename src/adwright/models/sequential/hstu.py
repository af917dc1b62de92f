"""HSTU, the hierarchical sequential transduction unit: a layer, a stack, and retrieval with it.

Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for
Generative Recommendations", ICML 2024, arXiv 2402.17152. A layer, equations 1 to 3:

    U, V, Q, K = split(SiLU(W1 LN(x)))               one product, one SiLU before the split
    A          = SiLU(alpha Q K^T + rab_p + rab_t) / N    on what the mask admits, no softmax
    y          = W2 Dropout(LN(A V) * U) + x          the gate U stands in for an FFN

rab_p is a learned number by distance, rab_t one by the bucketed seconds between; both of each
layer, shared by its heads. N is the longest sequence the model is made for. As in the public
research code neither W1 nor the norms have a bias or a weight, and an event's side of rab_t
knows the time of the *next* event: at serving that is the time of the request. A comparison
with a model without times has to set `request_time` "last_event", or `time` False.

From the ranking branch of that code: alpha = 1 / sqrt(Dqk), norm per head, W2 of [U, A, U * A],
context tokens that all see. From ULTRA-HSTU (arXiv 2602.16986): a window with a prefix, and
truncation in mid-stack, after which only the latest events go on.

Ours: W2 has no bias; context tokens have no embedding of their place; after a truncation the
prefix of a window is counted among the tokens that are left.

>>> from adwright.models.sequential.hstu import HSTUConfig
>>> HSTUConfig(blocks=8, heads=2, qk_width=25, v_width=25).request_time
'known'
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.config import Gt, Lt, Natural, settings
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import (
    TIME_BUCKETS,
    AttentionSpec,
    Terms,
    draw_kept,
    dropout,
    dropped_attention,
    scaled,
)
from adwright.models.kernels.fused import fused_for, remembered
from adwright.models.kernels.silu_attention import Kernel, by_group, silu_attention
from adwright.models.sequential.sequence_model import (
    Encoded,
    SequenceConfig,
    SequenceModel,
    SequenceTokens,
)

RequestTime = Literal["known", "last_event"]
_EPS = 1e-6


@settings
class HSTUConfig(SequenceConfig):
    """What HSTU adds to the sizes of `SequenceConfig`.

    qk_width, v_width: Dqk and Dv of each head. position, time: whether there are rab_p, rab_t.
    request_time: "known", an event's side of rab_t has the time of the next event; "last_event",
    its own. scaled: alpha = 1 / sqrt(Dqk) instead of 1.
    window: 0, or only distances below it are seen; prefix: first tokens seen from everywhere.
    truncate_after, truncate_to: after that many layers only the last `truncate_to` events go
    on, and the model speaks of no other; 0 switches it off.
    norm: of A V, over all heads or in each. concat: W2 reads [U, A, U * A], A being normed.
    kernel: of the attention. w1_deviation: of the normal numbers that W1 starts with. The public
    code has .02, with which a layer of width 64 says next to nothing at first; where a training
    is short, .1 learns faster. recompute: keep half as much for the backward pass, and compute LN,
    SiLU and the gate again; worth it for long sequences, where that takes a hundredth of a step.
    """

    kind: ClassVar[str] = "hstu"
    title: ClassVar[str] = "HSTU"

    qk_width: int = 50
    v_width: int = 50
    position: bool = True
    time: bool = True
    request_time: RequestTime = "known"
    scaled: bool = False
    window: int = 0
    prefix: int = 0
    truncate_after: int = 0
    truncate_to: int = 0
    norm: Literal["layer", "group"] = "layer"
    concat: bool = False
    kernel: Kernel = "auto"
    w1_deviation: Annotated[float, Gt(0), Lt(10)] = 0.02
    recompute: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.qk_width, self.v_width) < 1 or min(self.window, self.prefix) < 0:
            raise ConfigError(
                "qk_width and v_width are at least 1, window and prefix not negative",
                where=f"{self.qk_width}, {self.v_width}, {self.window}, {self.prefix}",
            )
        if self.prefix and not self.window:
            raise ConfigError("a prefix needs a window", hint="set window, or prefix to 0")
        if bool(self.truncate_after) != bool(self.truncate_to) or not (
            0 <= self.truncate_after < self.blocks and self.truncate_to >= 0
        ):
            raise ConfigError(
                "truncation needs a number of layers below blocks and a number of events",
                where=f"truncate_after {self.truncate_after}, truncate_to {self.truncate_to}",
                hint="set both, or both to 0",
            )

    @property
    def reads_time(self) -> bool:
        """Whether there is a rab_t."""
        return self.time

    @property
    def reads_request_time(self) -> bool:
        """Whether rab_t knows the time of the next event."""
        return self.time and self.request_time == "known"

    @property
    def truncates(self) -> bool:
        """Whether there is a truncation between two layers."""
        return self.truncate_to > 0

    @property
    def pair_cost(self) -> float:
        """Multiplications that a pair of events costs in a forward pass.

        Less than of the batched products: the tiles leave out what the mask does.
        """
        return self.blocks * 0.3 * self.heads * (self.qk_width + self.v_width)

    def without_time(self) -> Self:
        """The config for sequences without times."""
        return replace(self, time=False)

    def resized(
        self, *, max_length: int | None = None, blocks: int | None = None, width: int | None = None
    ) -> Self:
        """The config with other sizes where they are not None; the heads' follow the width."""
        resized = super().resized(max_length=max_length, blocks=blocks, width=width)
        if width is None:
            return resized
        head = max(width // self.heads, 1)
        return replace(resized, qk_width=head, v_width=head)


class Projected(NamedTuple):
    """One layer's u [T, H Dv], v [T, H, Dv], q and k [T, H, Dqk]."""

    u: Tensor
    v: Tensor
    q: Tensor
    k: Tensor


class HSTULayer(nn.Module):
    """One layer. longest: N, tokens of the longest sequence."""

    def __init__(self, config: HSTUConfig, longest: int) -> None:
        super().__init__()
        self.config, self.longest = config, longest
        wide, narrow = config.heads * config.v_width, config.heads * config.qk_width
        self.sizes = [wide, wide, narrow, narrow]
        self.w1 = nn.Parameter(torch.empty(sum(self.sizes), config.width))
        nn.init.normal_(self.w1, std=config.w1_deviation)
        self.w2 = nn.Linear(wide * (3 if config.concat else 1), config.width, bias=False)
        nn.init.xavier_uniform_(self.w2.weight)
        self.rab_p = _table(longest) if config.position else None
        self.rab_t = _table(TIME_BUCKETS) if config.time else None
        self.alpha = config.qk_width**-0.5 if config.scaled else 1.0

    def project(self, x: Tensor) -> Projected:
        """x [T, D] to its four parts."""
        return self.parts(functional.linear(normed(x), self.w1))

    def parts(self, before: Tensor) -> Projected:
        """The four parts of W1 LN(x) [T, ..], which SiLU has still to come over."""
        u, v, q, k = torch.split(functional.silu(before), self.sizes, -1)
        heads = self.config.heads
        v, q, k = (one.reshape(*one.shape[:-1], heads, one.shape[-1] // heads) for one in (v, q, k))
        return Projected(u, v, q, k)

    def gate(self, u: Tensor, attended: Tensor) -> Tensor:
        """u [T, H Dv] and A V [T, H, Dv] to what W2 reads, before dropout."""
        if self.config.norm == "layer":
            attended = attended.flatten(-2)
        known = normed(attended)
        known = known.flatten(-2) if self.config.norm == "group" else known
        return torch.cat([u, known, known * u], -1) if self.config.concat else known * u

    def merge(self, u: Tensor, attended: Tensor, x: Tensor) -> Tensor:
        """u [T, H Dv], A V [T, H, Dv] and the layer's input x [T, D] to its output [T, D]."""
        gated = self.gate(u, attended)
        kept = dropout(gated, self.config.dropout, self.training)
        return x + cast("Tensor", self.w2(kept))

    def biased(self, scores: Tensor, distance: Tensor, bucket: Tensor | None) -> Tensor:
        """scores + rab_p[distance] + rab_t[bucket], as far as the layer has them.

        distance, bucket: int64, of shapes that broadcast to that of the scores.
        """
        if self.rab_p is not None:
            scores = scores + self.rab_p[distance.clamp(0, self.longest - 1)]
        if self.rab_t is not None and bucket is not None:
            scores = scores + self.rab_t[bucket]
        return scores

    def attend(self, parts: Projected, tokens: SequenceTokens, spec: AttentionSpec) -> Tensor:
        """A V [T, H, Dv] of the projected tokens; spec: who sees whom."""
        terms = self.terms(tokens, spec)._asdict()
        kernel = self.config.kernel
        return silu_attention(parts.q, parts.k, parts.v, tokens.offsets, kernel=kernel, **terms)

    def terms(self, tokens: SequenceTokens, spec: AttentionSpec) -> Terms:
        """What the attention takes beside its tensors."""
        time = (tokens.time, tokens.query_time) if self.config.time else (None, None)
        return Terms(1 / self.longest, self.alpha, spec, self.rab_p, self.rab_t, *time)

    def is_fused(self, x: Tensor) -> bool:
        """Whether the attention over x is the fused kernel's."""
        return self.config.kernel == "fused" or (self.config.kernel == "auto" and fused_for(x))

    def forward(self, tokens: SequenceTokens, spec: AttentionSpec) -> Tensor:
        """The tokens' x [T, D] to y [T, D]; spec: who sees whom."""
        x = tokens.x
        if torch.is_grad_enabled() and self.config.recompute:
            saving: Tensor = _Saving.apply(  # type: ignore[no-untyped-call]
                x, self.w1, self.w2.weight, self.rab_p, self.rab_t, self, tokens, spec
            )
            return saving
        parts = self.project(x)
        return self.merge(parts.u, self.attend(parts, tokens, spec), x)


class _Saving(torch.autograd.Function):
    """A layer that keeps x, W1 LN(x) and A V for its backward pass, D + 2 H (Dqk + Dv) + H Dv
    floats per token, and what dropout dropped. LN, SiLU and the gate are computed again, no
    product is; the graph of autograd would keep their results as well.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def forward(
        ctx: Any,
        x: Tensor,
        w1: Tensor,
        w2: Tensor,
        rab_p: Tensor | None,
        rab_t: Tensor | None,
        layer: HSTULayer,
        tokens: SequenceTokens,
        spec: AttentionSpec,
    ) -> Tensor:
        before = functional.linear(normed(x), w1)
        parts = layer.parts(before)
        attended = layer.attend(parts, tokens, spec)
        kept, mask = layer.gate(parts.u, attended), None
        rate = layer.config.dropout
        if layer.training and rate:
            mask = draw_kept(kept.shape, rate, like=kept)
            kept = scaled(kept, mask, rate)
        ctx.rest = layer, replace(tokens, x=x[:0]), spec
        ctx.save_for_backward(x, before, attended, mask, w1, w2)
        return x + functional.linear(kept, w2)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        x, before, attended, mask, w1, w2 = ctx.saved_tensors
        layer, tokens, spec = ctx.rest
        tables = (layer.rab_p, layer.rab_t)
        used = [table for table in tables if table is not None and table.requires_grad]
        with torch.enable_grad():
            x, before = x.detach().requires_grad_(), before.detach().requires_grad_()
            parts = layer.parts(before)
            if layer.is_fused(x):
                terms = layer.terms(tokens, spec)
                again = remembered(parts.q, parts.k, parts.v, tokens.offsets, terms, attended)
            else:
                again = layer.attend(parts, tokens, spec)
            gated, clean = layer.gate(parts.u, again), normed(x)
        near = above.to(gated.dtype)
        d_gated, kept = near @ w2.to(gated.dtype), gated.detach()
        if mask is not None:
            rate = layer.config.dropout
            d_gated, kept = (scaled(one, mask, rate) for one in (d_gated, kept))
        d_before, *of_used = torch.autograd.grad(gated, [before, *used], d_gated)
        found = iter(of_used)
        of_tables = [next(found) if any(table is one for one in used) else None for table in tables]
        (d_x,) = torch.autograd.grad(clean, x, (d_before @ w1.to(d_before.dtype)).to(clean.dtype))
        d_w1, d_w2 = d_before.T @ clean.detach().to(d_before.dtype), near.T @ kept
        return d_x + above, d_w1.to(w1.dtype), d_w2.to(w2.dtype), *of_tables, None, None, None


class HSTUStack(nn.Module):
    """Layers one after another, with truncation between two of them where the config has it.

    longest: N, tokens of the longest sequence, context included.
    """

    def __init__(self, config: HSTUConfig, longest: int) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(HSTULayer(config, longest) for _ in range(config.blocks))

    def spec(self, tokens: SequenceTokens) -> AttentionSpec:
        """Who sees whom among the tokens."""
        contexts = None
        if tokens.contexts:
            contexts = torch.full_like(tokens.offsets[1:], tokens.contexts)
        return AttentionSpec(contexts, None, self.config.window, self.config.prefix)

    def forward(self, tokens: SequenceTokens) -> SequenceTokens:
        """The tokens after the last layer; fewer of them after a truncation."""
        if self.config.time and (tokens.time is None or tokens.query_time is None):
            raise ValueInvalidError(
                "the model reads times and the sequences have none",
                hint="set time to False in the config, or pass times",
            )
        spec = self.spec(tokens)
        for number, layer in enumerate(self.layers):
            if number and number == self.config.truncate_after:
                tokens = SequenceModel.latest(tokens, self.config.truncate_to)
            tokens = replace(tokens, x=layer(tokens, spec))
        return tokens


class HSTU(SequenceModel):
    """A retriever of the next item.

    >>> model = HSTU(HSTUConfig(), data.items, count=data.count)  # doctest: +SKIP
    >>> batch = data.questions(data.people("test"), "test", max_length=200)  # doctest: +SKIP
    >>> (model.queries(batch) @ model.item_vectors(codes).T).topk(10)  # doctest: +SKIP
    """

    config: HSTUConfig

    def __init__(
        self,
        config: HSTUConfig,
        items: int,
        *,
        count: NDArray[np.int64] | None = None,
        context_sizes: tuple[int, ...] = (),
    ) -> None:
        super().__init__(config, items, count=count, context_sizes=context_sizes)
        self.stack = HSTUStack(config, config.max_length + len(self.input.context))

    def encode(self, batch: SequenceBatch) -> Encoded:
        """Unit vectors [K, D] of the events that the last layer sees."""
        known = self.config.request_time == "known"
        query_time = batch.next_time if known else batch.time
        return self.spoken(self.stack(self.input(batch, query_time)))

    def asked(self, batch: SequenceBatch) -> int:
        """How many events the loss is summed over: after a truncation, the latest alone."""
        if not self.config.truncate_to:
            return super().asked(batch)
        ends = batch.items.offsets[1:][batch.items.owner()]
        late = ends - torch.arange(len(ends), device=ends.device) <= self.config.truncate_to
        return int(((batch.target > 0) & late).sum())


def normed(x: Tensor) -> Tensor:
    """LN over the last dimension, without a weight or a bias."""
    return functional.layer_norm(x, x.shape[-1:], eps=_EPS)


def _table(size: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(size).normal_(std=0.02))


# --------------------------------------------------------------------------------------------------
# SASRec, the Transformer of sequential recommendation: what HSTU is compared with.
#
# Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. A block:
#
#     x <- x + Dropout(W_o softmax(Q K^T / sqrt(Dh)) V),   Q, K, V = W_q LN(x), W_k LN(x), W_v LN(x)
#     x <- x + Dropout(W_2 Dropout(ReLU(W_1 LN(x))))
#
# causal, and a last LN after the blocks. Input, head and loss are those of `sequence_model`, with
# a softmax over items instead of the paper's one negative and binary loss (SASRec* of Zhai et
# al., ICML 2024, who took FFN width D). The paper normalises the queries alone; here, as usual
# since, keys and values are normalised too.
#
# Sequences stay ragged; attention pads them in groups of about equal length. There is no time:
# what a person does next is predicted from what was done before alone.


@settings
class SASRecConfig(SequenceConfig):
    """hidden: width of the FFN, 0 for that of the model. attention_dropout: of the softmax's
    weights, None for `dropout`; on a CPU `dropped_attention` computes it, as torch's flash kernel
    knows none there.
    """

    kind: ClassVar[str] = "sasrec"
    title: ClassVar[str] = "SASRec"

    hidden: Natural = 0
    attention_dropout: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ConfigError(
                "width must be a multiple of heads", where=f"{self.width}, {self.heads}"
            )
        if not 0 <= (self.attention_dropout or 0.0) < 1:
            raise ConfigError(
                "attention_dropout is from 0 to below 1", where=str(self.attention_dropout)
            )


def causal_attention(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, *, dropout: float = 0.0
) -> Tensor:
    """softmax(q k^T / sqrt(D)) v of sequences that lie end to end, each token seeing itself
    and what is before it: q, k, v [T, H, D] and offsets int64 [U + 1] to [T, H, D].

    dropout: of the softmax's weights.
    """
    if not len(q):
        return v

    def attend(operands: list[Tensor], *_: Tensor) -> Tensor:
        # Places beyond the end come after every real token, so none of these sees them.
        queries, keys, values = operands
        if dropout and q.device.type == "cpu":
            return dropped_attention(queries, keys, values, dropout)
        return functional.scaled_dot_product_attention(
            queries, keys, values, dropout_p=dropout, is_causal=True
        )

    return by_group([q, k, v], offsets[:-1], offsets.diff(), attend)


class SASRecBlock(nn.Module):
    """Attention and FFN, each normed before and added after."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden or config.width
        self.heads, self.dropout = config.heads, config.dropout
        weights = config.attention_dropout
        self.attention_dropout = config.dropout if weights is None else weights
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:
        """x [T, D] of sequences at `offsets` to [T, D]."""
        rate, training = self.dropout, self.training
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).unbind(1)
        weights = self.attention_dropout if training else 0.0
        seen = causal_attention(q, k, v, offsets, dropout=weights).flatten(1)
        x = x + dropout(self.out(seen), rate, training)
        hidden = dropout(functional.relu(self.wide(self.norms[1](x))), rate, training)
        return x + dropout(self.narrow(hidden), rate, training)


class SASRec(SequenceModel):
    """A retriever of the next item."""

    config: SASRecConfig

    def __init__(
        self,
        config: SASRecConfig,
        items: int,
        *,
        count: NDArray[np.int64] | None = None,
        context_sizes: tuple[int, ...] = (),
    ) -> None:
        super().__init__(config, items, count=count, context_sizes=context_sizes)
        self.blocks = nn.ModuleList(SASRecBlock(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)

    def encode(self, batch: SequenceBatch) -> Encoded:
        """Unit vectors [E, D] of all events."""
        tokens = self.input(batch, None)
        x = tokens.x
        for block in self.blocks:
            x = block(x, tokens.offsets)
        return self.spoken(replace(tokens, x=self.norm(x)))
