"""What was known of a spell of display at the close of its landmark week, and nothing later.

Each number is a sum, count or share of weeks up to the landmark week m; "during" is from the start
of the display to m, "before" the four weeks ahead of the start. Earlier spells count only where
their end was seen by m: spells whose first week without display is m or earlier.

Letters: N units (spells), P products, S stores, W words of all units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.core.config import settings
from adwright.creative.lifetime.journey_weeks import DISPLAYS, MAILERS, Displays, Sales, Where
from adwright.creative.lifetime.spell_runs import Runs
from adwright.data.ranges import ranges

__all__ = ["DisplayHistory", "Units", "categories_at", "numbers_at", "words_of"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Values = npt.NDArray[Any]

_BEFORE = 4  # weeks ahead of a display that its sales are compared with
_WEEKS = 55  # 0, and 54, in which the ends of week 53 would be seen
_PRODUCT_COLUMNS = ("department", "category", "type", "brand", "manufacturer", "size")


@dataclass(frozen=True, eq=False)
class Units:
    """Some spells at their landmark weeks. All int64 [N].

    spell: which run of all. product, store: places. start: the first week, below 1 where it was
    before the data began. at: the landmark week.
    """

    spell: Ints
    product: Ints
    store: Ints
    start: Ints
    at: Ints


class _Ended(NamedTuple):
    """[owners, 55] by week: spells whose first week without display was it or earlier, and the
    weeks that they lived."""

    ends: Ints
    weeks: Ints


@settings(eq=False)
class DisplayHistory:
    """Displays and sales, and the running sums of them that features are differences of.

    runs: R spells. category: whole numbers [R], of each. Sums are made on first use and kept, so
    that further landmarks of the same data cost little.
    """

    runs: Runs
    displays: Displays
    sales: Sales
    category: Values
    where: Where
    _ended: dict[str, _Ended] = field(default_factory=dict, repr=False)

    def ended(self, name: str, owner: Values, who: Ints, at: Ints) -> dict[str, Values]:
        """Spells of the same owner whose end was seen by the landmark, and their mean length.

        owner: of each run, [R]. who, at: the owners and landmark weeks of the units [N].
        """
        if name not in self._ended:
            self._ended[name] = _ends_by_week(owner, self.runs)
        found = self._ended[name]
        ended, weeks = found.ends[who, at], found.weeks[who, at]
        return {
            f"ended_of_{name}_before": ended,
            f"mean_weeks_of_{name}_before": _ratio(weeks, ended),
        }

    @cached_property
    def product(self) -> Ints:
        """[R]: places of the runs' products."""
        return self.displays.product[self.runs.row].astype(np.int64)

    @cached_property
    def store(self) -> Ints:
        """[R]: places of the runs' stores."""
        return self.displays.store[self.runs.row].astype(np.int64)

    @cached_property
    def changes(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """[M] each: rows up to this one with another display, or mailer, than the row before."""
        return _changes(self.displays.display), _changes(self.displays.mailer)

    @cached_property
    def mailed(self) -> npt.NDArray[np.int32]:
        """[M + 1]: rows before this one that were in the mailer."""
        return np.concatenate(([0], np.cumsum(self.displays.mailer > 0))).astype(np.int32)

    @cached_property
    def before(self) -> Ints:
        """[R]: earlier spells here."""
        return self.runs.before()

    @cached_property
    def length(self) -> Ints:
        """[R]: weeks, 0 where nobody knows."""
        return np.where(self.runs.first > 1, self.runs.length, 0)

    @cached_property
    def lived(self) -> Ints:
        """[R + 1, 2]: weeks of the runs before this one, and how many of them are known."""
        both = np.stack((self.length, self.length > 0), axis=1)
        return np.concatenate((np.zeros((1, 2), np.int64), np.cumsum(both, axis=0)))


def numbers_at(units: Units, history: DisplayHistory) -> dict[str, Values]:
    """Columns [N] by name, in a fixed order."""
    runs, displays, where = history.runs, history.displays, history.where
    numbers: dict[str, Values] = {"weeks_so_far": units.at - units.start + 1}
    season = 2 * np.pi * (units.start % 52) / 52
    numbers["season_sine"], numbers["season_cosine"] = np.sin(season), np.cos(season)
    numbers |= _placement(units, history)
    numbers |= _sold(units, history.sales, len(displays.stores), where)
    numbers |= history.ended("product", history.product, units.product, units.at)
    if where == "store":
        store = history.store
        numbers |= history.ended("store", store, units.store, units.at)
        # How long displays of this category, and in this place, last in this store.
        kinds = (("category", history.category), ("display", displays.display[runs.row]))
        for name, kind in kinds:
            both = store * (int(kind.max(initial=0)) + 1) + kind
            numbers |= history.ended(f"{name}_in_store", both, both[units.spell], units.at)
    return numbers | _earlier_here(units, history)


def categories_at(
    units: Units, runs: Runs, displays: Displays, products: pl.DataFrame, where: Where
) -> Iterator[tuple[str, npt.NDArray[np.int32], tuple[str, ...]]]:
    """(name, codes [N], values): of the product, the store and the placements.

    products: a row for each of `displays.products`, see `words_of`.
    """
    for name in _PRODUCT_COLUMNS:
        values = products[name].unique().drop_nulls().sort()
        codes = products[name].replace_strict(
            values, range(len(values)), default=-1, return_dtype=pl.Int32
        )
        yield name, codes.to_numpy()[units.product], tuple(values.to_list())
    if where == "store":
        yield "store", units.store.astype(np.int32), tuple(map(str, displays.stores.tolist()))
    first = runs.row[units.spell]
    here = first + units.at - runs.first[units.spell]
    yield "display", displays.display[here].astype(np.int32), DISPLAYS
    yield "display_at_start", displays.display[first].astype(np.int32), DISPLAYS
    yield "mailer", displays.mailer[here].astype(np.int32), MAILERS


def words_of(
    products: pl.DataFrame, product: Ints
) -> tuple[npt.NDArray[np.int32], Ints, tuple[str, ...]]:
    """(word ids [W], offsets [N + 1], vocabulary) of the units' products [N]: the words and numbers
    of category, type and size, in lower case, each once a product.

    products: category, type and size of each product, in the order of the places.
    """
    text = pl.concat_str("category", "type", "size", separator=" ", ignore_nulls=True)
    tokens = products.select(
        words=text.str.to_lowercase().str.extract_all(r"[a-z0-9]+").list.unique().list.sort()
    )["words"]
    flat = tokens.explode().drop_nulls()
    vocabulary = flat.unique().sort()
    ids = flat.replace_strict(vocabulary, range(len(vocabulary)), return_dtype=pl.Int32).to_numpy()
    lengths = tokens.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    begin = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    place, offsets = ranges(begin[product], lengths[product])
    return ids[place], offsets, tuple(vocabulary.to_list())


def _placement(units: Units, history: DisplayHistory) -> dict[str, Values]:
    """How it was placed so far, and how widely the product and how full the store is."""
    runs, displays = history.runs, history.displays
    first = runs.row[units.spell]
    here = first + units.at - runs.first[units.spell]
    display, mailer = history.changes
    mailed = history.mailed
    last_week = np.maximum(units.at - 1, 0)
    return {
        "display_changes_so_far": display[here] - display[first],
        "mailer_changes_so_far": mailer[here] - mailer[first],
        "mailer_weeks_so_far": mailed[here + 1] - mailed[first],
        "stores_now": displays.width[units.product, units.at],
        "stores_week_before": displays.width[units.product, last_week],
        "stores_before": displays.width[units.product, np.maximum(units.start - 1, 0)],
        "products_in_store": displays.crowd[units.store, units.at],
        "products_in_store_before": displays.crowd[units.store, last_week],
    }


def _sold(units: Units, sales: Sales, stores: int, where: Where) -> dict[str, Values]:
    """Households that bought, dollars, price and discount, during and before."""
    unit, before = units.product * stores + units.store, units.start - 1
    spans = {
        "now": (units.at, units.at),
        "so_far": (np.maximum(units.start, 1), units.at),
        "before": (before - _BEFORE + 1, np.maximum(before, 0)),
    }
    numbers: dict[str, Values] = {}
    for name, (begin, end) in spans.items():
        here = sales.in_store(unit, begin, end)
        chain = sales.in_chain(units.product, begin, end)
        numbers[f"buyers_{name}"] = here[:, 0]
        numbers[f"dollars_{name}"] = here[:, 1] / 100
        if where == "store":
            # The households of the stores add up to those of the chain, but for the few that
            # bought in two of them.
            numbers[f"buyers_elsewhere_{name}"] = np.maximum(chain[:, 0] - here[:, 0], 0)
            numbers[f"dollars_elsewhere_{name}"] = (chain[:, 1] - here[:, 1]) / 100
        numbers[f"discount_{name}"] = _ratio(chain[:, 2], chain[:, 1] + chain[:, 2])
        numbers[f"price_{name}"] = _ratio(chain[:, 1] + chain[:, 2], 100 * chain[:, 3])
        numbers[f"visits_{name}"] = sales.came(units.store, begin, end)
    return numbers


def _ends_by_week(owner: Values, runs: Runs) -> _Ended:
    """By owner, places that the runs name."""
    known = runs.first > 1  # else nobody knows how long it was
    cell = owner[known] * _WEEKS + runs.last[known] + 1
    shape = (int(owner.max(initial=0)) + 1, _WEEKS)
    cells = shape[0] * shape[1]
    count = np.bincount(cell, minlength=cells).reshape(shape)
    lived = np.bincount(cell, runs.length[known], cells).astype(np.int64).reshape(shape)
    return _Ended(count.cumsum(axis=1), lived.cumsum(axis=1))


def _earlier_here(units: Units, history: DisplayHistory) -> dict[str, Values]:
    """Earlier spells of the same product in the same store: all of them had ended."""
    earlier = history.before[units.spell]
    upto, length = history.lived, history.length
    weeks, known = (upto[units.spell] - upto[units.spell - earlier]).T
    previous = np.maximum(units.spell - 1, 0)
    has, has_length = earlier > 0, (earlier > 0) & (length[previous] > 0)
    return {
        "spells_here_before": earlier,
        "mean_weeks_here_before": _ratio(weeks, known),
        "weeks_of_spell_before": np.where(has_length, length[previous], np.nan),
        "weeks_since_spell_before": np.where(
            has, units.start - history.runs.last[previous] - 1, np.nan
        ),
    }


def _changes(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    return np.concatenate(([0], np.cumsum(codes[1:] != codes[:-1]))).astype(np.int32)


def _ratio(top: Ints, bottom: Ints) -> npt.NDArray[np.float64]:
    """NaN where the bottom is not positive."""
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), np.nan)
