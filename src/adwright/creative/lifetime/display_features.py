"""What was known of a spell of display at the close of its landmark week, and nothing later.

Each number is a sum, count or share of weeks up to the landmark week m; "during" is from the start
of the display to m, "before" the four weeks ahead of the start. Earlier spells count only where
their end was seen by m: spells whose first week without display is m or earlier.

Letters: N units (spells), P products, S stores, W words of all units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.creative.lifetime.journey_weeks import DISPLAYS, MAILERS, Displays, Sales, Where
from adwright.creative.lifetime.spell_runs import Runs
from adwright.data.ranges import ranges

__all__ = ["Units", "categories_at", "numbers_at", "words_of"]

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


def numbers_at(
    units: Units,
    runs: Runs,
    displays: Displays,
    sales: Sales,
    category: Values,
    where: Where,
) -> dict[str, Values]:
    """Columns [N] by name, in a fixed order. category: whole numbers, of each run."""
    numbers: dict[str, Values] = {"weeks_so_far": units.at - units.start + 1}
    season = 2 * np.pi * (units.start % 52) / 52
    numbers["season_sine"], numbers["season_cosine"] = np.sin(season), np.cos(season)
    numbers |= _placement(units, runs, displays)
    numbers |= _sold(units, sales, len(displays.stores), where)
    numbers |= _ended("product", displays.product[runs.row], units.product, runs, units.at)
    if where == "store":
        store = displays.store[runs.row].astype(np.int64)
        numbers |= _ended("store", store, units.store, runs, units.at)
        # How long displays of this category, and in this place, last in this store.
        for name, kind in (("category", category), ("display", displays.display[runs.row])):
            both = store * (int(kind.max(initial=0)) + 1) + kind
            numbers |= _ended(f"{name}_in_store", both, both[units.spell], runs, units.at)
    return numbers | _earlier_here(units, runs)


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


def _placement(units: Units, runs: Runs, displays: Displays) -> dict[str, Values]:
    """How it was placed so far, and how widely the product and how full the store is."""
    first = runs.row[units.spell]
    here = first + units.at - runs.first[units.spell]

    def changes(codes: npt.NDArray[np.uint8]) -> Ints:
        upto = np.concatenate(([0], np.cumsum(codes[1:] != codes[:-1])))
        found: Ints = upto[here] - upto[first]
        return found

    mailed = np.concatenate(([0], np.cumsum(displays.mailer > 0)))
    last_week = np.maximum(units.at - 1, 0)
    return {
        "display_changes_so_far": changes(displays.display),
        "mailer_changes_so_far": changes(displays.mailer),
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


def _ended(name: str, owner: Values, who: Ints, runs: Runs, at: Ints) -> dict[str, Values]:
    """Spells of the same owner whose end was seen by the landmark, and their mean length.

    owner: of each run. who, at: the owners and landmark weeks of the units [N].
    """
    known = runs.first > 1  # else nobody knows how long it was
    cell = owner[known] * _WEEKS + runs.last[known] + 1
    shape = (int(owner.max(initial=0)) + 1, _WEEKS)
    cells = shape[0] * shape[1]
    count = np.bincount(cell, minlength=cells).reshape(shape)
    lived = np.bincount(cell, runs.length[known], cells).astype(np.int64).reshape(shape)
    ended, weeks = count.cumsum(axis=1)[who, at], lived.cumsum(axis=1)[who, at]
    return {f"ended_of_{name}_before": ended, f"mean_weeks_of_{name}_before": _ratio(weeks, ended)}


def _earlier_here(units: Units, runs: Runs) -> dict[str, Values]:
    """Earlier spells of the same product in the same store: all of them had ended."""
    earlier = runs.before()[units.spell]
    length = np.where(runs.first > 1, runs.length, 0)  # of unknown length: none
    upto = np.concatenate(([0], np.cumsum(length)))
    known = np.concatenate(([0], np.cumsum(length > 0)))
    first = units.spell - earlier
    previous = np.maximum(units.spell - 1, 0)
    has, has_length = earlier > 0, (earlier > 0) & (length[previous] > 0)
    return {
        "spells_here_before": earlier,
        "mean_weeks_here_before": _ratio(
            upto[units.spell] - upto[first], known[units.spell] - known[first]
        ),
        "weeks_of_spell_before": np.where(has_length, length[previous], np.nan),
        "weeks_since_spell_before": np.where(has, units.start - runs.last[previous] - 1, np.nan),
    }


def _ratio(top: Ints, bottom: Ints) -> npt.NDArray[np.float64]:
    """NaN where the bottom is not positive."""
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), np.nan)
