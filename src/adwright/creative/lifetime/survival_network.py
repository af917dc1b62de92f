"""Two hazard heads on one body: how long an ad will live, from what is known at its landmark.

Kitada, Iyatomi and Seki, "Ad Creative Discontinuation Prediction with Multi-Modal Multi-Task Neural
Survival Networks", Applied Sciences 12(7):3594, 2022. Numbers, categories, words and vectors (of
texts and images, encoded elsewhere and frozen) are concatenated; a shared MLP feeds a head of short
bins and one of long bins, each with the likelihood of `hazard_loss`:

    L = lambda L_short + (1 - lambda) L_long

What the paper leaves open is our choice: lambda is 1/2; words are the mean of their embeddings; a
vector passes through one layer of its own; numbers may, beside their scaled value, have a learned
vector for each of their bins, which is added to the first layer's sum. Whatever is missing has a
learned default. In training each modality of a unit is hidden behind its defaults at random, and so
is each single value: the defaults are learned where nothing is ever missing, and the network gets
on without a modality, and with values that it never saw.

Two terms of a life: the edges of the bins in which it is watched, given or from the data.

A head is a row of half-open bins (t_0, t_1], (t_1, t_2], ... of ages. The short head sees cut-outs
with fine bins, the long one wear-outs with wide bins; they overlap.

What the networks read of a spell: numbers, codes, words and vectors, by what training saw.

`InputSpec` is fitted from the training table and saved with the model. A table at prediction may
have its values in another order, other values, or lack whole columns: values are found by their
texts, and what is not known is missing, for which the network has a learned default.

The likelihood of lives in bins: discrete hazards with censoring, delayed entry and causes.

A head has J bins (t_{j-1}, t_j] and, for C causes, logits a_{j,c}. In a bin that is reached a unit
survives or ends of one cause,

    P(survive) = 1 / Z_j,  h_{j,c} = exp(a_{j,c}) / Z_j,  Z_j = 1 + sum_c exp(a_{j,c})

so that one cause gives h_j = sigmoid(a_j) (Kitada et al., Applied Sciences 12(7):3594, 2022; causes
as of Tutz and Schmid, Modeling Discrete Time-to-Event Data, 2016, chapter 8). Inside a bin the
hazard is constant, as in the curves: with L_j = -log(1 - h_j), a part f of the bin is survived with
the probability exp(-f L_j). Ages are known to the period, of length 1: who ended at t survived to
t - 1 and ended between, who was censored at t survived the whole periods up to it. With f_j the
part of bin j that a unit survived under risk, from its entry on (delayed entry), and d_j the part
in which it ended, it costs

    sum_j f_j L_j - log(1 - exp(-D)) - log(sum_j s_{j,c} d_j L_j / D),   D = sum_j d_j L_j

of which only the first term is there where it is censored; s_{j,c} = h_{j,c} / h_j. Where bins are
one period wide, or were seen whole, this is the paper's -log h_k - sum_{j < k} log(1 - h_j). Ends
before the first edge say nothing; who lives beyond the last edge survived all bins.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import (
    Count,
    Ge,
    Gt,
    Lt,
    MinLen,
    Natural,
    Positive,
    closest_name,
    settings,
)
from adwright.core.errors import ConfigError, SchemaError
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.data.batches.jagged import Jagged

#: Shares of the observed endings that edges chosen from the data cover: of the short head, of all.
_SHORT, _REACH = 0.75, 0.99


@settings
class LifeTerms:
    """Edges of the bins of each head, ages in weeks or days; the paper's days by default.

    short: at least two, ascending. long: likewise, beginning inside the short head and reaching
    beyond it; () for one head alone.
    """

    short: tuple[float, ...] = (1.0, 3.0, 5.0, 7.0, 10.0)
    long: tuple[float, ...] = (1.0, 10.0, 30.0, 60.0, 90.0, 120.0)

    def __post_init__(self) -> None:
        for name, edges in (("short", self.short), ("long", self.long)):
            if not edges and name == "long":
                continue
            rising = all(a < b for a, b in pairwise(edges))
            finite = all(0 <= edge < np.inf for edge in edges)
            if len(edges) < 2 or not rising or not finite:
                raise ConfigError(
                    f"the edges of the {name} head are two or more ages that rise from 0 on",
                    where=f"{name} {edges}",
                )
        if self.long and not self.long[0] <= self.short[-1] < self.long[-1]:
            raise ConfigError(
                "the long head begins inside the short one and ends after it",
                where=f"short {self.short}, long {self.long}",
                hint="leave no gap between them, or leave the long head out: long=()",
            )

    @property
    def heads(self) -> tuple[tuple[float, ...], ...]:
        """The edges of each head, one or two."""
        return (self.short, self.long) if self.long else (self.short,)

    @property
    def joined(self) -> tuple[float, ...]:
        """Edges of the one curve: those of the short head, then those of the long one beyond."""
        return (*self.short, *(edge for edge in self.long if edge > self.short[-1]))

    @property
    def one_head(self) -> LifeTerms:
        """The same curve's edges in one head."""
        return LifeTerms(short=self.joined, long=())

    @classmethod
    def of(
        cls, entry: NDArray[np.floating], time: NDArray[np.floating], cause: NDArray[np.integer]
    ) -> LifeTerms:
        """Edges from lives [N]: quantiles of the times of those that ended.

        The first edge is the least entry. The short head ends where three quarters of the endings
        have happened, the long one where 99% have; inside, each of four and five bins of a head
        holds an equal share, but that the long head's first bin is all of the short term. Ties
        merge bins, so there may be fewer. Where the long head would end with the short one, there
        is one head.

        Raises ConfigError where no unit ended.
        """
        first = float(np.min(entry)) if len(entry) else 0.0
        ended = np.asarray(time[(cause > 0) & (time > first)], np.float64)
        if not len(ended):
            raise ConfigError(
                "no unit ended, so that no edges of bins can be chosen",
                where=f"{len(time):,} units",
                hint="give the edges: LifeTerms(short=..., long=...)",
            )
        short, long = (
            tuple(np.unique([first, *np.quantile(ended, at, method="inverted_cdf")]).tolist())
            for at in (np.linspace(0, _SHORT, 5)[1:], np.linspace(_SHORT, _REACH, 5))
        )
        return cls(short=short, long=long if long[-1] > short[-1] else ())

    def __str__(self) -> str:
        named = zip(("short", "long"), self.heads, strict=False)
        return "; ".join(f"{name} {', '.join(f'{e:g}' for e in edges)}" for name, edges in named)


Floats = NDArray[np.float32]
Vectors = Mapping[str, Floats]
#: A number whose skewness is above it goes through a logarithm; scaled numbers are kept within.
_SKEWED, _FARTHEST = 2.0, 8.0
_logger = logging.getLogger("adwright")


@dataclass(frozen=True)
class NumberScale:
    """A number x is read as (f(x) - mean) / std; f is sign(x) log(1 + |x|) where `log`. `cuts`:
    ascending quantiles of x, between which lie its bins."""

    name: str
    log: bool
    mean: float
    std: float
    cuts: tuple[float, ...] = ()

    @classmethod
    def of(cls, name: str, x: Floats, bins: int) -> NumberScale:
        """Of the training values [N], NaN where missing. bins: at most so many, 0 for none."""
        known = x[np.isfinite(x)].astype(np.float64)
        if not len(known):
            return cls(name, False, 0.0, 1.0)
        std = float(known.std())
        skewness = float(np.mean((known - known.mean()) ** 3)) / std**3 if std > 0 else 0.0
        log = abs(skewness) > _SKEWED
        y = _log(known) if log else known
        cuts = np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1]) if bins > 1 else np.zeros(0)
        distinct = tuple(np.unique(cuts.astype(np.float32)).tolist())
        return cls(name, log, float(y.mean()), float(y.std()) or 1.0, distinct)

    def __call__(self, x: Floats) -> Floats:
        """[N], NaN where x is no finite number."""
        y = np.array(_log(x) if self.log else x, np.float32)
        y -= np.float32(self.mean)
        y /= np.float32(self.std)
        np.clip(y, -_FARTHEST, _FARTHEST, out=y)
        y[~np.isfinite(x)] = np.nan
        return y

    def bins(self, x: Floats) -> NDArray[np.int32]:
        """[N]: 0 where x is no finite number, else 1 and the number of cuts below it."""
        # A pass a cut is several times faster than a search a number.
        found = np.ones(len(x), np.int32)
        for cut in np.array(self.cuts, np.float32):
            found += x > cut
        found[~np.isfinite(x)] = 0
        return found


@dataclass(frozen=True)
class KnownValues:
    """A category: the texts that training saw often enough, whose codes are 1..; all else is 0."""

    name: str
    values: tuple[str, ...]

    def codes(self, column: NDArray[np.int32], texts: Sequence[str]) -> NDArray[np.int32]:
        """[N] of a column of indices into `texts`, -1 where missing."""
        known = {text: code for code, text in enumerate(self.values, 1)}
        # The last place is what an index of -1 finds.
        table = np.array([*(known.get(text, 0) for text in texts), 0], np.int32)
        return table[column]


@dataclass(frozen=True)
class VectorScale:
    """A vector of `width` numbers is read as (x - mean) / std, with one mean and one std."""

    name: str
    width: int
    mean: float
    std: float


@dataclass(frozen=True)
class SpellInputs:
    """B units, encoded. numbers: float32 [B, F], NaN missing. codes: int32 or int64 [B, K], rows
    of one table for all categories. bins: [B, F], rows of one table for the bins of all numbers;
    [B, 0] without. words: lists of rows of the table of words. vectors: float32 [B, D] each, NaN
    where missing."""

    numbers: Tensor
    codes: Tensor
    bins: Tensor
    words: Jagged
    vectors: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Tensor) -> SpellInputs:
        """The units `rows`, int64 [R]."""
        return SpellInputs(
            self.numbers[rows],
            self.codes[rows],
            self.bins[rows],
            self.words.select(rows),
            tuple(vector[rows] for vector in self.vectors),
        )

    def between(self, part: slice) -> SpellInputs:
        """The units of a slice without steps, not copied but for their words' offsets."""
        start, stop, _ = part.indices(len(self))
        ends = self.words.offsets[start : stop + 1]
        values = self.words.values[int(ends[0]) : int(ends[-1])]
        return SpellInputs(
            self.numbers[part],
            self.codes[part],
            self.bins[part],
            Jagged(values, ends - ends[0]),
            tuple(vector[part] for vector in self.vectors),
        )


@dataclass(frozen=True)
class InputSpec:
    """What is read of a table, in this order, and how. words: the known ones."""

    numbers: tuple[NumberScale, ...]
    categories: tuple[KnownValues, ...]
    words: tuple[str, ...]
    vectors: tuple[VectorScale, ...]

    @classmethod
    def fit(
        cls,
        table: SpellTable,
        vectors: Vectors | None = None,
        *,
        min_count: int = 5,
        bins: int = 0,
        leave_out: Sequence[str] = (),
    ) -> InputSpec:
        """From the training table. vectors: name -> float32 [N, D], NaN where missing.

        min_count: units in which a category's value occurs, and occurrences of a word, below
        which it is unknown. bins: of each number, at most so many, by its quantiles. leave_out:
        "numbers", "categories", "words", or names of columns and vectors.
        Raises ConfigError for a name that is not there, SchemaError for vectors of another length.
        """
        given = dict(vectors or {})
        whole = ("numbers", "categories", "words")
        _check_names(leave_out, (*whole, *table.number_names, *table.category_names, *given))
        _check_vectors(given, len(table))
        out = frozenset(leave_out)
        return cls(
            numbers=tuple(
                NumberScale.of(name, table.numbers[:, i], bins)
                for i, name in enumerate(table.number_names)
                if not out & {name, "numbers"}
            ),
            categories=tuple(
                KnownValues(name, _frequent(table.categories[:, i], texts, min_count))
                for i, (name, texts) in enumerate(
                    zip(table.category_names, table.category_values, strict=True)
                )
                if not out & {name, "categories"}
            ),
            words=() if "words" in out else _frequent(table.words, table.vocabulary, min_count),
            vectors=tuple(
                VectorScale(name, x.shape[1], float(np.nanmean(x)), float(np.nanstd(x)) or 1.0)
                for name, x in given.items()
                if name not in out
            ),
        )

    @property
    def code_offsets(self) -> tuple[int, ...]:
        """[K + 1]: where the rows of each category begin; the first of them is its default."""
        sizes = [len(each.values) + 1 for each in self.categories]
        return (0, *np.cumsum(sizes).tolist())

    @property
    def bin_offsets(self) -> tuple[int, ...]:
        """[F + 1]: where the rows of each number's bins begin; the first is that of a missing one;
        (0,) where numbers have no bins."""
        if not any(each.cuts for each in self.numbers):
            return (0,)
        return (0, *np.cumsum([len(each.cuts) + 2 for each in self.numbers]).tolist())

    def encode(self, table: SpellTable, vectors: Vectors | None = None) -> SpellInputs:
        """The table's N units. What the table lacks is missing, which is said in a warning.

        Raises SchemaError for vectors of another length or width.
        """
        given = dict(vectors or {})
        _check_vectors(given, len(table))
        self._say_what_is_missing(table, given)
        numbers, bins = self._numbers(table)
        return SpellInputs(
            numbers=torch.from_numpy(numbers),
            codes=torch.from_numpy(self._codes(table)),
            bins=torch.from_numpy(bins),
            words=self._words(table),
            vectors=tuple(_scaled(x, given.get(x.name), len(table)) for x in self.vectors),
        )

    def unknown(self, vectors: Vectors, units: int) -> SpellInputs:
        """Units of which nothing but vectors is known. Raises as `encode`."""
        _check_vectors(vectors, units)
        codes, bins = (
            torch.tensor(offsets[:-1], dtype=torch.int32).expand(units, -1)
            for offsets in (self.code_offsets, self.bin_offsets)
        )
        none = torch.zeros(units + 1, dtype=torch.int64)
        return SpellInputs(
            torch.full((units, len(self.numbers)), torch.nan),
            codes,
            bins,
            Jagged(none[:0].int(), none),
            tuple(_scaled(each, vectors.get(each.name), units) for each in self.vectors),
        )

    def _numbers(self, table: SpellTable) -> tuple[Floats, NDArray[np.int32]]:
        """Scaled numbers [N, F], and the rows of their bins [N, F] or [N, 0]."""
        place = {name: i for i, name in enumerate(table.number_names)}
        offsets = self.bin_offsets
        numbers = np.full((len(table), len(self.numbers)), np.nan, np.float32)
        bins = np.zeros((len(table), len(offsets) - 1), np.int32)
        for f, scale in enumerate(self.numbers):
            if len(offsets) > 1:
                bins[:, f] = offsets[f]
            if (i := place.get(scale.name)) is None:
                continue
            x = np.ascontiguousarray(table.numbers[:, i])
            numbers[:, f] = scale(x)
            if len(offsets) > 1:
                bins[:, f] += scale.bins(x)
        return numbers, bins

    def _codes(self, table: SpellTable) -> NDArray[np.int32]:
        place = {name: i for i, name in enumerate(table.category_names)}
        codes = np.empty((len(table), len(self.categories)), np.int32)
        for k, (known, offset) in enumerate(zip(self.categories, self.code_offsets, strict=False)):
            codes[:, k] = offset
            if (i := place.get(known.name)) is not None:
                codes[:, k] += known.codes(table.categories[:, i], table.category_values[i])
        return codes

    def _words(self, table: SpellTable) -> Jagged:
        """The rows of the known words; others are passed over."""
        known = {word: row for row, word in enumerate(self.words)}
        rows = np.array([known.get(word, -1) for word in table.vocabulary], np.int32)
        values = rows[table.words] if len(rows) else table.words[:0]
        kept = values >= 0
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept, dtype=np.int64)])
        # Without a vocabulary no unit has a word.
        offsets = ends[table.offsets] if len(rows) else np.zeros(len(table) + 1, np.int64)
        return Jagged(torch.from_numpy(values[kept]), torch.from_numpy(offsets))

    def _say_what_is_missing(self, table: SpellTable, given: Vectors) -> None:
        wanted = {
            "numbers": {each.name for each in self.numbers} - set(table.number_names),
            "categories": {each.name for each in self.categories} - set(table.category_names),
            "vectors": {each.name for each in self.vectors} - given.keys(),
        }
        for kind, names in wanted.items():
            if names:
                _logger.warning(
                    "the spells lack %s that the model was trained with, so defaults stand in: %s",
                    kind,
                    ", ".join(sorted(names)),
                )


def _log(x: NDArray[np.floating]) -> NDArray[np.floating]:
    found: NDArray[np.floating] = np.sign(x) * np.log1p(np.abs(x))
    return found


def _frequent(column: NDArray[np.int32], texts: Sequence[str], min_count: int) -> tuple[str, ...]:
    """Those of `texts` whose index occurs `min_count` times in the column."""
    count = np.bincount(column[column >= 0], minlength=len(texts))
    return tuple(texts[i] for i in np.flatnonzero(count >= max(min_count, 1)).tolist())


def _scaled(scale: VectorScale, x: Floats | None, units: int) -> Tensor:
    if x is None:
        return torch.full((units, scale.width), torch.nan)
    if x.shape[1] != scale.width:
        raise SchemaError(
            f"the vectors are {x.shape[1]} wide, and the model was trained with {scale.width}",
            column=scale.name,
            hint="encode them with the same model as for training",
        )
    scaled = (x - np.float32(scale.mean)) / np.float32(scale.std)
    return torch.from_numpy(scaled.astype(np.float32))


def _check_names(names: Sequence[str], there: Sequence[str]) -> None:
    for name in names:
        if name not in there:
            close = closest_name(name, there)
            raise ConfigError(
                f"there is no input {name!r} to leave out",
                where="leave_out",
                hint=f"did you mean {close!r}?" if close else f"there are {', '.join(there)}",
            )


def _check_vectors(given: Vectors, units: int) -> None:
    for name, x in given.items():
        if x.ndim != 2 or len(x) != units:
            raise SchemaError(
                f"vectors are [N, D], one a unit of {units:,}, not {list(x.shape)}", column=name
            )


@dataclass(frozen=True)
class BinTargets:
    """What a head learns of B units; see the module.

    edges: [J + 1]. entry, alive, end: [B], ages: under risk from entry on, survived up to `alive`,
    and where cause, int64 [B], is not 0, ended between `alive` and `end`.
    """

    edges: Tensor
    entry: Tensor
    alive: Tensor
    end: Tensor
    cause: Tensor

    @classmethod
    def of(
        cls,
        edges: Sequence[float],
        entry: NDArray[np.float32],
        time: NDArray[np.float32],
        cause: NDArray[np.integer],
    ) -> BinTargets:
        """Lives [N] in the bins between `edges` [J + 1]. cause: 0 censored, 1.. of the ending."""
        first, last = np.float32(edges[0]), np.float32(edges[-1])
        within = (cause > 0) & (time > first) & (time <= last)
        # Who ended beyond the last edge was still there at it.
        alive = np.where(within, time - 1, np.where(cause > 0, time, np.floor(time)))
        return cls(
            torch.tensor(edges, dtype=torch.float32),
            torch.from_numpy(entry.astype(np.float32)),
            torch.from_numpy(np.maximum(alive, entry).astype(np.float32)),
            torch.from_numpy(time.astype(np.float32)),
            torch.from_numpy(np.where(within, cause, 0).astype(np.int64)),
        )

    def __len__(self) -> int:
        return len(self.entry)

    def take(self, rows: Tensor) -> BinTargets:
        """The units `rows`, int64 [R]."""
        entry, alive, end, cause = self.entry, self.alive, self.end, self.cause
        return BinTargets(self.edges, entry[rows], alive[rows], end[rows], cause[rows])

    def survived(self) -> Tensor:
        """f [B, J]: the part of each bin that was survived."""
        return self._part(self.entry, self.alive)

    def ended(self) -> Tensor:
        """d [B, J]: the part of each bin in which it ended; 0 where it did not."""
        return self._part(self.alive, self.end) * (self.cause > 0)[:, None]

    def silent(self) -> Tensor:
        """bool [B]: units that say nothing."""
        return ~((self.survived() > 0) | (self.ended() > 0)).any(1)

    def _part(self, start: Tensor, stop: Tensor) -> Tensor:
        left, right = self.edges[:-1], self.edges[1:]
        inside = torch.minimum(right, stop[:, None]) - torch.maximum(left, start[:, None])
        return inside.clamp(min=0) / (right - left)


def hazard_loss(logits: Tensor, targets: BinTargets) -> Tensor:
    """Minus the log-likelihood [B] of each unit. logits: [B, J, C]; see the module."""
    step, share = log_hazards(logits)
    loss = -(step * targets.survived().to(step.dtype)).sum(1)
    ended = -step * targets.ended().to(step.dtype)
    total = ended.sum(1)
    some = targets.cause > 0
    # Where nothing ended any number does; its gradient is not asked for.
    safe = torch.where(some, total, 1.0).clamp(min=1e-30)
    loss = loss - torch.where(some, torch.log(-torch.expm1(-safe)), 0.0)
    if logits.shape[2] > 1:
        mine = (targets.cause - 1).clamp(min=0)[:, None, None].expand(-1, logits.shape[1], 1)
        of_it = (share.gather(2, mine)[:, :, 0] * ended).sum(1)
        loss = loss - torch.where(some, torch.log((of_it / safe).clamp(min=1e-30)), 0.0)
    return loss


def log_hazards(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(log(1 - h_j) [B, J], share of each cause in h_j [B, J, C]) of logits [B, J, C]."""
    if logits.shape[2] == 1:
        return -functional.softplus(logits[:, :, 0]), torch.ones_like(logits)
    padded = functional.pad(logits, (1, 0))
    return functional.log_softmax(padded, dim=2)[:, :, 0], torch.softmax(logits, dim=2)


def marginal_logits(targets: BinTargets, causes: int) -> Tensor:
    """Logits [J, C] of the hazards that the units have on the whole; half a period's ending and
    half a survival are added to each, so that none is infinite.

    With n endings in periods of d bins each and a sum F of parts survived, a bin's maximum
    likelihood is L = log(1 + n d / F) / d.
    """
    ended, survived = targets.ended().double(), targets.survived().double().sum(0)
    width = (targets.edges[1:] - targets.edges[:-1]).double()
    d = (1 / width).clamp(max=1.0)
    share = ended / ended.sum(1, keepdim=True).clamp(min=1e-12)
    count = torch.stack([share[targets.cause == c].sum(0) for c in range(1, causes + 1)], 1) + 0.5
    total = torch.log1p(count.sum(1) * d / (survived + 0.5 * d)) / d
    # h / (1 - h) = exp(L) - 1, in the shares of the causes.
    odds = torch.expm1(total)[:, None] * count / count.sum(1, keepdim=True)
    return torch.log(odds).float()


Dropout: TypeAlias = Annotated[float, Ge(0), Lt(1)]


@settings
class SurvivalConfig:
    """Sizes and losses.

    hidden: units of the body's layers. width: of a category's embedding; word_width: of a word's;
    vector_width: of what a vector becomes. number_bins: learned bins of each number, at most so
    many; 0 reads the scaled value alone. scale: standard deviation of the first embeddings.
    dropout: of the hidden units. modality_dropout: probability that a modality of a unit is hidden
    in training, without which the model has not learned to do without it; value_dropout: likewise
    each number, and each value of a category. short_weight: lambda, the weight of the short head.

    In one pass over many spells nothing is learned by heart, and dropouts only slow it down; where
    spells are few, the validation ends the training in time.
    """

    hidden: Annotated[tuple[Count, ...], MinLen(1)] = (128, 64)
    width: Count = 16
    word_width: Count = 16
    vector_width: Count = 32
    number_bins: Natural = 16
    scale: Positive = 0.1
    dropout: Dropout = 0.0
    modality_dropout: Dropout = 0.03
    value_dropout: Dropout = 0.0
    short_weight: Annotated[float, Gt(0), Lt(1)] = 0.5


class SurvivalNetwork(nn.Module):
    """Encoded spells [B] to the logits [B, J, C] of the hazards of each head.

    spec: of the inputs. terms: edges of the heads. causes: C.
    """

    def __init__(
        self, config: SurvivalConfig, spec: InputSpec, terms: LifeTerms, causes: int = 1
    ) -> None:
        super().__init__()
        self.config, self.spec, self.terms, self.causes = config, spec, terms, causes
        first = config.hidden[0]
        self.numbers = nn.Parameter(torch.zeros(len(spec.numbers)))
        self.categories = _table(spec.code_offsets[-1], config.width, config.scale)
        self.words = _table(len(spec.words), config.word_width, config.scale)
        self.wordless = nn.Parameter(torch.zeros(config.word_width))
        self.bins = nn.Parameter(torch.zeros(spec.bin_offsets[-1], first))
        self.layers = nn.ModuleList(nn.Linear(v.width, config.vector_width) for v in spec.vectors)
        self.defaults = nn.ParameterList(
            nn.Parameter(torch.zeros(config.vector_width)) for _ in spec.vectors
        )
        inputs = (
            len(spec.numbers)
            + len(spec.categories) * config.width
            + (config.word_width if spec.words else 0)
            + len(spec.vectors) * config.vector_width
        )
        if not inputs:
            raise ConfigError("nothing is left for the network to read", where="leave_out")
        self.body = nn.ModuleList(
            nn.Linear(before, after) for before, after in pairwise((inputs, *config.hidden))
        )
        self.heads = nn.ModuleList(
            nn.Linear(config.hidden[-1], (len(edges) - 1) * causes) for edges in terms.heads
        )
        # Rows of the defaults, which stand in where a value is hidden.
        defaults = torch.tensor(spec.code_offsets[:-1], dtype=torch.int64)
        self.register_buffer("_code", defaults, persistent=False)
        unknown = torch.tensor(spec.bin_offsets[:-1], dtype=torch.int64)
        self.register_buffer("_bin", unknown, persistent=False)

    @torch.no_grad()
    def begin_at(self, logits: list[Tensor]) -> None:
        """Begin training at hazards [J, C] of each head, the same for all units: the heads'
        biases."""
        for head, values in zip(self.heads, logits, strict=True):
            head.get_parameter("bias").copy_(values.reshape(-1))

    def forward(self, inputs: SpellInputs) -> tuple[Tensor, ...]:
        """Logits [B, J, C] of each head."""
        x = self.hidden(inputs)
        return tuple(head(x).float().unflatten(1, (-1, self.causes)) for head in self.heads)

    def hidden(self, inputs: SpellInputs) -> Tensor:
        """What the heads read, [B, H]: the last layer of the body."""
        parts, added = self._parts(inputs)
        x: Tensor = torch.cat(parts, 1)
        for number, layer in enumerate(self.body):
            x = layer(x)
            if number == 0 and added is not None:
                x = x + added
            x = functional.relu(x)
            if self.training and (rate := self.config.dropout):
                x = x * (~_chance(rate, *x.shape)).to(x.dtype).mul_(1 / (1 - rate))
        return x

    def loss(
        self,
        inputs: SpellInputs,
        targets: tuple[BinTargets, ...],
        weight: Tensor | None = None,
        added: tuple[Tensor, ...] | None = None,
    ) -> Tensor:
        """L summed over the units, []. targets: of each head. weight: [B], each unit's share in the
        loss; divided by its mean. added: [B, J * C] of each head, to the logits."""
        loss = self.losses(inputs, targets, added)
        total = loss[0]
        if len(loss) == 2:
            total = torch.lerp(loss[1], loss[0], self.config.short_weight)
        if weight is None:
            return total.sum()
        mean = weight.mean()
        return (total * weight / mean).sum() if float(mean) > 0 else total.sum()

    def losses(
        self,
        inputs: SpellInputs,
        targets: tuple[BinTargets, ...],
        added: tuple[Tensor, ...] | None = None,
    ) -> tuple[Tensor, ...]:
        """Minus the log-likelihood [B] of each head. added: [B, J * C] of each, to the logits."""
        logits = self(inputs)
        if added is not None:
            more = zip(logits, added, strict=True)
            logits = tuple(own + each.view_as(own) for own, each in more)
        found = zip(logits, targets, strict=True)
        return tuple(hazard_loss(each, target) for each, target in found)

    def _parts(self, inputs: SpellInputs) -> tuple[list[Tensor], Tensor | None]:
        """What is concatenated, [B, ...] each, and what is added to the first layer, [B, H]."""
        spec, parts, added = self.spec, [], None
        if spec.numbers:
            missing = _either(inputs.numbers.isnan(), self._hidden(inputs, len(spec.numbers)))
            parts.append(torch.where(missing, self.numbers, inputs.numbers))
            if len(self.bins):
                rows = torch.where(missing, self.get_buffer("_bin"), inputs.bins)
                added = _RowSums.apply(rows, self.bins)  # type: ignore[no-untyped-call]
        if spec.categories:
            codes, hidden = inputs.codes, self._hidden(inputs, len(spec.categories))
            if hidden is not None:
                codes = torch.where(hidden, self.get_buffer("_code"), codes)
            parts.append(self.categories(codes.long()).flatten(1))
        if spec.words:
            parts.append(self._words(inputs))
        for vector, layer, default in zip(inputs.vectors, self.layers, self.defaults, strict=True):
            missing = _either(vector.isnan().any(1, keepdim=True), self._hidden(inputs, 0))
            read = layer(torch.where(missing, 0.0, vector))
            parts.append(torch.where(missing, default, read))
        return parts, added

    def _words(self, inputs: SpellInputs) -> Tensor:
        """The mean of the words' embeddings [B, W], the default where there are none."""
        words = inputs.words
        mean = functional.embedding_bag(
            words.values.long(), self.words.weight, words.offsets[:-1], mode="mean", sparse=True
        )
        missing = _either((words.lengths == 0)[:, None], self._hidden(inputs, 0))
        return torch.where(missing, self.wordless, mean)

    def _hidden(self, inputs: SpellInputs, columns: int) -> Tensor | None:
        """bool [B, columns] or [B, 1]: what training hides of a modality of so many single values;
        None where it hides nothing."""
        whole, single = self.config.modality_dropout, self.config.value_dropout
        if not self.training or not (whole or (columns and single)):
            return None
        hidden = _chance(whole, len(inputs), 1)
        return hidden | _chance(single, len(inputs), columns) if columns else hidden


class _RowSums(torch.autograd.Function):
    """The sum of some rows of a table: rows int [B, F] and table [R, H] to [B, H].

    Its gradient is a product with the matrix [B, R] of how often a row was taken, which for a few
    hundred rows is several times faster than to add row after row.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.size = len(table)
        return functional.embedding_bag(rows, table, mode="sum")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        (rows,), (gradient,) = ctx.saved_tensors, gradients
        taken = gradient.new_zeros(len(rows), ctx.size)
        taken.scatter_(1, rows.long(), 1.0)
        return None, taken.T @ gradient


def _chance(rate: float, *shape: int) -> Tensor:
    """bool of this shape, true with probability `rate` (to 1/65536): four draws a random number,
    since drawing takes as long as the layers."""
    cells = math.prod(shape)
    drawn = torch.empty(-(-cells // 4), dtype=torch.int64).random_(-(2**63), None)
    return (drawn.view(torch.int16)[:cells] < round(rate * 65536) - 32768).view(shape)


def _table(rows: int, width: int, scale: float) -> nn.Embedding:
    """With sparse gradients: a step touches the rows of its batch."""
    table = nn.Embedding(rows, width, sparse=True)
    nn.init.normal_(table.weight, std=scale)
    return table


def _either(missing: Tensor, hidden: Tensor | None) -> Tensor:
    return missing if hidden is None else missing | hidden
