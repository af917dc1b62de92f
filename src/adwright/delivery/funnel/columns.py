"""What is known of a candidate, as numbers: what an order adds up.

    popularity   log(1 + training events of the item)
    lately       log(share of the decayed training events)
    category     popularity within the categories of the user's latest items
    frequency    log(1 + the user's events of the item)
    recent       log(1 + those of them in the last `data.popularity.RECENT_DAYS` days)
    again        1 / (1 + days since the last of them), 0 without one
    item-item, linear, alike, sequence, sasrec, two-tower, hcn, fine
                 the score of the model of this name

More of each speaks for the item, but only the candidates of one request are compared.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.ranges import ranges
from adwright.delivery.stages.histories import RequestBatch
from adwright.delivery.stages.protocols import HistoryAlone, Read, Scorer, Shortlist, read_by
from adwright.delivery.stages.sources import request_pasts
from adwright.models.retrieval.rules import LATEST

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
ColumnName = Literal[
    "popularity",
    "lately",
    "category",
    "frequency",
    "recent",
    "again",
    "item-item",
    "linear",
    "alike",
    "sequence",
    "sasrec",
    "two-tower",
    "hcn",
    "fine",
]


class CandidateColumns(Protocol):
    """Numbers of the candidates of requests."""

    @property
    def names(self) -> tuple[ColumnName, ...]:
        """What the columns are called."""

    def values(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """Finite numbers [C, columns]."""


class ItemColumns(HistoryAlone):
    """Numbers that an item has for everybody. tables: name -> float64 [N + 1]."""

    def __init__(self, tables: Mapping[ColumnName, Floats]) -> None:
        self.names = tuple(tables)
        self._table = np.stack(list(tables.values()), 1)

    def values(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """Their rows."""
        found: Floats = self._table[items.codes]
        return found


class OwnColumns:
    """What the user's own history says of the item, by the hour."""

    names: tuple[ColumnName, ...] = ("frequency", "recent", "again")

    def values(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """The three numbers."""
        counts = batch.hourly().counts(items.owner, items.codes)
        again = 1 / (1 + np.where(np.isnan(counts.recency), np.inf, counts.recency))
        return np.stack([np.log1p(counts.frequency), np.log1p(counts.recent), again], 1)

    def reads(self, batch: RequestBatch) -> Sequence[Hashable]:
        """The hour."""
        hours: list[int] = batch.hour.tolist()
        return hours


class CategoryColumn(HistoryAlone):
    """The item's share of its category's events, by the share that the category has of the items
    of the user's latest moments.

    category: int64 [N + 1], a code per item, 0 for none. count: int64 [N + 1], training events.
    """

    names: tuple[ColumnName, ...] = ("category",)

    def __init__(self, category: Ints, count: Ints) -> None:
        self._category = category
        whole = np.bincount(category, count)
        self._share = count / np.maximum(whole[category], 1)
        self._size = len(whole)

    def values(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """Of each item: [C, 1]."""
        latest = request_pasts(batch).until(LATEST)
        kind = self._category[latest.item]
        known = kind > 0
        cells = latest.owner[known] * self._size + kind[known]
        # Of some users and many categories only few cells are met.
        met, times = np.unique(cells, return_counts=True)
        total = np.bincount(met // self._size, times, minlength=len(batch))
        asked = items.owner * self._size + self._category[items.codes]
        place = np.minimum(np.searchsorted(met, asked), max(len(met) - 1, 0))
        hit = met[place] == asked if len(met) else np.zeros(len(asked), np.bool_)
        mine = np.where(hit, times[place] if len(met) else 0, 0)
        share: Floats = mine / np.maximum(total[items.owner], 1) * self._share[items.codes]
        return share[:, None]


class ScorerColumn:
    """The score of a model."""

    def __init__(self, name: ColumnName, scorer: Scorer) -> None:
        self.names = (name,)
        self._scorer = scorer

    def values(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """The scores [C, 1]; of a model of probabilities their logits."""
        score = self._scorer.score(batch, items)
        if self._scorer.probability:
            p = np.clip(score, 1e-12, 1 - 1e-12)
            score = np.log(p) - np.log1p(-p)
        return score[:, None]

    def reads(self, batch: RequestBatch) -> Read:
        """What the model reads."""
        return read_by([self._scorer], batch)


def stacked(
    columns: Sequence[CandidateColumns], batch: RequestBatch, items: Shortlist
) -> tuple[tuple[ColumnName, ...], Floats]:
    """All columns side by side: (their names, [C, columns])."""
    names = tuple(name for one in columns for name in one.names)
    values = [np.zeros((len(items.codes), 0)), *(one.values(batch, items) for one in columns)]
    return names, np.concatenate(values, axis=1)


# --------------------------------------------------------------------------------------------------
# An order that adds up what several models and counts say.
#
#     s = sum over columns j of w_j z_j,    z_j = (x_j - mean) / standard deviation
#
# mean and deviation over the candidates of the request, so that a weight means the same for every
# user and every scale; a column in which all candidates are alike says nothing (z = 0). A candidate
# that a model cannot speak of has that model's lowest number (item-item: 0).
#
# The weights are those under which what was taken is likeliest among the candidates,
#
#     max  sum_v 1/|T_v| sum_{t in T_v} log( p_t + noise )  -  l2/2 |w|^2
#     p_t = e^{s_t} / sum_{c in C_v} e^{s_c}
#
# T_v are the candidates of visit v that were taken. Without noise this is the conditional logit of
# McFadden (1974) with one choice a target, which is concave; Newton's steps find its maximum. It
# cares as much about targets that nothing foresees, for which it flattens the order, as about those
# that could come first, and only these are seen. So what is taken follows nothing that we know with
# a chance that no weight changes, and such targets hardly count: from the weights of the logit go
# ROUNDS steps towards those of a logit in which a target counts p_t / (p_t + noise)
# (expectation-maximisation, Dempster, Laird and Rubin 1977).
#
# Letters: C candidates of all requests together, J columns.

#: Among equals the more popular comes first: so much weighs this column everywhere.
_TIE = 1e-6
_STEPS, _CLOSE = 50, 1e-8
#: The chance of a target that nothing foresees: that of one among the first twenty. And how often
#: targets are weighed anew.
NOISE, ROUNDS = 0.05, 10
#: Candidates that are looked at together while fitting, 8 MB of 16 columns.
_ROWS = 1 << 16


@settings
class ScoreMixture:
    """names, weights: of the columns that count, as many of each. Raises ConfigError where there
    is none, or they differ in number."""

    names: tuple[ColumnName, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.weights):
            raise ConfigError(
                "a mixture has a weight for each of its columns",
                where=f"{len(self.names)} columns, {len(self.weights)} weights",
            )

    @classmethod
    def of(cls, name: ColumnName) -> ScoreMixture:
        """The order by one column."""
        return cls((name,), (1.0,))

    def scores(self, names: Sequence[ColumnName], z: NDArray[np.floating]) -> Floats:
        """s of candidates of which `names` are known: z [C, J] standardised; [C]. Columns that
        are not part of the mixture count for nothing but ties, which popularity decides."""
        weight = np.zeros(len(names))
        if "popularity" in names:
            weight[names.index("popularity")] = _TIE
        for name, own in zip(self.names, self.weights, strict=True):
            weight[names.index(name)] += own
        asked = np.flatnonzero(weight)
        found: Floats = z[:, asked].astype(np.float64) @ weight[asked]
        return found

    def text(self) -> str:
        """The columns with their weights, the heaviest first."""
        pairs = sorted(zip(self.names, self.weights, strict=True), key=lambda one: -abs(one[1]))
        return ", ".join(f"{name} {weight:.2f}" for name, weight in pairs)


class MixedScorer:
    """A Scorer by a mixture. columns: those that it needs, and popularity for the ties."""

    probability = False

    def __init__(self, mixture: ScoreMixture, columns: Sequence[CandidateColumns]) -> None:
        self.mixture, self.columns = mixture, tuple(columns)

    def score(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """s of each item: [C]."""
        names, values = stacked(self.columns, batch, items)
        return self.mixture.scores(names, standardised(values, items.offsets))

    def reads(self, batch: RequestBatch) -> Read:
        """What its columns read."""
        return read_by(self.columns, batch)


def standardised(values: NDArray[np.floating], offsets: Ints) -> Floats:
    """z [C, J] of values [C, J] within the requests that lie between two of offsets [U + 1]."""
    sizes = np.diff(offsets)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    number = np.maximum(sizes, 1)
    found = np.empty(values.shape)
    for j in range(values.shape[1]):
        column = values[:, j].astype(np.float64)
        column = column - (np.bincount(owner, column, minlength=len(sizes)) / number)[owner]
        spread = np.sqrt(np.bincount(owner, column**2, minlength=len(sizes)) / number)
        scale = np.where(spread > 1e-12, spread, np.inf)
        found[:, j] = column / scale[owner]
    return found


def conditional_logit(
    z: NDArray[np.floating],
    offsets: Ints,
    taken: NDArray[np.bool_],
    *,
    l2: float = 1.0,
    noise: float = NOISE,
) -> Floats:
    """The weights [J] of the module's formula.

    z: [C, J]. offsets: int64 [V + 1] of the visits. taken: bool [C]. Visits of which no candidate
    was taken say nothing. l2: above 0, so that there is one maximum, also with columns that say
    the same. noise: 0 for the logit.
    """
    blocks = _blocks(z, offsets, taken)
    weight = _climbed(blocks, np.zeros(z.shape[1]), l2, _STEPS)
    for _ in range(ROUNDS if noise else 0):
        weight = _climbed([_foreseen(block, weight, noise) for block in blocks], weight, l2, 1)
    return weight


def _foreseen(block: _VisitBlock, weight: Floats, noise: float) -> _VisitBlock:
    """The block with each target's share times how likely it was foreseen."""
    chance = _chances(block, weight)
    return replace(block, share=block.share * chance / (chance + noise))


def _climbed(blocks: list[_VisitBlock], weight: Floats, l2: float, steps: int) -> Floats:
    """At most so many of Newton's steps from `weight` [J] towards the likeliest weights."""
    chances = [_chances(block, weight) for block in blocks]
    value = _likelihood(blocks, chances, weight, l2)
    for _ in range(steps):
        gradient, curvature = _slopes(blocks, chances, weight, l2)
        step = np.linalg.solve(curvature, gradient)
        size, decrement = 1.0, float(gradient @ step)
        if decrement < _CLOSE:
            break
        while True:
            chances = [_chances(block, weight + size * step) for block in blocks]
            found = _likelihood(blocks, chances, weight + size * step, l2)
            if found >= value + 1e-4 * size * decrement or size < 1e-6:
                break
            size /= 2
        weight, value = weight + size * step, found
    return weight


@dataclass(frozen=True, eq=False)
class _VisitBlock:
    """Some visits. z: [C, J]. owner: int64 [C]. share: [C], how much each candidate counts as
    taken: 1/|T_v|, or less."""

    z: Floats
    owner: Ints
    visits: int
    share: Floats

    @cached_property
    def counts(self) -> Floats:
        """What the visit's candidates count together: [visits]."""
        return np.bincount(self.owner, self.share, minlength=self.visits).astype(np.float64)

    @cached_property
    def targets(self) -> Ints:
        """The candidates that were taken."""
        return np.flatnonzero(self.share)

    @cached_property
    def target_share(self) -> Floats:
        """Their shares."""
        found: Floats = self.share[self.targets]
        return found

    @cached_property
    def starts(self) -> Ints:
        """The first candidate of each visit: int64 [visits]."""
        found: Ints = np.searchsorted(self.owner, np.arange(self.visits))
        return found


def _blocks(z: NDArray[np.floating], offsets: Ints, taken: NDArray[np.bool_]) -> list[_VisitBlock]:
    """The visits of which something was taken, some thousand candidates at a time."""
    sizes = np.diff(offsets)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    number = np.bincount(owner, taken, minlength=len(sizes))
    chosen = np.flatnonzero(number > 0)
    part = np.cumsum(sizes[chosen]) // _ROWS
    found = []
    for visits in np.split(chosen, np.flatnonzero(np.diff(part)) + 1):
        if len(visits):
            place, bounds = ranges(offsets[visits], sizes[visits])
            mine = np.repeat(np.arange(len(visits)), np.diff(bounds))
            share = taken[place] / number[visits][mine]
            found.append(
                _VisitBlock(z[place].astype(np.float64, copy=False), mine, len(visits), share)
            )
    return found


def _likelihood(
    blocks: list[_VisitBlock], chances: list[Floats], weight: Floats, l2: float
) -> float:
    """The value of the formula, from the chances p of each block at `weight`."""
    pairs = zip(blocks, chances, strict=True)
    known = sum(float(one.target_share @ np.log(np.maximum(p[one.targets], 1e-300)))
                for one, p in pairs)  # fmt: skip
    return known - l2 / 2 * float(weight @ weight)


def _slopes(
    blocks: list[_VisitBlock], chances: list[Floats], weight: Floats, l2: float
) -> tuple[Floats, Floats]:
    """The gradient [J] there, and minus the second derivatives [J, J]."""
    gradient, curvature = -l2 * weight, l2 * np.eye(len(weight))
    for block, chance in zip(blocks, chances, strict=True):
        p = chance * block.counts[block.owner]
        leaned = block.z * p[:, None]
        gradient = gradient + block.z.T @ (block.share - p)
        mean = np.add.reduceat(leaned, block.starts, axis=0)
        inner = mean / np.maximum(block.counts, 1e-300)[:, None]
        curvature = curvature + block.z.T @ leaned - mean.T @ inner
    return gradient, curvature


def _chances(block: _VisitBlock, weight: Floats) -> Floats:
    """p of each candidate: [C]."""
    score = block.z @ weight
    score -= np.maximum.reduceat(score, block.starts)[block.owner]
    mass = np.exp(score)
    found: Floats = mass / np.add.reduceat(mass, block.starts)[block.owner]
    return found
