"""HSTU attention in tiles that stay in the cache; no matrix of all pairs, forward or backward.

As the weights are pointwise, a tile of queries and keys needs nothing from other tiles: with
s = alpha q k' + bias and p = SiLU(s),

    o += p v          dv += p' do       dp = do v'      ds = dp SiLU'(s)
                      dq += ds k        dk += ds' q     dbias += ds

forward and backward walk over the same tiles, those that the mask does not empty, and compute s
again. Beside its inputs the operator keeps nothing for the backward pass. Both bias tables get
their gradient on the way, from a tile's sum over the heads.

The loops are compiled by numba, of the extra `fast`; see `adwright.models.kernels.fused_loops`.
float32 is computed as such. bfloat16 is multiplied as such where the processor can (AVX512_BF16),
about twice as fast, and summed in float32; elsewhere it is widened first.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.data.batches.jagged import lengths_to_offsets
from adwright.models.kernels.attention_spec import TIME_BUCKETS, Bounds, Terms, time_cells

if TYPE_CHECKING:
    from adwright.models.kernels.fused_loops import Biases
    from adwright.models.kernels.packing import Numbers


#: Sequences of up to so many tokens take tiles of LEAST rows, longer ones of MOST.
SHORT = 512
#: Sequences of so many tokens are computed by all threads together.
SHARED = 1024


def fused_for(x: Tensor) -> bool:
    """Whether there is a fused kernel for x here: its type, its device, and numba installed."""
    known = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
    return known and find_spec("numba") is not None


def fused(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, terms: Terms) -> Tensor:
    """Arguments and result as of `silu_attention`, whose checks have been made.

    Raises MissingExtraError without numba, ConfigError for another device or for float64.
    """
    if find_spec("numba") is None:
        raise MissingExtraError("the fused HSTU attention", "fast")
    if not fused_for(q):
        raise ConfigError(
            f"the fused kernel computes no {q.dtype} on {q.device.type}",
            where="kernel",
            hint='kernel="auto" takes one that does',
        )
    return _attended(q, k, v, offsets, terms, None)


def remembered(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, terms: Terms, out: Tensor
) -> Tensor:
    """`fused` with a known result `out`: only gradients are computed, later."""
    return _attended(q, k, v, offsets, terms, out)


def _attended(
    q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, terms: Terms, known: Tensor | None
) -> Tensor:
    out: Tensor = _FusedAttention.apply(  # type: ignore[no-untyped-call]
        q, k, v, terms.position_bias, terms.time_bias, offsets, terms, known
    )
    return out


class _Work:
    """One call: the batch as the loops read it, and which thread computes which blocks."""

    def __init__(self, offsets: Tensor, terms: Terms, q: Tensor, v: Tensor) -> None:
        from adwright.core.vector_code import LANES, has_pairs
        from adwright.models.kernels.fused_loops import LEAST, MOST, AttentionBatch

        pairs = q.dtype == torch.bfloat16 and has_pairs()
        self.dtype = torch.bfloat16 if pairs else torch.float32
        bounds = Bounds.of(offsets, terms.spec)
        rounded = (bounds.length + LANES - 1) // LANES * LANES
        # Half of a tile on the diagonal is in vain: smaller ones for short sequences.
        step = torch.where(rounded > SHORT, MOST, LEAST)
        self.longest = int(rounded.max()) if len(rounded) else 0
        self.batch = AttentionBatch(
            sequences=torch.stack([*bounds[:2], rounded, step, *bounds[2:]], 1).numpy(),
            longest=self.longest,
            heads=q.shape[1],
            q_size=q.shape[2],
            v_size=v.shape[2],
            window=terms.spec.window,
            alpha=np.float32(terms.alpha),
            scale=np.float32(terms.scale),
            pairs=pairs,
        )
        threads = torch.get_num_threads()
        blocks = (rounded + step - 1) // step
        sequence = torch.repeat_interleave(torch.arange(len(blocks)), blocks)
        number = torch.arange(len(sequence)) - lengths_to_offsets(blocks)[sequence]
        # Whole sequences are dealt in turn. A long one is packed by every thread, and its
        # blocks are dealt: late rows cost most, early columns do.
        shared = rounded[sequence] >= SHARED
        thread = torch.where(shared, number, sequence) % threads
        items = torch.stack([sequence, number * step[sequence]], 1)
        self.items = [items[thread == t].numpy() for t in range(threads) if (thread == t).any()]
        self.splits = len(self.items) > 1 and bool(shared.any())

    def numbers(self, x: Tensor) -> Numbers:
        """[E, H, D] as the loops read it: no copy where the type is already theirs."""
        from adwright.models.kernels.packing import Numbers

        x = x.detach().to(self.dtype).contiguous()
        if self.batch.pairs:
            return Numbers(np.empty((0, 1, 1), np.float32), x.view(torch.int16).numpy())
        return Numbers(x.numpy(), np.empty((0, 1, 1), np.int16))

    def biases(self, position: Tensor | None, time: Tensor | None, terms: Terms) -> Biases:
        """Tables by distance and by bucket, and the times of the tokens."""
        from adwright.models.kernels.fused_loops import Biases

        by_distance, by_bucket = torch.zeros(0), torch.zeros(0)
        now = then = torch.zeros(0, dtype=torch.int64)
        if position is not None:
            by_distance = position.detach().float()[self.distances(len(position))]
        if time is not None and terms.time is not None and terms.query_time is not None:
            by_bucket = time.detach().float()
            now, then = terms.query_time, terms.time
        arrays = [
            x.contiguous().numpy() for x in (by_distance, by_bucket, *time_cells(), now, then)
        ]
        return Biases(*arrays)

    def distances(self, entries: int) -> Tensor:
        """int64 [2 Z + 1]: which entry of the table distances Z down to -Z take."""
        return torch.arange(self.longest, -self.longest - 1, -1).clamp(0, entries - 1)

    def run(self, loop: Callable[..., None], arguments: list[tuple[Any, ...]]) -> None:
        """loop(*arguments[t], items of t), a thread each: the loops release the lock."""
        calls = [(*mine, items) for mine, items in zip(arguments, self.items, strict=True)]
        if len(calls) == 1:
            loop(*calls[0])
        elif calls:
            with ThreadPoolExecutor(len(calls)) as pool:
                for done in [pool.submit(loop, *call) for call in calls]:
                    done.result()


class _FusedAttention(torch.autograd.Function):
    """[E, H, Dv]; see the module's docstring for the formulas. known: the result, where it is
    known: then only gradients are computed."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        position_bias: Tensor | None,
        time_bias: Tensor | None,
        offsets: Tensor,
        terms: Terms,
        known: Tensor | None,
    ) -> Tensor:
        from adwright.models.kernels.fused_loops import forward

        ctx.save_for_backward(q, k, v, position_bias, time_bias)
        ctx.rest = offsets, terms
        if known is not None:
            return known.detach()
        work = _Work(offsets, terms, q, v)
        biases = work.biases(position_bias, time_bias, terms)
        out = torch.empty(v.shape, dtype=work.dtype)
        call = (work.batch, biases, *(work.numbers(x) for x in (q, k, v, out)))
        work.run(forward, [call] * len(work.items))
        return out.to(v.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        from adwright.models.kernels.fused_loops import backward

        (q, k, v, position_bias, time_bias), (offsets, terms) = ctx.saved_tensors, ctx.rest
        work = _Work(offsets, terms, q, v)
        biases = work.biases(position_bias, time_bias, terms)
        operands = [work.numbers(x) for x in (q, k, v, above)]
        d_q, d_k, d_v = (torch.empty(x.shape, dtype=work.dtype) for x in (q, k, v))
        calls, parts, tables = [], [], []
        for _ in work.items:
            parts.append(torch.zeros_like(d_q) if work.splits else d_q)
            buckets = (4 if time_bias is not None else 0, TIME_BUCKETS)
            tables.append((np.zeros(len(biases.by_distance)), np.zeros(buckets)))
            results = (work.numbers(x) for x in (parts[-1], d_k, d_v))
            calls.append((work.batch, biases, *operands, *results, *tables[-1]))
        work.run(backward, calls)
        if work.splits:
            d_q = torch.stack(parts).sum(0)
        d_position, d_time = None, None
        if position_bias is not None:
            d_position = torch.zeros(len(position_bias), dtype=torch.float64)
            at = work.distances(len(position_bias))
            for by_distance, _ in tables:
                d_position.index_add_(0, at, torch.from_numpy(by_distance), alpha=terms.scale)
            d_position = d_position.to(position_bias.dtype)
        if time_bias is not None:
            by_bucket = np.zeros(TIME_BUCKETS) + sum(one.sum(0) for _, one in tables)
            d_time = torch.from_numpy(by_bucket * terms.scale).to(time_bias.dtype)
        products = (x.to(q.dtype) for x in (d_q, d_k, d_v))
        return (*products, d_position, d_time, None, None, None)
