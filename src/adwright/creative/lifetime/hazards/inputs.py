"""What the networks read of a spell: numbers, codes, words and vectors, by what training saw.

`InputSpec` is fitted from the training table and saved with the model. A table at prediction may
have its values in another order, other values, or lack whole columns: values are found by their
texts, and what is not known is missing, for which the network has a learned default.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.config import closest_name
from adwright.core.errors import ConfigError, SchemaError
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.data.batches.jagged import Jagged

__all__ = ["InputSpec", "KnownValues", "NumberScale", "SpellInputs", "VectorScale", "Vectors"]

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
            vectors=tuple(
                torch.from_numpy(_scaled(scale, given.get(scale.name), len(table)))
                for scale in self.vectors
            ),
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


def _scaled(scale: VectorScale, x: Floats | None, units: int) -> Floats:
    if x is None:
        return np.full((units, scale.width), np.nan, np.float32)
    if x.shape[1] != scale.width:
        raise SchemaError(
            f"the vectors are {x.shape[1]} wide, and the model was trained with {scale.width}",
            column=scale.name,
            hint="encode them with the same model as for training",
        )
    return ((x - np.float32(scale.mean)) / np.float32(scale.std)).astype(np.float32)


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
