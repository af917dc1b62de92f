"""Softmax over the catalogue for models that predict an item at every position.

With unit vectors q_p of P positions and v_i of N items, temperature tau and y the item that came
next, each loss is a sum over the positions of

    L_p = log( e^(q_p . v_y / tau) + sum over j in S_p, j != y, of w_j e^(q_p . v_j / tau) )
          - q_p . v_y / tau

    exact         S is the catalogue, w is 1
    shared        S is one set of C draws for all positions, w_j = 1 / (C p_j) with p_j the
                  probability of a draw: the sum is an unbiased estimate of the exact one
    per_position  S_p are K uniform draws of that position alone, w is 1: the sampled softmax of
                  the public code of Zhai et al. (ICML 2024, arXiv 2402.17152)

"j != y" masks accidental hits. Two terms may be added to the products q_p . v_j / tau: a number
of each item, how popular it is (`bias`), and one per pair of position and item that is not 0
for a few items alone, those that a person had before (`OwnItemTerms`).

Cost of a step on MovieLens 1M (14,000 positions, 3,706 items, D 50) in seconds of one core: exact
.4, or .25 with bfloat16 products; 128 negatives per position 6.2, since they gather [P, K, D], 350
MB; shared ones cost what a catalogue of C items would.

The exact and the shared sum go through the positions in chunks and keep no logits: since the
loss is a sum, its gradient with respect to queries and items is made beside it, chunk by chunk,
and is only scaled when it is asked for. Sums are in float32 at least, also under autocast.

Repeat-consumption score for items in the user's history.

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
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from adwright.core.config import Natural, settings
from adwright.core.errors import ConfigError
from adwright.data.ranges import run_starts
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import TIME_BUCKETS, time_bucket

LossKind = Literal["auto", "exact", "shared", "per_position"]
#: Catalogues of fewer items take the exact sum where the kind is "auto".
EXACT_BELOW = 50_000
_EPS = 1e-6


@settings
class LossConfig:
    """kind: see the module; "auto" is exact below 50,000 items, else shared.

    temperature: tau. negatives: K draws per position. shared: C draws for a batch; draw: each of
    these uniformly, or by training events to the power .75 (an item without any counts as one).
    chunk: positions whose logits stand in memory at once.
    positions: 0, or so many positions of a batch, drawn anew each time, stand for all. Where a
    catalogue is large and neighbours ask for about the same, the exact sum for few positions
    teaches more than draws for all: where scores are peaked, the logarithm of a drawn sum is too
    low, and items that are rarely drawn end up too high.
    """

    kind: LossKind = "auto"
    temperature: float = 0.05
    negatives: int = 128
    shared: int = 2048
    draw: Literal["uniform", "popular"] = "uniform"
    chunk: int = 128
    positions: Natural = 0

    def __post_init__(self) -> None:
        if self.temperature <= 0 or min(self.negatives, self.shared, self.chunk) < 1:
            raise ConfigError(
                "temperature is above 0; negatives, shared and chunk are at least 1",
                where=f"{self.temperature}, {self.negatives}, {self.shared}, {self.chunk}",
            )


class OwnItemTerms(NamedTuple):
    """What the scores of users' own items add to the losses of P positions.

    bonus: [P], to the product of the target. others: [P], log of what is added to the sum over
    all items because of the other items that have such a term; minus infinity for nothing.
    """

    bonus: Tensor
    others: Tensor


def unit(vectors: Tensor) -> Tensor:
    """Vectors [..., D] to length 1."""
    return functional.normalize(vectors, dim=-1, eps=_EPS)


def next_item_loss(
    queries: Tensor,
    target: Tensor,
    table: Tensor,
    config: LossConfig,
    *,
    count: Tensor,
    bias: Tensor | None = None,
    personal: OwnItemTerms | None = None,
) -> Tensor:
    """The loss [] summed over P positions.

    queries: unit vectors [P, D]. target: int64 [P], codes from 1 to N. table: item vectors
    [N + 1, D] of any length; row 0, the unknown item, is no candidate. count: float [N + 1],
    training events of each item, for draws by popularity. Draws use torch's generator.
    bias: [N + 1], added to the product of each item. personal: see there.
    """
    items = len(table) - 1
    scaled = queries / config.temperature
    kind = config.kind
    if kind == "auto":
        kind = "exact" if items < EXACT_BELOW else "shared"
    if bias is not None:
        scaled = torch.cat([scaled, torch.ones_like(scaled[:, :1])], 1)

    def vectors_of(codes: Tensor) -> Tensor:
        vectors = unit(functional.embedding(codes, table))
        return vectors if bias is None else torch.cat([vectors, bias[codes, None]], -1)

    rest: dict[str, Any]
    if kind == "exact":
        every = torch.arange(1, items + 1, device=target.device)
        vectors = vectors_of(every)
        positive = vectors.index_select(0, target - 1)
        rest = {"personal": personal, "chunk": config.chunk}
        return softmax_over(scaled, positive, vectors, target=target - 1, **rest)
    positive = vectors_of(target)
    if kind == "shared":
        codes, shift = draw_items(items, config, count)
        rest = {"codes": codes, "shift": shift, "personal": personal, "chunk": config.chunk}
        return softmax_over(scaled, positive, vectors_of(codes), target=target, **rest)
    codes = torch.randint(1, items + 1, (len(target), config.negatives), device=target.device)
    hit = codes == target[:, None]
    return per_position_softmax(scaled, positive, vectors_of(codes), hit=hit, personal=personal)


def softmax_over(
    queries: Tensor,
    positive: Tensor,
    candidates: Tensor,
    *,
    target: Tensor,
    codes: Tensor | None = None,
    shift: Tensor | None = None,
    personal: OwnItemTerms | None = None,
    chunk: int = 128,
) -> Tensor:
    """L summed over P positions whose candidates are the same, in chunks of positions: [].

    queries: [P, D], divided by the temperature. positive: [P, D]. candidates: [C, D].
    target: int64 [P]. codes: int64 [C], a candidate whose code is the target of a position is
    left out there; without codes, target is the place of the positive among the candidates.
    shift: [C], -log w; may be wider. Differentiable once, in queries, positive, candidates and
    what is personal.
    """
    bonus, others = (None, None) if personal is None else personal
    loss: Tensor = _SoftmaxOver.apply(  # type: ignore[no-untyped-call]
        queries, positive, candidates, bonus, others, target, codes, shift, chunk
    )
    return loss


def per_position_softmax(
    queries: Tensor,
    positive: Tensor,
    negatives: Tensor,
    *,
    hit: Tensor,
    personal: OwnItemTerms | None = None,
) -> Tensor:
    """L summed over P positions with K negatives each: queries [P, D], divided by the
    temperature; positive [P, D]; negatives [P, K, D]; hit bool [P, K], left out."""
    right = (queries * positive).sum(1)
    wrong = torch.einsum("pd,pkd->pk", queries, negatives).to(right.dtype)
    wrong = wrong.masked_fill(hit, -torch.inf)
    if personal is not None:
        right = right + personal.bonus
        wrong = torch.cat([wrong, personal.others[:, None].to(wrong.dtype)], 1)
    logits = torch.cat([right[:, None], wrong], 1)
    wide = torch.promote_types(logits.dtype, torch.float32)
    return (torch.logsumexp(logits.to(wide), 1) - right).sum()


class _SoftmaxOver(torch.autograd.Function):
    """`softmax_over`; forward leaves the gradients of the first five inputs behind."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        positive: Tensor,
        candidates: Tensor,
        bonus: Tensor | None,
        others: Tensor | None,
        target: Tensor,
        codes: Tensor | None,
        shift: Tensor | None,
        chunk: int,
    ) -> Tensor:
        wide = torch.promote_types(queries.dtype, torch.float32)
        total = queries.new_zeros((), dtype=wide)
        shift = None if shift is None else shift.to(wide)
        hit_row, hit_column = _hits(target, codes)
        rows_end = len(queries) + chunk
        bounds = torch.searchsorted(hit_row, torch.arange(0, rows_end, chunk, device=target.device))
        inputs = [x for x in (queries, positive, candidates, bonus, others) if x is not None]
        gradients = [torch.zeros_like(x, dtype=wide) for x in inputs]
        for start in range(0, len(queries), chunk):
            rows = slice(start, start + chunk)
            q, v = queries[rows], positive[rows]
            right = (q * v).sum(1).to(wide)
            if bonus is not None:
                right += bonus[rows]
            logits = (q @ candidates.T).to(wide)
            if shift is not None:
                logits -= shift
            part = slice(*bounds[start // chunk : start // chunk + 2].tolist())
            logits[hit_row[part] - start, hit_column[part]] = -torch.inf
            top = torch.maximum(logits.amax(1), right)
            if others is not None:
                top = torch.maximum(top, others[rows])
            share = logits.sub_(top[:, None]).exp_()
            own = torch.exp(right - top)
            norm = share.sum(1) + own
            if others is not None:
                more = torch.exp(others[rows] - top)
                norm = norm + more
            total += (norm.log() + top - right).sum()
            if not any(ctx.needs_input_grad):
                continue
            share /= norm[:, None]
            own = (own / norm - 1)[:, None]
            gradients[0][rows] = share @ candidates + own * v
            gradients[1][rows] = own * q
            gradients[2] += share.T @ q
            if others is not None:
                gradients[3][rows], gradients[4][rows] = own[:, 0], more / norm
        kinds = (x.dtype for x in inputs)
        ctx.save_for_backward(*(g.to(t) for g, t in zip(gradients, kinds, strict=True)))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Each gradient times the gradient of the sum."""
        found = [x * grad.to(x.dtype) for x in ctx.saved_tensors]
        return (*found, *[None] * (9 - len(found)))


def _hits(target: Tensor, codes: Tensor | None) -> tuple[Tensor, Tensor]:
    """(row, column), int64 [K] and rows rising, where a candidate is the target."""
    rows = torch.arange(len(target), device=target.device)
    if codes is None:
        return rows, target
    ordered, order = torch.sort(codes)
    first = torch.searchsorted(ordered, target)
    number = torch.searchsorted(ordered, target, right=True) - first
    row = torch.repeat_interleave(rows, number)
    local = torch.arange(len(row), device=target.device)
    local = local - torch.repeat_interleave(number.cumsum(0) - number, number)
    return row, order[first[row] + local]


def draw_items(items: int, config: LossConfig, count: Tensor) -> tuple[Tensor, Tensor]:
    """(codes int64 [C] with repeats, log of how often each is expected among the C)."""
    if config.draw == "uniform":
        codes = torch.randint(1, items + 1, (config.shared,), device=count.device)
        return codes, torch.full_like(codes, math.log(config.shared / items), dtype=torch.float64)
    weight = count[1:].clamp(min=1).double().pow(0.75)
    chance = weight / weight.sum()
    place = torch.multinomial(chance, config.shared, replacement=True)
    return place + 1, torch.log(config.shared * chance[place])


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
