"""Repeat-consumption score for items in the user's history.

Let item i stand in a user's history at moment p, n_pi times and last d_pi seconds ago (or places,
where there are no times). To the score s_pi that a sequence model gives every item, these few add a
second one

    rho_pi = (T[bucket(n_pi), bucket(d_pi)] + w . u_p + (A u_p) . v_i) / tau + gamma b_i

and the item scores log(e^s_pi + e^rho_pi). T is a learned table; w . u_p says whether this is a
trip for the usual or for something new; A u_p which of the usual; b_i is the model's popularity
term of the item, if it has one. T, w, A and gamma start at 0. With that form the softmax's sum over
the catalogue is exactly one over all items plus one over those of the history ("own" items):

    sum_all j e^score_pj  =  sum_all j e^s_pj  +  sum_own j e^rho_pj

so the first may be estimated by draws (`losses`) and the second is exact. Ours, in the line of
copy mechanisms: RepeatNet (Ren et al., AAAI 2019) chooses between repeating and exploring by two
decoders. A term added to s_pi was tried first: popularity in s then spoils the order of the own
items.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from adwright.data.ranges import run_starts
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import TIME_BUCKETS, time_bucket
from adwright.models.sequential.losses import OwnItemTerms

__all__ = [
    "COUNT_BUCKETS",
    "LastOwn",
    "Own",
    "Repeats",
    "last_own_items",
    "own_cells",
    "own_items",
]

#: Buckets of the count n: floor(2 log2 n), so 1, 2, 3, 4 to 5, 6 to 7, 8 to 11, ...
COUNT_BUCKETS = 16
#: A history of so many events weighs, at the start, as much as the whole catalogue.
_EVEN = 256
#: Positions of one sequence that are computed together.
CHUNK = 512


class Own(NamedTuple):
    """The items in one user's history at R positions.

    codes: int64 [M], distinct. cell: int64 [R, M], place in the flattened table of the term;
    -1 where the item was not taken until then.
    """

    codes: Tensor
    cell: Tensor


class LastOwn(NamedTuple):
    """The items in the histories of all users of a batch, at the last event of each.

    row: int64 [M], the user, rising. codes: int64 [M], rising within a user. cell: int64 [M], place
    in the flattened table of the term.
    """

    row: Tensor
    codes: Tensor
    cell: Tensor


class Repeats(nn.Module):
    """The score rho of a user's own items. width: D. temperature: tau."""

    def __init__(self, width: int, temperature: float) -> None:
        super().__init__()
        self.width, self.temperature = width, temperature
        often = torch.arange(COUNT_BUCKETS) * math.log(2) / 2 - math.log(_EVEN)
        table = (temperature * often)[:, None].expand(-1, TIME_BUCKETS)
        self.table = nn.Parameter(table.reshape(-1).clone())
        self.moment = nn.Parameter(torch.zeros(width))
        self.usual = nn.Parameter(torch.zeros(width, width))
        self.popularity = nn.Parameter(torch.zeros(()))

    def personal(
        self,
        batch: SequenceBatch,
        vectors: Tensor,
        queries: Tensor,
        event: Tensor,
        items: Callable[[Tensor], Tensor],
    ) -> OwnItemTerms:
        """What own items add to the loss at P positions.

        vectors: unit vectors [P, D] at the events int64 [P], rising, of the batch. queries: the
        same as what `items` of int64 [M] are multiplied with, so that the product is s.
        """
        bounds = torch.searchsorted(event, batch.items.offsets).tolist()
        bonus, others = [], []
        for person, (start, end) in enumerate(pairwise(bounds)):
            for low in range(start, end, CHUNK):
                rows = slice(low, min(low + CHUNK, end))
                own = own_items(batch, person, event[rows])
                found = checkpoint(
                    self._part,
                    vectors[rows],
                    queries[rows],
                    items(own.codes),
                    own,
                    batch.target[event[rows]],
                    use_reentrant=False,
                )
                bonus.append(found[0])
                others.append(found[1])
        empty = vectors.new_zeros(0, dtype=self.table.dtype)
        return OwnItemTerms(torch.cat([empty, *bonus]), torch.cat([empty, *others]))

    def terms(self, vectors: Tensor, queries: Tensor, items: Tensor, own: Own) -> Tensor:
        """What is added to s [R, M]: log(e^s + e^rho) - s, and 0 for what was not taken.

        vectors: unit vectors [R, D]; queries: [R, D] or [R, D + 1], and items of `own` the same
        [M, ...], whose product is s.
        """
        rho = self._rho(vectors, items, own.cell)
        return functional.softplus(rho - queries @ items.T).masked_fill(own.cell < 0, 0)

    def last_terms(self, vectors: Tensor, queries: Tensor, items: Tensor, own: LastOwn) -> Tensor:
        """As `terms`, [M], of the pairs of a batch: vectors [U, D] and queries of its users, items
        [M, ...] of `own`."""
        pointed = (vectors @ self.usual.T)[own.row]
        rho = self.table[own.cell] + (vectors * self.moment).sum(1)[own.row]
        rho = (rho + (pointed * items[:, : self.width]).sum(1)) / self.temperature
        rho = rho + self.popularity * items[:, self.width :].sum(1)
        return functional.softplus(rho - (queries[own.row] * items).sum(1))

    def _rho(self, vectors: Tensor, items: Tensor, cell: Tensor) -> Tensor:
        table = self.table.index_select(0, cell.clamp(min=0).flatten()).view(cell.shape)
        moment = (vectors * self.moment).sum(1)
        usual = (vectors @ self.usual.T) @ items[:, : self.width].T
        rho = (table + moment[:, None] + usual) / self.temperature
        # The number of how popular an item is, if there is one, stands behind its vector.
        return rho + self.popularity * items[:, self.width :].sum(1)

    def _part(
        self, vectors: Tensor, queries: Tensor, items: Tensor, own: Own, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(bonus [R], others [R]) of R positions of one person."""
        rho = self._rho(vectors, items, own.cell)
        hit, taken = own.codes == target[:, None], own.cell >= 0
        others = torch.logsumexp(rho.masked_fill(~taken | hit, -torch.inf), 1)
        row, place = (hit & taken).nonzero(as_tuple=True)
        known = (queries[row] * items[place]).sum(1)
        gain = functional.softplus(rho[row, place] - known).to(rho.dtype)
        return torch.zeros_like(others).index_add(0, row, gain), others


def own_items(batch: SequenceBatch, person: int, event: Tensor) -> Own:
    """Find the own items of a user of the batch at `event` (int64 [R], rising, of that person)."""
    first = int(batch.items.offsets[person])
    last = int(event[-1]) + 1 if len(event) else first
    part = slice(first, last)
    codes, place = np.unique(batch.items.values[part].numpy(), return_inverse=True)
    asked = event.numpy() - first
    now = then = None
    if batch.time is not None and batch.next_time is not None:
        then, now = batch.time[part].numpy(), batch.next_time[event].numpy()
    cell = own_cells(place, len(codes), asked, then=then, now=now)
    return Own(torch.from_numpy(codes), torch.from_numpy(cell))


def last_own_items(batch: SequenceBatch) -> LastOwn:
    """Find the own items of all users of a batch at the last event of each; one sort of the
    events, whoever they are of."""
    code, owner = batch.items.values.numpy(), batch.items.owner().numpy()
    width = int(code.max(initial=0)) + 1
    order = np.argsort(owner * width + code, kind="stable")
    bounds = run_starts(owner[order], code[order])
    # The sort is stable: of several events of an item the latest stands last.
    latest = order[bounds[1:] - 1]
    row, number = owner[latest], np.diff(bounds)
    ends = batch.items.offsets[1:].numpy()
    if batch.time is None or batch.next_time is None:
        since = ends[row] - latest
    else:
        since = batch.next_time.numpy()[ends[row] - 1] - batch.time.numpy()[latest]
    cell = _often(number) * TIME_BUCKETS + _bucket(since)
    return LastOwn(*(torch.from_numpy(column) for column in (row, code[latest], cell)))


def own_cells(
    place: NDArray[np.int64],
    items: int,
    asked: NDArray[np.int64],
    *,
    then: NDArray[np.int64] | None = None,
    now: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Cells of T, int64 [R, M], of M items after the events `asked` (int64 [R], rising).

    place: int64 [L], which of the M items each event is. then: int64 [L] seconds of the events;
    now: int64 [R], of the moments that are asked about. Without, places are counted.
    """
    rows = np.searchsorted(asked, np.arange(len(place)))
    kept = rows < len(asked)
    number = np.zeros((len(asked), items), np.int32)
    np.add.at(number, (rows[kept], place[kept]), 1)
    np.cumsum(number, 0, out=number)
    latest = np.full((len(asked), items), -1, np.int32)
    # Of several events of an item between two rows the last one stays.
    latest[rows[kept], place[kept]] = np.flatnonzero(kept)
    np.maximum.accumulate(latest, 0, out=latest)
    if then is None or now is None:
        since = asked[:, None] + 1 - latest
    else:
        since = now[:, None] - then[np.maximum(latest, 0)]
    cell = _often(number) * TIME_BUCKETS + _bucket(since)
    return np.where(latest >= 0, cell, -1)


def _often(number: NDArray[np.integer]) -> NDArray[np.int64]:
    buckets: NDArray[np.int64] = _OFTEN[np.minimum(number, len(_OFTEN) - 1)]
    return np.minimum(buckets, COUNT_BUCKETS - 1)


def _bucket(since: NDArray[np.int64]) -> NDArray[np.int64]:
    return time_bucket(torch.from_numpy(since)).numpy()


#: Bucket of each count, up to where the last bucket begins.
_OFTEN = np.floor(2 * np.log2(np.maximum(np.arange(256), 1)) + 1e-9).astype(np.int64)
