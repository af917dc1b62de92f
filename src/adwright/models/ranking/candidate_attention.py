"""HSTU's attention of candidates over a history that many of them share.

A row (a candidate, with the moment at which it was shown) sees a stretch of its user's history
and itself. Rows whose stretches begin at the same event share a **reading**: one causal pass over
the events from there on, in which no event sees a later one. So a row whose stretch ends at `end`
may take K and V of the reading's events before `end`, and they are what they would be had the
reading stopped there: M-FALCON (Zhai et al., ICML 2024, arXiv 2402.17152, appendix H) with a
visible end a row.

    o_c = [ sum_j<end SiLU(alpha q_c . k_j + rab[end - j]) v_j
            + SiLU(alpha q_c . k_c + rab[0]) v_c ] / N

Rows never see each other, and no event sees a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.data.batches.batch import Batch
from adwright.data.ranges import ranges, run_starts
from adwright.data.sequences.stochastic_length import StochasticLength, shorten

#: Scores of a tile of rows, all heads: small enough for the cache.
TILE = 1 << 18


class Readings(NamedTuple):
    """R readings of a batch, with their rows.

    items: int64 [E], codes of the events read, reading after reading, oldest first.
    offsets: int64 [R + 1], events of each. rows: int64 [R + 1], its rows: those of a batch in
    their order. end: int64 [T], how many of its reading's events each row sees; rises in a reading.
    """

    items: Tensor
    offsets: Tensor
    rows: Tensor
    end: Tensor

    def parts(self, most: int) -> Iterator[Readings]:
        """Split into parts of at most `most` events, or of one reading."""
        starts, rows = self.offsets.tolist(), self.rows.tolist()
        first, number = 0, len(rows) - 1
        while first < number:
            last = first + 1
            while last < number and starts[last + 1] - starts[first] <= most:
                last += 1
            yield Readings(
                self.items[starts[first] : starts[last]],
                self.offsets[first : last + 1] - starts[first],
                self.rows[first : last + 1] - rows[first],
                self.end[rows[first] : rows[last]],
            )
            first = last

    def shortened(
        self, longest: int, config: StochasticLength, rng: np.random.Generator
    ) -> Readings:
        """Drop events by stochastic length; a row sees those of its own that stay.
        longest: N."""
        lengths = (self.offsets[1:] - self.offsets[:-1]).numpy()
        places, offsets = shorten(lengths, longest, config, rng)
        kept = np.zeros(len(self.items) + 1, np.int64)
        kept[places + 1] = 1
        before = torch.from_numpy(np.cumsum(kept))  # Kept events before each place.
        start = self.offsets[:-1].repeat_interleave(self.rows[1:] - self.rows[:-1])
        return Readings(
            self.items[torch.from_numpy(places)],
            torch.from_numpy(offsets),
            self.rows,
            before[start + self.end] - before[start],
        )


def readings_of(batch: Batch, longest: int) -> Readings:
    """Build the readings of a batch; a row sees its latest `longest` events at most.

    Where a history is longer, or begins late, each visit begins at an event of its own, and so
    has a reading of its own.
    """
    end = batch.end.numpy()
    begin = np.maximum(batch.begin.numpy(), end - longest)
    group = np.repeat(np.arange(len(batch.offsets) - 1), batch.group_sizes.numpy())
    rows = run_starts(group, begin)
    first, last = rows[:-1], rows[1:] - 1
    start = batch.history.offsets.numpy()[group[first]] + begin[first]
    events, offsets = ranges(start, end[last] - begin[first])
    return Readings(
        batch.history.values[torch.from_numpy(events)],
        torch.from_numpy(offsets),
        torch.from_numpy(rows),
        torch.from_numpy(end - begin),
    )


def candidate_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    own_k: Tensor,
    own_v: Tensor,
    readings: Readings,
    *,
    scale: float,
    alpha: float = 1.0,
    position_bias: Tensor | None = None,
) -> Tensor:
    """Attention [T, H, Dv] of the rows to their events and to themselves, see the module.

    q, own_k: [T, H, Dqk], own_v: [T, H, Dv] of the rows. k: [E, H, Dqk], v: [E, H, Dv] of the
    events. scale: 1 / N. position_bias: [N'] by distance, the last for all longer ones; a row
    stands right after the last event that it sees. Summed in float32 at least. Beside its
    operands it keeps nothing for the backward pass.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    with torch.autocast(q.device.type, enabled=False):
        q, k, v, own_k, own_v = (x.to(wide) for x in (q, k, v, own_k, own_v))
        table = q.new_zeros(1) if position_bias is None else position_bias.to(wide)
        past: Tensor = _Past.apply(q, k, v, table, readings, alpha)  # type: ignore[no-untyped-call]
        own = functional.silu(alpha * (q * own_k).sum(-1) + table[0])
        return (past + own[..., None] * own_v) * scale


class _Past(torch.autograd.Function):
    """sum_j SiLU(alpha q . k_j + rab[end - j]) v_j [T, H, Dv]; tiles are computed anew in the
    backward pass."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, table: Tensor, readings: Readings, alpha: float
    ) -> Tensor:
        ctx.save_for_backward(q, k, v, table)
        ctx.rest = readings, alpha
        q, k, v = (x.transpose(0, 1).contiguous() for x in (q, k, v))  # [H, T or E, D]
        out = torch.zeros(*q.shape[:2], v.shape[2], dtype=q.dtype)
        flipped = _flipped(table, readings)
        for rows, events, end in _tiles(readings, len(q)):
            scores = _scores(q[:, rows], k[:, events], flipped, end, alpha)
            weights = functional.silu(scores, inplace=True)
            _hide(weights, end)
            torch.bmm(weights, v[:, events], out=out[:, rows])
        return out.transpose(0, 1).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        (*operands, table), (readings, alpha) = ctx.saved_tensors, ctx.rest
        q, k, v, above = (x.transpose(0, 1).contiguous() for x in (*operands, above))
        d_q, d_k, d_v = (torch.zeros_like(x) for x in (q, k, v))
        flipped = _flipped(table, readings)
        d_flipped = torch.zeros_like(flipped)
        for rows, events, end in _tiles(readings, len(q)):
            scores = _scores(q[:, rows], k[:, events], flipped, end, alpha)
            gate = torch.sigmoid(scores)
            weights = scores * gate
            # SiLU' = gate + weight (1 - gate)
            slope = gate.addcmul_(weights, 1 - gate)
            _hide(weights, end)
            d_v[:, events].baddbmm_(weights.transpose(1, 2), above[:, rows])
            d_scores = torch.bmm(above[:, rows], v[:, events].transpose(1, 2)).mul_(slope)
            _hide(d_scores, end)
            torch.bmm(d_scores, k[:, events], out=d_q[:, rows])
            d_k[:, events].baddbmm_(d_scores.transpose(1, 2), q[:, rows])
            _add_by_distance(d_flipped, d_scores.sum(0), end)
        d_table = torch.zeros_like(table).index_add_(0, _distances(table, readings), d_flipped)
        products = (d_q.mul_(alpha), d_k.mul_(alpha), d_v)
        return (*(x.transpose(0, 1) for x in products), d_table, None, None)


def _tiles(readings: Readings, heads: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """(rows, events, end of each row) of each tile; a row that sees nothing is in none."""
    starts, rows = readings.offsets.tolist(), readings.rows.tolist()
    ends = readings.end.tolist()
    for reading in range(len(rows) - 1):
        first, last = rows[reading], rows[reading + 1]
        while first < last:
            # The rows of a tile see about as much: events after the last row's end are left out.
            step = max(1, TILE // max(1, heads * ends[first]))
            after = min(first + step, last)
            if seen := ends[after - 1]:
                start = starts[reading]
                yield slice(first, after), slice(start, start + seen), readings.end[first:after]
            first = after


def _distances(table: Tensor, readings: Readings) -> Tensor:
    """int64: entries of the table for distances from the longest down to minus that."""
    longest = int(readings.end.max()) if len(readings.end) else 0
    return torch.arange(longest, -longest - 1, -1).clamp(0, len(table) - 1)


def _flipped(table: Tensor, readings: Readings) -> Tensor:
    """The table by falling distance: what a row needs is a stretch of it."""
    return table[_distances(table, readings)]


def _scores(q: Tensor, k: Tensor, flipped: Tensor, end: Tensor, alpha: float) -> Tensor:
    """alpha q . k + rab [H, T', L]."""
    middle = len(flipped) // 2
    bias = flipped.unfold(0, k.shape[1], 1)[middle - end]  # Of j: entry middle - (end - j).
    return torch.baddbmm(bias[None], q, k.transpose(1, 2), alpha=alpha)


def _hide(x: Tensor, end: Tensor) -> None:
    """Zero in x [H, T', L] what lies at or after the end of its row."""
    least, length = int(end[0]), x.shape[2]
    if least < length:
        place = torch.arange(least, length)
        x[:, :, least:].mul_(place < end[:, None])


def _add_by_distance(d_flipped: Tensor, d_bias: Tensor, end: Tensor) -> None:
    """Add the gradients [T', L] of the biases of rows that end at `end` [T']."""
    middle, length = len(d_flipped) // 2, d_bias.shape[1]
    visits, counts = torch.unique_consecutive(end, return_counts=True)
    first = 0
    for visit, count in zip(visits.tolist(), counts.tolist(), strict=True):
        mine = d_bias[first : first + count].sum(0)
        d_flipped[middle - visit : middle - visit + length] += mine
        first += count
