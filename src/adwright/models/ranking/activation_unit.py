"""The local activation unit of DIN over ragged groups, without the pairs in memory.

For a target q and a history item k (both of width D) the unit computes, with H hidden units,

    x = [k, q, q - k, q * k] W + b,    a = w2 . act(x) + b2,    pooled = sum_k c_k a(q, k) k

c_k counts how often the row sees item k. The first layer factorises exactly: with W cut into
Wk, Wq, Wd, Wp,

    x = q (Wq + Wd) + b  +  k ((Wk - Wd) + diag(q) Wp)

so for one target it is a linear map of k with weights of its own, and for all targets of one
person it is a single matrix product of the history [L, D] with [D, T H]. The normalisation
inside Dice (s - E) / sd is folded into those weights too. What remains between the products is

    a = const + sum_h lin_h z_h + gate(z_h) (u_h z_h + v_h)

which covers Dice (gate = sigmoid) and PReLU (gate = step). `_Pool` walks over the groups in
tiles that stay in the cache, keeps nothing but its inputs, and computes the tile again in the
backward pass; groups of few pairs are written out pair by pair instead. The moments that Dice
needs over all pairs have a closed form in the Gram matrices of targets and history
(`pair_moments`), so no pass over the pairs is spent on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from adwright.models.ranking.dice import EPS, MovingMoments
from adwright.models.ranking.history_counts import HistoryGroup, SeenItems

__all__ = ["Activation", "LocalActivationUnit", "Weight", "pair_moments"]

Activation = Literal["dice", "prelu"]
Weight = Literal["raw", "softmax"]
#: Hidden values of a tile: small enough for the cache.
TILE = 1 << 17


class LocalActivationUnit(nn.Module):
    """Weighs the items of a history by their relevance to a target, and pools them.

    width: D. hidden: H (36 in the paper). weight: "raw" keeps the sum of weights, which
    carries the intensity of the interest (the paper); "softmax" normalises it away (the
    authors' public demo). activation: "dice" or "prelu".
    norm: expected squared length of the first `similar` coordinates of an item vector at the
    start of training (0 for no such start).

    Dice's moments are over the pairs that exist, each event once; there is no padding.

    Where to start is our choice, since the paper leaves it open. With small random weights
    everywhere the unit has to discover that a product of two vectors tells a repeat from a
    stranger, among hundreds of strangers a row. So the weights of q * k start at 1 / norm and
    the biases at 0 to -0.9: hidden unit h starts as max(0, similarity - h / H), similarity
    being 1 for the item itself, and the unit as a piecewise-linear function of similarity.
    """

    def __init__(
        self,
        width: int,
        *,
        hidden: int = 36,
        weight: Weight = "raw",
        activation: Activation = "dice",
        norm: float = 0.0,
        similar: int | None = None,
    ) -> None:
        super().__init__()
        self.weight, self.activation = weight, activation
        bound = (4 * width) ** -0.5
        self.first = nn.Parameter(torch.empty(4, width, hidden).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.second = nn.Parameter(torch.empty(hidden).uniform_(-(hidden**-0.5), hidden**-0.5))
        self.second_bias = nn.Parameter(torch.zeros(()))
        self.alpha = nn.Parameter(torch.zeros(hidden))
        if norm:
            with torch.no_grad():
                self.first[3, :similar] += 1 / norm
                self.bias.copy_(-0.9 * torch.linspace(0, 1, hidden))
        self.moments = MovingMoments(hidden)

    def forward(self, q: Tensor, k: Tensor, seen: SeenItems) -> Tensor:
        """q [T, D] targets, k [N, D] distinct history items to pooled interests [T, D]."""
        # Under autocast, too, in the precision of its inputs: `_Pool` mixes no types.
        with torch.autocast(q.device.type, enabled=False):
            coefficients = self._coefficients(q, k, seen)
            pooled = torch.zeros_like(q)
            if seen.groups:
                pooled = _Pool.apply(  # type: ignore[no-untyped-call]
                    q, k, *coefficients, seen.groups, self.weight, self.activation
                )
            # Without any pair, too: processes that share Dice's moments wait for each other in
            # the backward pass, so each must have a path to them.
            if len(seen.row) or not seen.groups:
                pooled = pooled + self._pool_pairs(q, k, coefficients, seen)
        return pooled

    def _pool_pairs(
        self, q: Tensor, k: Tensor, coefficients: tuple[Tensor, ...], seen: SeenItems
    ) -> Tensor:
        """The same for groups so small that a tile each would be all overhead: plain
        operations over the pairs of all of them."""
        a, b, bias, curve, const = coefficients
        row, keys = seen.row, k[seen.item]
        z = torch.addmm(bias[row] + (k @ b)[seen.item], q[row] * keys, a)
        gate = torch.sigmoid(z) if self.activation == "dice" else None
        weight = _scores(z, gate, curve, const)
        if self.weight == "softmax":
            # Any constant a row leaves softmax as it is; its largest score keeps it in range.
            top = z.new_full((len(q),), -torch.inf)
            top = top.scatter_reduce(0, row, weight.detach(), "amax")
            weight = torch.exp(weight - top[row]) * seen.times
            weight = weight / torch.zeros_like(top).index_add(0, row, weight)[row]
        else:
            weight = weight * seen.times
        return torch.zeros_like(q).index_add(0, row, weight[:, None] * keys)

    @torch.no_grad()
    def activations(self, q: Tensor, k: Tensor) -> Tensor:
        """Inference only: a(q, k) of each target and item, [T, L]."""
        a, b, bias, curve, const = self._coefficients(q, k, None)
        z, gate, _ = _tile(q, k, a, b, bias, self.activation)
        return _scores(z, gate, curve, const).view(len(k), len(q)).T

    def _coefficients(self, q: Tensor, k: Tensor, seen: SeenItems | None) -> tuple[Tensor, ...]:
        """A, B [D, H], bias [T, H], (lin, u, v) [3, H], const [] of the module's docstring."""
        of_k, of_q, of_difference, of_product = self.first
        b = of_k - of_difference
        bias = q @ (of_q + of_difference) + self.bias
        open_part = self.second * (1 - self.alpha)
        if self.activation == "prelu":
            curve = [self.second * self.alpha, open_part, torch.zeros_like(open_part)]
            return of_product, b, bias, torch.stack(curve), self.second_bias
        if self.training and seen is not None:
            moments = pair_moments(q, k, bias, of_product, b, seen)
            mean, variance = self.moments.update(*moments)
        else:
            mean, variance = self.moments()
        mean, deviation = mean.to(q.dtype), torch.sqrt(variance.to(q.dtype) + EPS)
        linear = self.second * self.alpha
        return (
            of_product / deviation,
            b / deviation,
            (bias - mean) / deviation,
            torch.stack([linear * deviation, open_part * deviation, open_part * mean]),
            linear @ mean + self.second_bias,
        )


def pair_moments(
    q: Tensor, k: Tensor, bias: Tensor, a: Tensor, b: Tensor, seen: SeenItems
) -> tuple[Tensor, Tensor, Tensor]:
    """Count [], sum [H] and sum of squares [H] of x over all pairs, each event once (float64).

    x = bias_t + k (q_t * a + b). With S = sum_k c_k k k', s = sum_k c_k k and n = sum_k c_k of
    a visit, and r = q_t * a + b for a row of it,
        sum_k c_k x   = n bias + r' s
        sum_k c_k x^2 = n bias^2 + 2 bias r' s + r' S r
    and sum_t r' S r needs only sum_t q q', sum_t q and the number of rows of the visit.
    The pairs of small groups are summed as they are.
    """
    width = q.shape[1]
    # A batch may have no large group, or no small one, and takes part in the sums all the same.
    number, pooled, offset = [q.new_zeros(0)], [q.new_zeros(0, width)], [bias[:0]]
    targets = [q.new_zeros(0, width)]
    gram = q.new_zeros(3, width, width, dtype=torch.float64)
    for t0, t1, k0, k1, visit, counts in seen.groups:
        keys, rows = k[k0:k1], q[t0:t1]
        number.append(counts.sum(1)[visit])
        pooled.append((counts @ keys)[visit])
        offset.append(bias[t0:t1])
        targets.append(rows)
        second = (counts[:, :, None] * keys).transpose(1, 2) @ keys
        outer = q.new_zeros(len(counts), width, width)
        outer = outer.index_add(0, visit, rows[:, :, None] * rows[:, None, :])
        total = q.new_zeros(len(counts), width).index_add(0, visit, rows)
        sizes = torch.bincount(visit, minlength=len(counts)).to(q.dtype)
        gram = gram + torch.stack(
            [
                (second * outer).sum(0),
                (second * total[:, :, None]).sum(0),
                torch.einsum("vde,v->de", second, sizes),
            ]
        )
    x = bias[seen.row] + (k @ b)[seen.item] + (q[seen.row] * k[seen.item]) @ a
    weighted = (seen.times[:, None] * x).double()
    n, s, at = torch.cat(number)[:, None], torch.cat(pooled), torch.cat(offset)
    inner = (s * torch.cat(targets)) @ a + s @ b
    total_x = (n * at + inner).double().sum(0) + weighted.sum(0)
    mixed = (at * (n * at + 2 * inner)).double().sum(0) + (weighted * x).sum(0)
    a, b = a.double(), b.double()
    squares = (
        (a * (gram[0] @ a)).sum(0) + 2 * (a * (gram[1] @ b)).sum(0) + (b * (gram[2] @ b)).sum(0)
    )
    return n.double().sum() + seen.times.double().sum(), total_x, mixed + squares


def _tile(
    q: Tensor, k: Tensor, a: Tensor, b: Tensor, bias: Tensor, activation: Activation
) -> tuple[Tensor, Tensor | None, Tensor]:
    """First layer of n targets and L items: z and Dice's gate [L n, H], the weights [D, n H]."""
    (n, width), hidden = q.shape, a.shape[1]
    weights = torch.mul(q.t()[:, :, None], a[:, None, :], out=q.new_empty(width, n, hidden))
    weights = weights.add_(b[:, None, :]).view(width, n * hidden)
    z = torch.addmm(bias.reshape(-1), k, weights).view(len(k) * n, hidden)
    return z, (torch.sigmoid(z) if activation == "dice" else None), weights


def _scores(z: Tensor, gate: Tensor | None, curve: Tensor, const: Tensor) -> Tensor:
    """Activations [L n] from z, gate [L n, H] (None: a step) and the curve (lin, u, v)."""
    lin, u, v = curve
    if gate is None:  # PReLU: z gate(z) is the positive part, and v is 0.
        return const + torch.mv(z, lin) + torch.mv(z.relu(), u)
    return const + torch.mv(z, lin) + torch.mv(z * gate, u) + torch.mv(gate, v)


def _weights(scores: Tensor, counts: Tensor, weight: Weight) -> Tensor:
    """Activations [L, n] and counts [L, n] to the weights of the pooled sum [L, n]."""
    if weight == "raw":
        return scores * counts
    # A row that sees nothing has only -inf: its weights are 0, not NaN.
    return torch.nan_to_num(torch.softmax(scores + torch.log(counts), 0))


def _tiles(groups: list[HistoryGroup], hidden: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """(rows, items, counts [L, n]) of each tile; tiles are small enough for the cache."""
    for t0, t1, k0, k1, visit, counts in groups:
        if k0 == k1:
            continue
        step = max(1, TILE // ((k1 - k0) * hidden))
        for start in range(t0, t1, step):
            rows = slice(start, min(start + step, t1))
            yield rows, slice(k0, k1), counts[visit[rows.start - t0 : rows.stop - t0]].T


class _Pool(torch.autograd.Function):
    """pooled [T, D]; see the module's docstring for the formulas."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        a: Tensor,
        b: Tensor,
        bias: Tensor,
        curve: Tensor,
        const: Tensor,
        groups: list[HistoryGroup],
        weight: Weight,
        activation: Activation,
    ) -> Tensor:
        pooled = torch.zeros_like(q)
        kept, keeps = [], any(ctx.needs_input_grad)
        for rows, items, counts in _tiles(groups, a.shape[1]):
            keys = k[items]
            z, gate, _ = _tile(q[rows], keys, a, b, bias[rows], activation)
            scores = _scores(z, gate, curve, const).view(counts.shape)
            pool = _weights(scores, counts, weight)
            torch.mm(pool.T, keys, out=pooled[rows])
            if keeps:
                kept.append(pool)
        ctx.save_for_backward(q, k, a, b, bias, curve)
        ctx.pools, ctx.rest = kept, (groups, weight, activation)
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (q, k, a, b, bias, curve), grad = ctx.saved_tensors, gradients[0].contiguous()
        groups, weight, activation = ctx.rest
        (lin, u, _), hidden = curve, a.shape[1]
        d_q, d_k, d_a, d_b, d_bias, d_curve = (
            torch.zeros_like(x) for x in (q, k, a, b, bias, curve)
        )
        d_const = torch.zeros((), dtype=q.dtype)
        tiles = _tiles(groups, hidden)
        for (rows, items, counts), pool in zip(tiles, ctx.pools, strict=True):
            keys, d_keys, above, n = k[items], d_k[items], grad[rows], counts.shape[1]
            d_pool = keys @ above.T
            if weight == "raw":
                d_scores = d_pool * counts
            else:
                d_scores = pool * (d_pool - (pool * d_pool).sum(0))
            d_keys.addmm_(pool, above)
            flat = d_scores.view(-1)
            z, gate, weights = _tile(q[rows], keys, a, b, bias[rows], activation)
            opened = z.relu() if gate is None else z * gate
            d_const += flat.sum()
            d_curve[0].addmv_(z.t(), flat)
            d_curve[1].addmv_(opened.t(), flat)
            # d score / d z = lin + u gate + (u z + v) gate'
            if gate is None:
                d_z = torch.where(z > 0, lin + u, lin)
            else:
                d_curve[2].addmv_(gate.t(), flat)
                slope = torch.addcmul(curve[2], z, u).mul_(gate)
                d_z = torch.addcmul(lin, gate, u).add_(slope).addcmul_(slope, gate, value=-1)
            d_z = d_z.mul_(flat[:, None]).view(len(keys), n * hidden)
            d_bias[rows] = d_z.sum(0).view(n, hidden)
            d_keys.addmm_(d_z, weights.t())
            d_weights = (keys.t() @ d_z).view(-1, n, hidden)
            d_b += d_weights.sum(1)
            d_a += torch.einsum("dnh,nd->dh", d_weights, q[rows])
            d_q[rows] = torch.einsum("dnh,dh->nd", d_weights, a)
        return d_q, d_k, d_a, d_b, d_bias, d_curve, d_const, None, None, None
