"""SpellTable: units with a life, as they were known at their landmark, and how long they went on.

A unit is a spell of display, a creative or an ad. Its life counts whole periods, weeks or days: one
that ran in periods s to s + L - 1 has lived L. At the **landmark**, the close of its l-th period,
its features are taken, before it is known whether there will be a further period. So it has lived
l - 1 periods for certain where risk begins (`entry`), and ends at `time` >= l:

    start s      s + entry                            s + time
      |--------------|----- landmark ... at risk ---------|
      0            entry                                 time

It **ended** at L where period s + L was observed and the unit was not there. Where the last
observed period is V - 1, that is L < V - s. Else it is only known that L >= V - s: it is censored
half a period before that age (`CENSORED`), since nobody saw whether it went on beyond it.
`seen_before` makes of a table what was known of it before period V, so that training never knows an
end that came later.

Letters: N units, F numbers, C categorical columns, E words of all units together.

Runs of periods: where a unit was there without a pause, from its first to its last period.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.core.config import settings
from adwright.core.errors import ConfigError, DataError, SchemaError, ValueInvalidError
from adwright.data.hashing import mix64
from adwright.data.ranges import ranges

LifeUnit = Literal["week", "day"]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

#: Of a life that went on to the last period that was seen, so many periods are not known to be
#: survived.
CENSORED = np.float32(0.5)
#: What only a finished life can tell. Numbers "so far", "before" and "during" are none of these.
_TOTALS = re.compile(
    r"(^|_)(total|lifetime|duration|end|ended|ending|last_(day|week)|cause|event|censored|time|life"
    r"|remaining|stopped|stop)(_|$)"
)
_SO_FAR = re.compile(r"(^|_)(so_far|before|earlier|past)(_|$)")
#: A single number that orders so many pairs of lives as they ended is their length.
_SAME = 0.98
_ROWS_LOOKED_AT = 20_000


@settings(eq=False)
class SpellTable:
    """Units at their landmark. N units.

    entry: float32 [N], time already lived at the landmark, which is where risk begins (delayed
    entry; 0 without one).
    time: float32 [N], age at the end or at censoring, > entry, in periods of `unit`.
    cause: int8 [N], 0 censored, 1.. the cause of ending. causes: their names, ("ended",) where
    there is one.
    numbers: float32 [N, F] with NaN where missing, by `number_names`.
    categories: int32 [N, C], -1 missing, with `category_names` and `category_values` (per column a
    tuple of texts, which the codes are places in).
    words: int32 [E] ids in `vocabulary`, those of unit i from offsets[i] to offsets[i + 1] (int64
    [N + 1]).
    clicks, shown: float32 [N] or None: what the weights by click rate are made of, as of the
    landmark.
    owner, group: int32 [N] ids of the owner (product or advertiser) and the group (store or
    campaign). start: int32 [N], the week or day of the beginning.
    landmark: the period of a life at whose close the features were taken, from 1; 0 where that
    differs from unit to unit (all that ran at one date).
    unit: "week" or "day".
    """

    entry: Floats
    time: Floats
    cause: npt.NDArray[np.int8]
    causes: tuple[str, ...]
    unit: LifeUnit
    numbers: Floats
    number_names: tuple[str, ...]
    categories: Ints
    category_names: tuple[str, ...]
    category_values: tuple[tuple[str, ...], ...]
    words: Ints
    offsets: npt.NDArray[np.int64]
    vocabulary: tuple[str, ...]
    clicks: Floats | None
    shown: Floats | None
    owner: Ints
    group: Ints
    start: Ints
    landmark: float

    def __len__(self) -> int:
        return len(self.time)

    @property
    def ended(self) -> npt.NDArray[np.bool_]:
        """bool [N]: those whose end was seen, of any cause."""
        return self.cause > 0

    def check(self, *, leaks: bool = True) -> SpellTable:
        """The table itself, after its columns, values and features were looked at. leaks: whether
        the order of lives is looked at too; in a table of one date, what all units of a campaign
        share may order them, if campaigns end one after another.

        Raises SchemaError for columns that do not fit, ValueInvalidError that names the row for a
        wrong value, and DataError for a feature that tells how long a life was: by its name, or
        because it orders the lives that ended as they ended.
        """
        _check_names(self)
        _check_values(self)
        for name in (*self.number_names, *self.category_names):
            if _TOTALS.search(name) and not _SO_FAR.search(name):
                raise DataError(
                    "a feature is named like what only a finished life can tell",
                    column=name,
                    hint="take it as of the landmark, and say so in its name: so_far, before",
                )
        for name, share in self.orders_of_lives().items() if leaks else ():
            if share > _SAME:
                raise DataError(
                    f"a feature alone orders {share:.1%} of the lives as they ended",
                    column=name,
                    hint="leave it out: it was not known at the landmark",
                )
        return self

    def orders_of_lives(self) -> dict[str, float]:
        """By number: the share of pairs of ended lives that it orders, from 0.5 to 1.

        Of neighbouring units of one entry in a fixed random order, up to 20,000: among units of
        many ages, the age alone orders the lives that end in the next period. Those of equal age
        at the end or of a missing number are no pair, and equal numbers count one half, so that
        only what tells lives apart comes near 1. Numbers with fewer than 100 pairs are left out.
        """
        rows = np.flatnonzero(self.ended)
        rows = rows[np.argsort(mix64(rows.astype(np.uint64)), kind="stable")][:_ROWS_LOOKED_AT]
        rows = rows[np.argsort(self.entry[rows], kind="stable")]
        first, second = rows[0::2][: len(rows) // 2], rows[1::2]
        alike = self.entry[first] == self.entry[second]
        longer = np.where(alike, np.sign(self.time[first] - self.time[second]), 0)
        found = {}
        for place, name in enumerate(self.number_names):
            above = np.sign(self.numbers[first, place] - self.numbers[second, place])
            pairs = (longer != 0) & np.isfinite(above)
            if pairs.sum() >= 100:
                share = float((longer[pairs] * above[pairs]).mean() / 2 + 0.5)
                found[name] = max(share, 1 - share)
        return found

    def take(self, rows: npt.ArrayLike) -> SpellTable:
        """The units `rows` (places [R], or bool [N]), in that order."""
        chosen = np.asarray(rows)
        if chosen.dtype == np.bool_:
            if len(chosen) != len(self):
                raise DataError(f"{len(chosen)} truth values for {len(self)} units", column="rows")
            chosen = np.flatnonzero(chosen)
        lengths = np.diff(self.offsets)[chosen]
        place, offsets = ranges(self.offsets[chosen], lengths)
        parts: dict[str, Any] = {
            each.name: value[chosen]
            for each in fields(self)
            if each.name not in ("words", "offsets")
            if isinstance(value := getattr(self, each.name), np.ndarray)
        }
        return replace(self, **parts, words=self.words[place], offsets=offsets)

    @classmethod
    def concat(cls, tables: Sequence[SpellTable]) -> SpellTable:
        """The units of tables of one kind, one table below another. Values of categories and words
        may differ from table to table: they are united, in the order in which they come.

        Raises DataError without a table, SchemaError for other columns, causes or another unit.
        """
        if not tables:
            raise DataError("there is no table to put below another")
        _check_alike(tables)
        columns = list(zip(*(table.category_values for table in tables), strict=True))
        united = [_united(values) for values in columns]
        words, vocabulary = _united([table.vocabulary for table in tables])
        offsets, base = [np.zeros(1, np.int64)], 0
        for table in tables:
            offsets.append(table.offsets[1:] + base)
            base += int(table.offsets[-1])
        parts: dict[str, Any] = {
            each.name: np.concatenate([getattr(table, each.name) for table in tables])
            for each in fields(cls)
            if each.name not in ("words", "offsets", "categories")
            if isinstance(getattr(tables[0], each.name), np.ndarray)
        }
        codes = [table.categories.copy() for table in tables]
        for column, (places, _) in enumerate(united):
            for part, place in zip(codes, places, strict=True):
                part[:, column] = place[part[:, column]]
        landmarks = {table.landmark for table in tables}
        return replace(
            tables[0],
            **parts,
            categories=np.concatenate(codes),
            category_values=tuple(values for _, values in united),
            words=np.concatenate([place[t.words] for place, t in zip(words, tables, strict=True)]),
            offsets=np.concatenate(offsets),
            vocabulary=vocabulary,
            landmark=landmarks.pop() if len(landmarks) == 1 else 0.0,
        )

    def seen_before(self, period: int) -> SpellTable:
        """What was known of the units at the beginning of `period`, V of the head of this file.

        Units whose landmark had not come are left out; who ran on is censored half a period before
        its age then.
        """
        known = self.take(self.start + self.entry < period)
        seen = (period - known.start).astype(np.float32)
        cause = np.where(known.time < seen, known.cause, 0).astype(np.int8)
        time = np.where(cause > 0, known.time, np.minimum(known.time, seen - CENSORED))
        return replace(known, time=time.astype(np.float32), cause=cause)


def draw_ids(ids: npt.NDArray[Any], share: float, seed: int) -> npt.NDArray[Any]:
    """Those of `ids` [O] that a seeded hash chooses, a share in (0, 1) of them, in their order.

    Raises ConfigError for another share.
    """
    if not 0 < share < 1:
        raise ConfigError("the share of owners lies between 0 and 1", where=f"{share}")
    chance = mix64(mix64(np.array([seed % 2**64], np.uint64)) + ids.astype(np.uint64))
    drawn: npt.NDArray[Any] = ids[chance < np.uint64(share * 2**64)]
    return drawn


def _united(texts: Sequence[tuple[str, ...]]) -> tuple[list[Ints], tuple[str, ...]]:
    """(by table, the new place of each old one, and -1 for -1; all texts once)."""
    places = {text: place for place, text in enumerate(dict.fromkeys(chain(*texts)))}
    # The last one is what a place of -1 finds.
    found = [np.array([*(places[text] for text in each), -1], np.int32) for each in texts]
    return found, tuple(places)


def _check_alike(tables: Sequence[SpellTable]) -> None:
    first = tables[0]
    for table in tables[1:]:
        for name in ("causes", "unit", "number_names", "category_names"):
            if getattr(table, name) != getattr(first, name):
                raise SchemaError(
                    "the tables are of different kinds",
                    column=name,
                    value=getattr(table, name),
                    hint=f"the first has {getattr(first, name)}",
                )
        if (table.clicks is None) != (first.clicks is None):
            raise SchemaError("one table has clicks and another has none", column="clicks")


def _check_names(table: SpellTable) -> None:
    if len(table.category_values) != len(table.category_names):
        raise SchemaError("each categorical column needs its values", column="category_values")
    if (table.clicks is None) != (table.shown is None):
        raise SchemaError("clicks and shown come together", column="clicks")
    names = (*table.number_names, *table.category_names)
    if len(set(names)) < len(names):
        raise SchemaError("a feature is named twice", column="number_names")
    if not table.causes:
        raise SchemaError("a table needs the name of a cause of ending", column="causes")


def _check_values(table: SpellTable) -> None:
    def refuse(wrong: npt.ArrayLike, what: str, column: str) -> None:
        if np.any(wrong):
            row = int(np.argmax(wrong))
            raise ValueInvalidError(
                what, row=row, column=column, value=np.asarray(getattr(table, column))[row].tolist()
            )

    refuse(~(np.isfinite(table.entry) & (table.entry >= 0)), "an entry is negative", "entry")
    late = ~(np.isfinite(table.time) & (table.time > table.entry))
    refuse(late, "a life must end or be censored after its entry", "time")
    named = (table.cause >= 0) & (table.cause <= len(table.causes))
    refuse(~named, "a cause has no name", "cause")
    refuse(np.isinf(table.numbers).any(axis=1), "a number is infinite", "numbers")
    sizes = np.array([len(values) for values in table.category_values], np.int64)
    outside = (table.categories < -1) | (table.categories >= sizes)
    refuse(outside.any(axis=1), "a code is none of its column's values", "categories")
    offsets = table.offsets
    if offsets[0] != 0 or offsets[-1] != len(table.words) or (np.diff(offsets) < 0).any():
        raise ValueInvalidError(
            "offsets must run from 0 to the number of words without falling", column="offsets"
        )
    unknown = (table.words < 0) | (table.words >= len(table.vocabulary))
    refuse(unknown, "a word is not in the vocabulary", "words")
    if table.clicks is not None and table.shown is not None:
        refuse(~(table.clicks >= 0), "clicks are negative or missing", "clicks")
        refuse(~(table.shown >= 0), "shown is negative or missing", "shown")


Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Runs:
    """R runs of rows that are sorted by unit and period. All int64 [R].

    row: where the run begins in the rows. rows: how many of them it has. unit, first, last: whose
    it is, and its first and last period.
    """

    row: Int64s
    rows: Int64s
    unit: Int64s
    first: Int64s
    last: Int64s

    def __len__(self) -> int:
        return len(self.row)

    @property
    def length(self) -> Int64s:
        """Periods from the first to the last, bridged ones included."""
        return self.last - self.first + 1

    def before(self) -> Int64s:
        """By run, the number of earlier runs of its unit."""
        place = np.arange(len(self))
        new = np.append(True, self.unit[1:] != self.unit[:-1])[: len(self)]
        return place - np.maximum.accumulate(np.where(new, place, 0))


def runs_of(unit: npt.ArrayLike, period: npt.ArrayLike, *, gap: int = 0) -> Runs:
    """The runs of rows [M], sorted by unit and then by period, in which no row repeats.

    gap: up to so many periods without the unit belong to its run.

    >>> runs = runs_of([7, 7, 7, 9], [1, 2, 4, 5])
    >>> runs.unit.tolist(), runs.first.tolist(), runs.length.tolist()
    ([7, 7, 9], [1, 4, 5], [2, 1, 1])
    """
    if gap < 0:
        raise ConfigError("a gap cannot be negative", where=f"gap {gap}")
    who, when = np.asarray(unit, np.int64), np.asarray(period, np.int64)
    new = (who[1:] != who[:-1]) | (when[1:] - when[:-1] > gap + 1)
    row = np.flatnonzero(np.append(True, new)[: len(who)])
    end = np.append(row[1:], len(who))[: len(row)]
    return Runs(row, end - row, who[row], when[row], when[end - 1])


def word_ids(words: pl.Series, rows: Int64s) -> tuple[Ints, Int64s, tuple[str, ...]]:
    """(word ids, offsets [N + 1], vocabulary) of rows [N] of lists of words, each once."""
    tokens = words.list.unique().list.sort()
    flat = tokens.explode().drop_nulls()
    vocabulary = flat.unique().sort()
    ids = flat.replace_strict(vocabulary, range(len(vocabulary)), return_dtype=pl.Int32).to_numpy()
    lengths = tokens.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    begin = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    place, offsets = ranges(begin[rows], lengths[rows])
    return ids[place], offsets, tuple(vocabulary.to_list())
