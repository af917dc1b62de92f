"""Deep Interest Network (Zhou et al., "Deep Interest Network for Click-Through Rate
Prediction", KDD 2018) and the Embedding&MLP base model it is compared with.

    interest(target) = sum_j a(e_j, target) e_j         equation 3, `LocalActivationUnit`
    logit = MLP([target, interest, user, context])      with Dice or PReLU between the layers

The base model pools the history without looking at the target: interest = sum_j e_j.

With `base_share` s, the two are one model, with nothing in common but their inputs, each of which
learns from a cross-entropy of its own:

    logit = (1 - s) logit_DIN + s logit_base

That is our choice: what they learn by heart differs, and is averaged out (`models.ranking.mix`).

What the paper leaves open and we chose: item vectors are the concatenated embeddings of the
item's features and a constant 1, so that the pooled vector carries the sum of the weights, the
intensity of the interest, as a number of its own; the plain sums of the base model are divided
by a constant, so that histories of thousands of events start in range; where the unit starts
(see `LocalActivationUnit`); a single logit with binary cross-entropy stands for the paper's
two-way softmax. The numbers of the paper's Table 3 for Electronics were later corrected by its
first author (DIN .8698, with Dice .8711 group AUC).

Histories are sets here, as in the paper: order inside one carries nothing, repeats count.

>>> from adwright.models.ranking.din import DINConfig
>>> DINConfig(attention_hidden=16).weight
'raw'

Dice, the activation of the Deep Interest Network (Zhou et al., KDD 2018, equation 9).

    f(s) = p(s) s + (1 - p(s)) alpha s,    p(s) = sigmoid((s - E[s]) / sqrt(Var[s] + eps))

PReLU whose corner moves with the data. E and Var are per unit, over the mini-batch in
training and moving averages at inference; alpha is per unit, learned and starts at 0.

Which history items each row of a batch sees, in the form that costs least.

A user with many rows and a long history is a matrix of counts; thousands of users with a few rows
and a few events each are one list of pairs. Models compute the first group by group
and the second for the whole batch at once.

The local activation unit of DIN over ragged groups, without the pairs in memory.

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

The MLP on top of every fine ranker: from what is known of a row to its logit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Gt, settings
from adwright.core.errors import ConfigError
from adwright.data.batches.batch import Batch, Distinct, distinct_history
from adwright.data.features import FeatureSpec, ItemTable
from adwright.models.calibration import EmbeddingConfig, ItemEmbedding, RowEmbedding

EPS = 1e-8


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum of `values` over the processes of a distributed run, with its gradient; without one,
    `values` itself. Statistics are thus of the whole batch, however it is divided."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        reduced: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
        return reduced
    return values


class _Sum(torch.autograd.Function):
    """The gradient of a sum that all processes use is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(total)
        return total


class MovingMoments(nn.Module):
    """Mean and variance per unit: of the batch in training, their moving averages otherwise.

    momentum: share of the new value in each update (our choice: 0.01; the paper leaves it
    open). The averages are corrected for their start at zero, as in Adam, so that they are
    right after few batches too.
    """

    mean: Tensor
    variance: Tensor
    weight: Tensor

    def __init__(self, units: int, *, momentum: float = 0.01) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(units))
        self.register_buffer("variance", torch.zeros(units))
        self.register_buffer("weight", torch.zeros(()))

    def forward(self) -> tuple[Tensor, Tensor]:
        """The moving (mean [H], variance [H]); 0 and 1 before any batch."""
        seen = self.weight.clamp(min=1e-12)
        variance = torch.where(self.weight > 0, self.variance / seen, 1.0)
        return self.mean / seen, variance

    def update(self, count: Tensor, total: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Update the moving averages with the batch's (mean [H], variance [H]), which are returned.

        count []: number of values per unit. total, squares [H]: sum of the values, of their
        squares. Gradients flow through the returned moments, as in batch normalisation.
        """
        sums = sum_over_ranks(torch.cat([count.reshape(1), total, squares]))
        units = total.numel()
        n = sums[0].clamp(min=1)
        mean = sums[1 : units + 1] / n
        variance = (sums[units + 1 :] / n - mean * mean).clamp(min=0)
        with torch.no_grad():
            self.mean.lerp_(mean.to(self.mean.dtype), self.momentum)
            self.variance.lerp_(variance.to(self.mean.dtype), self.momentum)
            self.weight.lerp_(torch.ones_like(self.weight), self.momentum)
        return mean, variance


class Dice(nn.Module):
    """Dice over rows: x [T, H] to [T, H].

    >>> Dice(3)(torch.zeros(4, 3)).shape
    torch.Size([4, 3])
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(units))
        self.moments = MovingMoments(units)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, H] to Dice(x) [T, H]."""
        if self.training:
            # float64 sums: the square of a mean is subtracted from a mean of squares.
            wide = x.double()
            count = torch.tensor(float(x.shape[0]), dtype=torch.float64)
            mean, variance = self.moments.update(count, wide.sum(0), (wide * wide).sum(0))
        else:
            mean, variance = self.moments()
        scaled = (x - mean.to(x.dtype)) * torch.rsqrt(variance.to(x.dtype) + EPS)
        gate = torch.sigmoid(scaled)
        return x * (gate + self.alpha * (1 - gate))


#: Groups of at most so many pairs (rows times distinct items) are written out pair by pair.
PAIRS = 1024


class HistoryGroup(NamedTuple):
    """One user's part of a batch: rows t0..t1, distinct items k0..k1, visit of each row
    [T_u] (int64, from 0), counts [V_u, L_u]."""

    t0: int
    t1: int
    k0: int
    k1: int
    visit: Tensor
    counts: Tensor


class SeenItems(NamedTuple):
    """What the rows of a batch see: large groups as matrices, and the pairs of all small
    groups written out as row, item (both int64 [P]) and times [P] above 0."""

    groups: list[HistoryGroup]
    row: Tensor
    item: Tensor
    times: Tensor


def seen_by(distinct: Distinct) -> SeenItems:
    """Divide the groups of a batch by their number of pairs."""
    visits, rows, items = distinct.visit_groups, distinct.visit_rows, distinct.items.offsets
    first_row, n_items = rows[visits], items[1:] - items[:-1]
    n_rows = first_row[1:] - first_row[:-1]
    number = torch.arange(int(visits[-1]))
    number -= torch.repeat_interleave(visits[:-1], visits[1:] - visits[:-1])
    visit_of_row = torch.repeat_interleave(number, rows[1:] - rows[:-1])
    pairs = n_rows * n_items
    large = torch.nonzero(pairs > PAIRS)[:, 0].tolist()
    groups = []
    for u in large:
        t0, t1, k0, k1 = *first_row[u : u + 2].tolist(), *items[u : u + 2].tolist()
        counts = distinct.counts[distinct.count_offsets[u] : distinct.count_offsets[u + 1]]
        groups.append(HistoryGroup(t0, t1, k0, k1, visit_of_row[t0:t1], counts.view(-1, k1 - k0)))
    # The rest, vectorised: each row of a small group once, then each item beside it.
    owner = torch.repeat_interleave(torch.arange(len(n_rows)), n_rows)
    row = torch.nonzero((pairs <= PAIRS)[owner])[:, 0]
    group = owner[row]
    width = n_items[group]
    pair = torch.repeat_interleave(torch.arange(len(row)), width)
    item = torch.arange(len(pair)) - torch.repeat_interleave(width.cumsum(0) - width, width)
    at = distinct.count_offsets[group] + visit_of_row[row] * width
    count = distinct.counts[at[pair] + item]
    kept = count > 0
    return SeenItems(groups, row[pair][kept], (items[group][pair] + item)[kept], count[kept])


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


def row_mlp(inputs: int, hidden: Sequence[int], activation: Activation) -> nn.Sequential:
    """Linear layers [T, inputs] to [T, 1], with `activation` after each but the last.

    hidden: units of the layers between.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *hidden)):
        layers.append(nn.Linear(before, after))
        layers.append(Dice(after) if activation == "dice" else nn.PReLU(after))
    return nn.Sequential(*layers, nn.Linear((inputs, *hidden)[-1], 1))


#: Initial scale of the base model's embeddings: smaller ones suit the plain sum (chosen on the
#: validation weeks).
BASE_SCALE = 0.05


@settings
class DINConfig:
    """Sizes and choices of DIN and of its base model.

    interest: "attention" is DIN, "sum" the Embedding&MLP base model.
    weight: "raw" (paper) or "softmax" attention. activation: "dice" or "prelu" in the MLP;
    attention_activation: the same in the activation unit. attention_hidden: its units.
    similarity_start: whether the unit starts as a function of similarity, see there.
    intensity: whether the sum of the weights is pooled beside the items.
    mlp_hidden: units of the MLP's layers.
    history_scale: divides the plain sum of the base model.
    base_share: of the logit that is a base model's, 0 for none; only with "attention".
    """

    interest: Literal["attention", "sum"] = "attention"
    weight: Weight = "raw"
    activation: Activation = "dice"
    attention_activation: Activation = "prelu"
    attention_hidden: int = 16
    similarity_start: bool = True
    mlp_hidden: tuple[int, ...] = (200, 80)
    history_scale: Annotated[float, Gt(0)] = 10.0
    intensity: bool = True
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    base_share: float = 0.0

    def __post_init__(self) -> None:
        if self.attention_hidden < 1 or not self.mlp_hidden or min(self.mlp_hidden) < 1:
            raise ConfigError("layers have at least one unit", where="DINConfig")
        if not 0 <= self.base_share < 1 or (self.base_share and self.interest != "attention"):
            raise ConfigError(
                "base_share is a share in [0, 1) of a model that attends",
                where=f"{self.base_share}, interest {self.interest}",
                hint='leave it at 0, or at interest = "sum" for the base model alone',
            )

    @property
    def title(self) -> str:
        """Its name in run folders, tables and pages."""
        if self.interest == "sum":
            return "Base"
        return "DIN+Base" if self.base_share else "DIN"

    def base(self) -> DINConfig:
        """The base model with the same embeddings and MLP."""
        embedding = replace(self.embedding, scale=BASE_SCALE)
        return replace(self, interest="sum", base_share=0.0, embedding=embedding)


class DIN(nn.Module):
    """DIN or its base model, for the features of `spec` and the catalogue `items`."""

    def __init__(self, config: DINConfig, spec: FeatureSpec, items: ItemTable) -> None:
        super().__init__()
        self.config = config
        self.item = ItemEmbedding(spec, items, config.embedding)
        self.row = RowEmbedding((*spec.coded_rows, *spec.multi_rows), config.embedding)
        width = self.item.width + (1 if config.intensity else 0)
        if config.interest == "attention":
            self.unit = LocalActivationUnit(
                width,
                hidden=config.attention_hidden,
                weight=config.weight,
                activation=config.attention_activation,
                norm=self.item.norm if config.similarity_start else 0.0,
                similar=self.item.width,
            )
        known = self.item.width + width + self.row.width + len(spec.numeric_rows)
        self.mlp = row_mlp(known, config.mlp_hidden, config.activation)
        if config.base_share:
            self.base = DIN(config.base(), spec, items)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [T] of the batch's rows."""
        if not self.config.base_share:
            return self._logits(batch)
        base: Tensor = self.base(batch)
        return torch.lerp(self._logits(batch), base, self.config.base_share)

    def _logits(self, batch: Batch) -> Tensor:
        """Those of the attention, or of the sum, alone."""
        distinct = distinct_history(batch.history, batch.offsets, batch.begin, batch.end)
        seen = seen_by(distinct)
        target, history = self._embed(batch.item, distinct.items.values)
        interest = self._interest(target, history, seen)
        row = self.row(batch)
        features = torch.cat([target, interest, row, batch.numeric], 1)
        logits: Tensor = self.mlp(features).squeeze(1)
        return logits

    def loss(self, batch: Batch) -> Tensor:
        """Binary cross-entropy, summed over the rows; of the base model it counts by its share."""
        logits = batch.of_rows(self._logits(batch))
        loss = functional.binary_cross_entropy_with_logits(logits, batch.label, reduction="sum")
        if not self.config.base_share:
            return loss
        return torch.lerp(loss, self.base.loss(batch), self.config.base_share)

    def activations(self, target: Tensor, history: Tensor) -> Tensor:
        """Inference only: weights [T, L] before any softmax of items `history` [L] for items
        `target` [T] (int64 codes)."""
        q, k = self._embed(target, history)
        if self.config.intensity:
            q, k = (functional.pad(x, (0, 1), value=1.0) for x in (q, k))
        return self.unit.activations(q, k)

    def history_cost(
        self, candidates: NDArray[np.int64], events: NDArray[np.int64]
    ) -> tuple[float, int]:
        """FLOPs of each user's candidates int64 [U] meeting that user's events int64 [U], and the
        floats that are read per item."""
        width = self.item.width + int(self.config.intensity)
        hidden = self.config.attention_hidden
        pairs = float(candidates @ events)
        cost = pairs * (2 * width * hidden + 4 * hidden + 2 * width)
        if not self.config.base_share:
            return cost, width
        more, read = self.base.history_cost(candidates, events)
        return cost + more, width + read

    def _embed(self, target: Tensor, history: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of the targets [T, D] and of the distinct history items [N, D]; each item of
        the batch is embedded once."""
        items, place = torch.unique(torch.cat([target, history]), return_inverse=True)
        vectors = self.item(items)
        return vectors[place[: len(target)]], vectors[place[len(target) :]]

    def _interest(self, target: Tensor, history: Tensor, seen: SeenItems) -> Tensor:
        if self.config.intensity:
            # A constant coordinate of the item vectors pools to the sum of the weights.
            target, history = (functional.pad(x, (0, 1), value=1.0) for x in (target, history))
        if self.config.interest == "attention":
            pooled: Tensor = self.unit(target, history, seen)
            return pooled
        history = history / self.config.history_scale
        pairs = seen.times[:, None] * history[seen.item]
        pooled = torch.zeros_like(target).index_add(0, seen.row, pairs)
        rows = [torch.arange(g.t0, g.t1) for g in seen.groups]
        if rows:
            sums = [(g.counts @ history[g.k0 : g.k1])[g.visit] for g in seen.groups]
            pooled = pooled.index_add(0, torch.cat(rows), torch.cat(sums))
        return pooled
