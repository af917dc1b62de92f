"""What a token of an HSTU sequence may see, and which bias each pair of tokens has.

The one place where mask, distance and time bucket are written down. Each kernel of
`adwright.models.kernels.silu_attention` computes them in its own way and is tested against this
one.

Dropout on a CPU for a third of torch's time, and what it keeps for the backward pass.

torch draws a float for every value, one by one, and keeps it. Here a draw of 64 bits serves four
values, and a byte is kept for each: forward and backward of a million float32 values take 3.4
CPU-milliseconds and torch's 12, and a training step of an HSTU (4 layers, width 128, a catalogue
of 3,706) 9% less in all, a SASRec's 7%. The price: rates are rounded to a multiple of 2^-16, and
what stays is scaled by what the rate was rounded to. Off the CPU it is torch's own.

Draws come from torch's default generator, or one that is handed in: equal seeds, equal results.
Differentiable once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.errors import ConfigError, ValueInvalidError

_STEPS = 2**16


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """x with each value 0 with probability `rate`, in [0, 1), and divided by what is kept of them
    otherwise; x itself where nothing is trained."""
    if not training or not rate:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, rate)
    found: Tensor = _Dropout.apply(x, rate)  # type: ignore[no-untyped-call]
    return found


def share_kept(rate: float) -> float:
    """The probability that a value stays: 1 - rate, rounded to a multiple of 2^-16 above 0."""
    return 1 - _dropped(rate) / _STEPS


def draw_kept(
    shape: Sequence[int], rate: float, *, like: Tensor, generator: Generator | None = None
) -> Tensor:
    """Which values stay: bool, of `shape` and on the device of `like`."""
    if like.device.type != "cpu":
        blank = torch.empty(*shape, dtype=torch.bool, device=like.device)
        return blank.bernoulli_(share_kept(rate), generator=generator)
    number = torch.Size(shape).numel()
    words = torch.empty(-(-number // 4), dtype=torch.int64, device=like.device)
    words.random_(-(2**63), None, generator=generator)
    # Of 16 random bits, from -2^15 on, the lowest are dropped.
    least = _dropped(rate) - _STEPS // 2
    return (words.view(torch.int16)[:number] >= least).view(*shape)


def scaled(x: Tensor, kept: Tensor, rate: float) -> Tensor:
    """x where it is kept, over the share that is, and 0 elsewhere; of x's type."""
    return kept.to(x.dtype).mul_(1 / share_kept(rate)).mul_(x)


def _dropped(rate: float) -> int:
    """Of 2^16 equal chances, how many drop a value."""
    return min(round(rate * _STEPS), _STEPS - 1)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        kept = draw_kept(x.shape, rate, like=x)
        ctx.save_for_backward(kept)
        ctx.rate = rate
        return scaled(x, kept, rate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return scaled(above, kept, ctx.rate), None


#: Buckets of the time bias, and the width of one in natural logarithms of seconds.
TIME_BUCKETS = 129
BUCKET_WIDTH = 0.301


@dataclass(frozen=True, eq=False)
class AttentionSpec:
    """The mask of a batch of U sequences. Without arguments: causal, each token also itself.

    contexts: int64 [U] or None, that many first tokens of each sequence describe the person
        (age, place): they see each other, also forward, nothing else, and everybody sees them.
    targets: int64 [U] or None, that many last tokens are candidates: each sees contexts,
        history and itself; nobody else sees it. All of them stand at one place, right after
        the history, so a candidate's result depends on no other candidate.
    window: 0 for everything before; else only distances below it are seen (semi-local
        attention of ULTRA-HSTU, arXiv 2602.16986).
    prefix: with a window, that many first tokens are seen from everywhere after them.

    Raises ConfigError where window or prefix is negative, or there is a prefix and no window.
    """

    contexts: Tensor | None = None
    targets: Tensor | None = None
    window: int = 0
    prefix: int = 0

    def __post_init__(self) -> None:
        if self.window < 0 or self.prefix < 0:
            raise ConfigError(
                f"window {self.window} and prefix {self.prefix} must not be negative",
                hint="0 is no window, and no prefix",
            )
        if self.prefix and not self.window:
            raise ConfigError(
                f"prefix {self.prefix} has no meaning without a window",
                where="prefix",
                hint="set window, or leave prefix at 0: then everything before is seen",
            )


#: The plain causal mask.
CAUSAL = AttentionSpec()


class Terms(NamedTuple):
    """All that the operator takes beside q, k, v and offsets; see `silu_attention`."""

    scale: float
    alpha: float = 1.0
    spec: AttentionSpec = CAUSAL
    position_bias: Tensor | None = None
    time_bias: Tensor | None = None
    time: Tensor | None = None
    query_time: Tensor | None = None


class Bounds(NamedTuple):
    """Of each sequence, int64 [U] on the processor: first token and length; contexts; where
    the candidates begin (its length where it has none); tokens that a window never hides."""

    start: Tensor
    length: Tensor
    contexts: Tensor
    history: Tensor
    always: Tensor

    @classmethod
    def of(cls, offsets: Tensor, spec: AttentionSpec) -> Bounds:
        """Read off offsets [U + 1] and the spec.

        Raises ValueInvalidError where contexts or targets do not fit the sequences.
        """
        offsets = offsets.cpu()
        length = offsets[1:] - offsets[:-1]
        counts = []
        for name, given in (("contexts", spec.contexts), ("targets", spec.targets)):
            count = torch.zeros_like(length) if given is None else given.cpu()
            if count.dtype != torch.int64 or count.shape != length.shape:
                raise ValueInvalidError(
                    "must be an int64 tensor with one number a sequence",
                    column=name,
                    value=f"{count.dtype} {list(count.shape)}, {len(length)} sequences",
                )
            counts.append(count)
        contexts, targets = counts
        wrong = (contexts < 0) | (targets < 0) | (contexts + targets > length)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0, 0])
            raise ValueInvalidError(
                "contexts and targets must be at least 0 and together fit in the sequence",
                row=row,
                value=f"{int(contexts[row])} + {int(targets[row])} of {int(length[row])} tokens",
            )
        return cls(
            offsets[:-1], length, contexts, length - targets, contexts.clamp(min=spec.prefix)
        )


def pairs(i: Tensor, j: Tensor, bounds: Bounds, window: int) -> tuple[Tensor, Tensor]:
    """(admitted bool, distance int64), both [..., I, J]: who sees whom in a sequence.

    i: int64 [I] places of queries, j: int64 [J] of keys. bounds: of sequences [...], of which
    contexts, history and always are read. A candidate's place is that of the first candidate.
    The distance is place of i less place of j, and 0 where a context token looks forward.
    Places may lie beyond the sequence: nothing in it sees them.
    """
    contexts, history, always = (x[..., None, None] for x in bounds[2:])
    i = i[:, None]
    distance = torch.minimum(i, history) - torch.minimum(j, history)
    seen = (j <= i) & ((j < history) | (i == j))
    if window:
        seen = seen & ((distance < window) | (j < always))
    return seen | ((i < contexts) & (j < contexts)), distance.clamp(min=0)


def time_bucket(elapsed: Tensor) -> Tensor:
    """Seconds int64 [...] to buckets int64 [...]: floor(ln(max(1, |s|)) / 0.301), at most 128."""
    bucket = torch.log(elapsed.abs().clamp(min=1).double()) / BUCKET_WIDTH
    return bucket.floor().long().clamp(max=TIME_BUCKETS - 1)


def bucket_starts() -> list[int]:
    """The least whole number of seconds in each bucket, or more, that of bucket 0 being 0.

    A bucket without any whole second (there are some below e) starts where the next one does.
    """
    return [0, *(math.ceil(math.exp(BUCKET_WIDTH * b)) for b in range(1, TIME_BUCKETS))]


def time_cells() -> tuple[Tensor, Tensor]:
    """What finds a bucket without a logarithm: starts int64 [130] of the buckets, the last one
    behind all, and int64 [512], the bucket of each cell.

    A cell is an eighth of a power of two, from 1 to 2^63: the numbers whose float32 agrees in
    the exponent and three bits. At most one bucket begins inside a cell.
    """
    bits = (torch.arange(512, dtype=torch.int32) << 20) + torch.ones(1).view(torch.int32)
    starts = torch.tensor([*bucket_starts(), (1 << 63) - 1])
    return starts, time_bucket(bits.view(torch.float32).long())


# --------------------------------------------------------------------------------------------------
# Causal softmax attention with dropout of its weights on a CPU.
#
# torch's flash kernel knows no dropout there; what it does instead draws a float for every pair,
# one
# by one, and keeps several matrices of pairs for the backward pass. Here short sequences keep the
# weights and a byte each for which are dropped, and long ones go through in tiles, without a matrix
# of all pairs. torch's CPU time over this one's, forward and backward in bfloat16, heads of 64: 2.5
# at 50 tokens, 3.2 at 100, 2.3 at 200, and of tiles 2.1 at 256 and 2.4 at 512.
#
# For a tile of queries and all keys before its end, with s = q k' / sqrt(D), P = softmax(s) and M
# the
# weights that are kept, 0 or 1 / (1 - p):
#
#     o = (P M) v         dv = (P M)' do      dP = (do v') M      ds = P (dP - sum_j do_j o_j)
#                         dq = ds k / sqrt(D) dk = ds' q / sqrt(D)
#
# In tiles the backward pass computes P again, as in FlashAttention (Dao et al., NeurIPS 2022,
# algorithm 4), and draws M again from the same seed: memory is O(L) a sequence. Draws and seeds
# come
# from torch's generator, so equal seeds give equal results. p is rounded as `dropout` rounds it.
#
# Products are of the operands' type. So is the softmax of short sequences, with sums in float32; in
# tiles it is of float32 or float64. Differentiable once.

#: Sequences of so many tokens go through in tiles.
LONG = 256
#: Queries of a tile, and cells of all its sequences together: four megabytes of float32.
ROWS = 128
CELLS = 1 << 20


def dropped_attention(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """softmax(q k' / sqrt(D)) v with dropout, each token seeing itself and what is before it.

    q, k: [G, H, L, D]; v: [G, H, L, Dv], G and L at least 1; returns [G, H, L, Dv]. dropout: in
    [0, 1), the probability that a weight is 0. Draws from torch's default generator.
    """
    out: Tensor
    if q.shape[2] < LONG:
        out = _Whole.apply(q, k, v, dropout)  # type: ignore[no-untyped-call]
    else:
        seed = int(torch.randint(1 << 62, ()))
        out = _Tiled.apply(q, k, v, dropout, seed)  # type: ignore[no-untyped-call]
    return out


class _Whole(torch.autograd.Function):
    """The module's formulas on matrices of all pairs."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
        queries, keys, values = (x.detach().flatten(0, 1) for x in (q, k, v))  # [N, L, D]
        length, scale = q.shape[2], q.shape[3] ** -0.5
        ahead = q.new_full((length, length), -torch.inf).triu_(1)
        weights = torch.softmax(torch.baddbmm(ahead, queries * scale, keys.transpose(1, 2)), -1)
        kept = draw_kept(weights.shape, dropout, like=weights)
        ctx.save_for_backward(queries, keys, values, weights, kept)
        ctx.used = dropout, scale
        return (scaled(weights, kept, dropout) @ values).view(v.shape)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, weights, kept = ctx.saved_tensors
        dropout, scale = ctx.used
        outer, above = above.shape[:2], above.flatten(0, 1)
        d_v = scaled(weights, kept, dropout).transpose(1, 2) @ above
        d_weights = scaled(above @ values.transpose(1, 2), kept, dropout)
        # P (dP - sum_j P dP), with the sum in float32 at least.
        slope = torch.ops.aten._softmax_backward_data(d_weights, weights, -1, weights.dtype)
        d_q, d_k = slope @ keys, slope.transpose(1, 2) @ queries
        found = (d_q.mul_(scale), d_k.mul_(scale), d_v)
        return (*(x.unflatten(0, outer) for x in found), None)


class _Tiles:
    """The tiles of one call, in the order in which their weights are drawn."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, dropout: float, seed: int) -> None:
        self.q, self.k, self.v = (x.detach().flatten(0, 1) for x in (q, k, v))  # [N, L, D]
        self.scale = q.shape[-1] ** -0.5
        self.dtype = torch.promote_types(q.dtype, torch.float32)
        self.rate, self.share = dropout, share_kept(dropout)
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[tuple[slice, slice, slice]]:
        """(sequences and heads, queries, keys) of each tile."""
        number, length = self.q.shape[:2]
        for first in range(0, length, ROWS):
            end = min(first + ROWS, length)
            step = max(1, CELLS // (end * (end - first)))
            for start in range(0, number, step):
                yield slice(start, min(start + step, number)), slice(first, end), slice(0, end)

    def weights(self, which: slice, rows: slice, seen: slice) -> Tensor:
        """P of a tile [n, r, c]."""
        scores = (self.q[which, rows] @ self.k[which, seen].transpose(1, 2)).to(self.dtype)
        scores = scores.mul_(self.scale)
        # Only the tile's last columns have places ahead of a query.
        ahead = torch.ones(rows.stop - rows.start, rows.stop - rows.start, dtype=torch.bool)
        scores[:, :, rows.start :].masked_fill_(ahead.triu_(1), -torch.inf)
        return torch.softmax(scores, -1)

    def lost(self, weights: Tensor) -> Tensor:
        """Which of the weights are dropped: bool, the next ones of the generator."""
        kept = draw_kept(weights.shape, self.rate, like=weights, generator=self.generator)
        return kept.logical_not_()


class _Tiled(torch.autograd.Function):
    """The module's formulas, a tile after the other."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, dropout: float, seed: int) -> Tensor:
        tiles = _Tiles(q, k, v, dropout, seed)
        out = torch.empty_like(tiles.v)
        for which, rows, seen in tiles:
            weights = tiles.weights(which, rows, seen)
            weights.masked_fill_(tiles.lost(weights), 0)
            out[which, rows] = (weights.to(v.dtype) @ tiles.v[which, seen]) / tiles.share
        ctx.save_for_backward(q, k, v, out)
        ctx.drawn = dropout, seed
        return out.view(v.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out = ctx.saved_tensors
        tiles = _Tiles(q, k, v, *ctx.drawn)
        above = above.flatten(0, 1)
        # Sums over tiles in float32; what a query gets comes from one tile alone.
        d_q = torch.empty_like(tiles.q)
        d_k, d_v = (torch.zeros(x.shape, dtype=tiles.dtype) for x in (tiles.k, tiles.v))
        met = (above.to(tiles.dtype) * out.to(tiles.dtype)).sum(-1, keepdim=True)  # [N, L, 1]
        for which, rows, seen in tiles:
            weights = tiles.weights(which, rows, seen)
            lost = tiles.lost(weights)
            mine = above[which, rows]
            slope = (mine @ tiles.v[which, seen].transpose(1, 2)).to(tiles.dtype)
            slope = slope.div_(tiles.share).masked_fill_(lost, 0).sub_(met[which, rows])
            slope = slope.mul_(weights).mul_(tiles.scale).to(q.dtype)
            d_q[which, rows] = slope @ tiles.k[which, seen]
            d_k[which, seen] += slope.transpose(1, 2) @ tiles.q[which, rows]
            kept = weights.masked_fill_(lost, 0).div_(tiles.share).to(v.dtype)
            d_v[which, seen] += kept.transpose(1, 2) @ mine
        pairs = ((d_q, q), (d_k, k), (d_v, v))
        return (*(found.view(x.shape).to(x.dtype) for found, x in pairs), None, None)
