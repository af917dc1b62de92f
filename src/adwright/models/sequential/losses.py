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
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.config import Natural, settings
from adwright.core.errors import ConfigError

__all__ = [
    "EXACT_BELOW",
    "LossConfig",
    "LossKind",
    "OwnItemTerms",
    "draw_items",
    "next_item_loss",
    "per_position_softmax",
    "softmax_over",
    "unit",
]

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
