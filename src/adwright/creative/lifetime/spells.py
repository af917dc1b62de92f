"""What was known of a spell of display at the close of its landmark week, and nothing later.

Each number is a sum, count or share of weeks up to the landmark week m; "during" is from the start
of the display to m, "before" the four weeks ahead of the start. Earlier spells count only where
their end was seen by m: spells whose first week without display is m or earlier.

Letters: N units (spells), P products, S stores, W words of all units.

Complete Journey as arrays by week: what was on display, sold and visited.

Everything is a whole number (cents, households), and sums up to a week are differences of running
sums of whole numbers. So what happened later cannot change a bit of them.

Letters: P products that were ever on display, S stores, M rows of display, 54 weeks (0 is empty).

Spells of in-store display in Complete Journey, as units at their landmark.

A **spell** is a run of consecutive weeks in which a product is on display in a store
(`display_location` other than 0): 3,927,776 of them. Those that run in week 53 are censored
(159,972). Those that run in week 1 began before the data, nobody knows when (left truncation): they
are left out. Of the chain, a spell is a run of weeks in which
the product is on display in any store: 191,210, of which 21,050 are censored.

The **landmark** is the close of week l of the display, by default of its first, before it is known
whether there will be another. So all spells of at least l weeks are units, l - 1 weeks are certain
(`entry`), and the ends at l weeks, of which 57% are of one week, are still to be predicted. What a
unit knows is of weeks up to that one.

The owner of a unit is its product, its group the store; clicks are households that bought the
product there so far, shown those that came to the store, each counted once a week.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.core.errors import DataError
from adwright.core.progress import progress
from adwright.creative.lifetime.spell_table import CENSORED, SpellTable, runs_of, word_ids
from adwright.data.ranges import ranges
from adwright.data.sources.complete_journey import WEEKS, CompleteJourney

Where = Literal["store", "chain"]

#: Codes of the two placements; the first of a mailer is "not in the mailer".
DISPLAYS = tuple("123456789A")
MAILERS = tuple("0ACDFHJLPXZ")
_TABLE_WEEKS = max(WEEKS) + 1
_KEY_WEEKS = 64
Ints = npt.NDArray[np.int64]
Values = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Displays:
    """Rows of display, sorted by product, store and week; of the chain, the one store is 0.

    products: int64 [P] ids, ascending. stores: int64 [S] ids, ascending, or [0].
    product, store: int32 [M], places in these. week: int8 [M]. display, mailer: uint8 [M], places
    in DISPLAYS and MAILERS.
    width: [P, 54], stores in which a product was on display; crowd: [S, 54], products on display.
    """

    products: Ints
    stores: Ints
    product: npt.NDArray[np.int32]
    store: npt.NDArray[np.int32]
    week: npt.NDArray[np.int8]
    display: npt.NDArray[np.uint8]
    mailer: npt.NDArray[np.uint8]
    width: Ints
    crowd: Ints

    @property
    def unit(self) -> Ints:
        """int64 [M]: product and store in one number."""
        unit: Ints = self.product.astype(np.int64) * len(self.stores) + self.store
        return unit


def read_displays(source: CompleteJourney, where: Where) -> Displays:
    """All rows on display, a week at a time. Of the chain: one row a product and week, with the
    placement that most stores gave it (of several, the first of DISPLAYS or MAILERS)."""
    parts = []
    with progress(len(WEEKS), "read displays", "weeks") as bar:
        for week in WEEKS:
            rows = source.promotions(weeks=[week]).collect()
            parts.append(
                rows.filter(pl.col("display_location") != "0").select(
                    "product_id",
                    "store_id",
                    "week",
                    display=_code("display_location", DISPLAYS),
                    mailer=_code("mailer_location", MAILERS),
                )
            )
            bar.advance()
    rows = pl.concat(parts)
    width = rows.group_by("product_id", "week").len()
    if where == "chain":
        rows = _chain(rows)
    products = np.unique(rows["product_id"].to_numpy())
    stores = np.unique(rows["store_id"].to_numpy())
    rows = rows.sort("product_id", "store_id", "week")
    return Displays(
        products=products,
        stores=stores,
        product=np.searchsorted(products, rows["product_id"]).astype(np.int32),
        store=np.searchsorted(stores, rows["store_id"]).astype(np.int32),
        week=rows["week"].to_numpy().astype(np.int8),
        display=rows["display"].to_numpy(),
        mailer=rows["mailer"].to_numpy(),
        width=_table(products, width, "product_id", "len"),
        crowd=_table(stores, rows.group_by("store_id", "week").len(), "store_id", "len"),
    )


@dataclass(frozen=True, eq=False)
class Sales:
    """Running sums of what was sold and who came. Weeks are inclusive on both sides.

    key: int64 [K], product, store and week of each sale in one number, ascending. here: [K + 1, 2]
    running sums of households that bought and of cents. chain: [P, 54, 4] likewise of all stores:
    households, cents, cents taken off by discounts, pieces. visits: [S, 54], of households in the
    store; everybody: [54], in any store.
    """

    stores: int
    key: Ints
    here: Ints
    chain: Ints
    visits: Ints
    everybody: Ints

    def in_store(self, unit: Ints, first: Ints, last: Ints) -> Ints:
        """[N, 2] households that bought, and cents, of `unit` [N] in weeks first to last [N]."""
        begin = np.searchsorted(self.key, unit * _KEY_WEEKS + np.maximum(first, 0), "left")
        end = np.searchsorted(self.key, unit * _KEY_WEEKS + np.maximum(last, 0), "right")
        found: Ints = self.here[end] - self.here[np.minimum(begin, end)]
        return found

    def in_chain(self, product: Ints, first: Ints, last: Ints) -> Ints:
        """[N, 4] households that bought, cents, cents off and pieces, of products [N]."""
        sums: Ints = self.chain[product, last] - self.chain[product, np.maximum(first - 1, 0)]
        return sums

    def came(self, store: Ints, first: Ints, last: Ints) -> Ints:
        """[N] households in the stores [N], each counted once a week."""
        sums: Ints = self.visits[store, last] - self.visits[store, np.maximum(first - 1, 0)]
        return sums


def read_sales(source: CompleteJourney, displays: Displays, where: Where) -> Sales:
    """What was sold of the products of `displays`, in all stores of the chain."""
    bought = source.transactions().select(
        "household_id",
        "product_id",
        "week",
        store_id=pl.lit(0).cast(pl.Int64) if where == "chain" else pl.col("store_id"),
        cents=_cents("sales_value"),
        off=_cents("retail_disc") + _cents("coupon_match_disc"),
        pieces="quantity",
    )
    known = bought.filter(
        pl.col("product_id").is_in(pl.Series(displays.products).implode())
    ).collect()
    sums = (pl.col("household_id").n_unique(), pl.col("cents").sum())
    here = known.filter(pl.col("store_id").is_in(pl.Series(displays.stores).implode()))
    here = here.group_by("product_id", "store_id", "week").agg(*sums)
    product = np.searchsorted(displays.products, here["product_id"])
    store = np.searchsorted(displays.stores, here["store_id"])
    key = (product * len(displays.stores) + store) * _KEY_WEEKS + here["week"].to_numpy()
    order = np.argsort(key)
    columns = here.select("household_id", "cents").cast(pl.Int64).to_numpy()[order]
    chain = known.group_by("product_id", "week").agg(*sums, pl.col("off", "pieces").sum())
    names = ("household_id", "cents", "off", "pieces")
    visits = bought.select("household_id", "store_id", "week").unique().collect()
    weekly = visits.select("household_id", "week").unique().group_by("week").len()
    everybody = np.zeros(_TABLE_WEEKS, np.int64)
    everybody[weekly["week"].to_numpy()] = weekly["len"].to_numpy()
    inside = visits.filter(pl.col("store_id").is_in(pl.Series(displays.stores).implode()))
    by_store = inside.group_by("store_id", "week").len()
    return Sales(
        stores=len(displays.stores),
        key=key[order],
        here=np.concatenate((np.zeros((1, 2), np.int64), np.cumsum(columns, axis=0))),
        chain=np.stack(
            [_table(displays.products, chain, "product_id", name).cumsum(1) for name in names], -1
        ),
        visits=_table(displays.stores, by_store, "store_id", "len").cumsum(1),
        everybody=everybody.cumsum(),
    )


def _chain(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of all stores as one store, 0."""
    key = ["product_id", "week"]
    parts = [
        rows.group_by(*key, name)
        .len()
        .sort(*key, "len", name, descending=[False, False, True, False])
        .unique(key, keep="first", maintain_order=True)
        .select(*key, name)
        for name in ("display", "mailer")
    ]
    return parts[0].join(parts[1], on=key).with_columns(store_id=pl.lit(0).cast(pl.Int64))


def _table(ids: Ints, counted: pl.DataFrame, by: str, name: str) -> Ints:
    """[ids, 54] of the column `name`, 0 where nothing was counted."""
    table = np.zeros((len(ids), _TABLE_WEEKS), np.int64)
    table[np.searchsorted(ids, counted[by]), counted["week"].to_numpy()] = counted[name].to_numpy()
    return table


def _code(column: str, codes: tuple[str, ...]) -> pl.Expr:
    return pl.col(column).replace_strict(codes, range(len(codes)), return_dtype=pl.UInt8)


def _cents(column: str) -> pl.Expr:
    # Whole cents: sums of floats would depend on the order in which threads add them.
    return (pl.col(column) * 100).round().cast(pl.Int64)


_BEFORE = 4  # weeks ahead of a display that its sales are compared with
_WEEKS = 55  # 0, and 54, in which the ends of week 53 would be seen
_FIRST, _LAST = min(WEEKS), max(WEEKS)
_PRODUCT_COLUMNS = ("department", "category", "type", "brand", "manufacturer", "size")


@dataclass(frozen=True, eq=False)
class Units:
    """Some spells at their landmark weeks. All int64 [N].

    spell: which run of all. product, store: places. start: the first week. at: the landmark week.
    """

    spell: Ints
    product: Ints
    store: Ints
    start: Ints
    at: Ints


class SpellWeeks(NamedTuple):
    """Weeks of some spells, those of spell i from offsets[i] to offsets[i + 1]. All int64, [M].

    week: of the year. bought, cents: households that bought the product there, and what they
    paid. came: households that came to the store.
    """

    week: Ints
    bought: Ints
    cents: Ints
    came: Ints
    offsets: Ints


class DisplayRecord:
    """The displays and sales of Complete Journey, read once for any number of tables of units.

    where: "store", a spell is of a product in a store; "chain", of a product in any. Sums are made
    on first use and kept, so that further landmarks of the same data cost little. R spells.
    """

    def __init__(self, source: CompleteJourney, where: Where) -> None:
        self.source, self.where = source, where
        self.displays = read_displays(source, where)
        self.runs = runs_of(self.displays.unit, self.displays.week)
        #: [R]: places of the runs' products and stores.
        self.product = self.displays.product[self.runs.row].astype(np.int64)
        self.store = self.displays.store[self.runs.row].astype(np.int64)
        self._ends: dict[str, tuple[Ints, Ints]] = {}

    @cached_property
    def products(self) -> pl.DataFrame:
        """What the catalogue says of the products on display, in the order of their places."""
        described = self.source.products().select(
            "product_id",
            "department",
            "brand",
            category="product_category",
            type="product_type",
            manufacturer=pl.col("manufacturer_id").cast(pl.String),
            size="package_size",
        )
        order = pl.LazyFrame({"product_id": self.displays.products})
        return order.join(described, on="product_id", how="left", maintain_order="left").collect()

    @cached_property
    def sales(self) -> Sales:
        """What was sold, and who came."""
        return read_sales(self.source, self.displays, self.where)

    @cached_property
    def _categories(self) -> Ints:
        """[R]: the category of each spell, in whole numbers."""
        codes = self.products["category"].rank("dense").fill_null(0).to_numpy()
        return codes.astype(np.int64)[self.product]

    @cached_property
    def _running(self) -> tuple[npt.NDArray[np.int32], ...]:
        """Rows with another display, and with another mailer, than the row before, [M] up to each
        row; rows in the mailer, [M + 1] before each."""
        displays = self.displays
        mailed = np.concatenate(([0], np.cumsum(displays.mailer > 0))).astype(np.int32)
        return _changes(displays.display), _changes(displays.mailer), mailed

    @cached_property
    def _lengths(self) -> tuple[Ints, Ints]:
        """[R] weeks, 0 where nobody knows; [R + 1, 2] sums of them over the runs before, and how
        many of these are known."""
        length = np.where(self.runs.first > 1, self.runs.length, 0)
        both = np.stack((length, length > 0), axis=1)
        return length, np.concatenate((np.zeros((1, 2), np.int64), np.cumsum(both, axis=0)))

    @cached_property
    def _earlier(self) -> Ints:
        return self.runs.before()

    def units(self, at: npt.ArrayLike, products: Ints | None = None) -> Units:
        """The spells that run in the weeks `at`, one or [R], maybe none. Those that ran when the
        data began are left out. products: places of the only ones."""
        runs = self.runs
        when = np.broadcast_to(np.asarray(at, np.int64), len(runs))
        spell = np.flatnonzero((runs.first > _FIRST) & (runs.first <= when) & (when <= runs.last))
        if products is not None:
            spell = spell[np.isin(self.product[spell], products)]
        return Units(spell, self.product[spell], self.store[spell], runs.first[spell], when[spell])

    def weeks(self, spell: Ints) -> SpellWeeks:
        """The weeks of the runs `spell`, each from its first to its last."""
        displays = self.displays
        rows, offsets = ranges(self.runs.row[spell], self.runs.rows[spell])
        week, store = displays.week[rows].astype(np.int64), displays.store[rows].astype(np.int64)
        unit = displays.product[rows].astype(np.int64) * len(displays.stores) + store
        sold, came = self.sales.in_store(unit, week, week), self.sales.came(store, week, week)
        return SpellWeeks(week, sold[:, 0], sold[:, 1], came, offsets)

    def table(self, units: Units, landmark: float = 0.0) -> SpellTable:
        """What is known of `units` at the close of their landmark weeks. landmark: the week of each
        spell that this is, 0 where it differs. Raises DataError where there are no units."""
        if len(units.spell) == 0:
            raise DataError("no spell of display reaches the landmark", value=landmark)
        columns = self._numbers(units)
        numbers = np.empty((len(units.spell), len(columns)), np.float32)
        for place, column in enumerate(columns.values()):
            numbers[:, place] = column
        names, values, codes = zip(*self._coded(units), strict=True)
        words, offsets, vocabulary = words_of(self.products, units.product)
        last = self.runs.last[units.spell]
        return SpellTable(
            entry=(units.at - units.start).astype(np.float32),
            time=(last - units.start + 1 - CENSORED * (last == _LAST)).astype(np.float32),
            cause=(last < _LAST).astype(np.int8),
            causes=("ended",),
            unit="week",
            numbers=numbers,
            number_names=tuple(columns),
            categories=np.stack(codes, axis=1),
            category_names=names,
            category_values=values,
            words=words,
            offsets=offsets,
            vocabulary=vocabulary,
            clicks=np.asarray(columns["buyers_so_far"], np.float32),
            shown=np.asarray(columns["visits_so_far"], np.float32),
            owner=self.displays.products[units.product].astype(np.int32),
            group=self.displays.stores[units.store].astype(np.int32),
            start=units.start.astype(np.int32),
            landmark=landmark,
        ).check(leaks=landmark > 0)

    def _numbers(self, units: Units) -> dict[str, Values]:
        """Columns [N] by name, in a fixed order."""
        season = 2 * np.pi * (units.start % 52) / 52
        numbers: dict[str, Values] = {
            "weeks_so_far": units.at - units.start + 1,
            "season_sine": np.sin(season),
            "season_cosine": np.cos(season),
            **self._placement(units),
            **self._sold(units),
            **self._ended("product", self.product, units.product, units.at),
        }
        if self.where == "store":
            numbers |= self._ended("store", self.store, units.store, units.at)
            # How long displays of this category, and in this place, last in this store.
            display = self.displays.display[self.runs.row]
            for name, kind in (("category", self._categories), ("display", display)):
                both = self.store * (int(kind.max(initial=0)) + 1) + kind
                numbers |= self._ended(f"{name}_in_store", both, both[units.spell], units.at)
        return numbers | self._earlier_here(units)

    def _coded(self, units: Units) -> Iterator[tuple[str, tuple[str, ...], npt.NDArray[np.int32]]]:
        """(name, values, codes [N]): of the product, the store and the placements."""
        displays, runs = self.displays, self.runs
        for name in _PRODUCT_COLUMNS:
            column = self.products[name]
            values = column.unique().drop_nulls().sort()
            codes = column.replace_strict(
                values, range(len(values)), default=-1, return_dtype=pl.Int32
            )
            yield name, tuple(values.to_list()), codes.to_numpy()[units.product]
        if self.where == "store":
            yield "store", tuple(map(str, displays.stores.tolist())), units.store.astype(np.int32)
        first = runs.row[units.spell]
        here = first + units.at - runs.first[units.spell]
        yield "display", DISPLAYS, displays.display[here].astype(np.int32)
        yield "display_at_start", DISPLAYS, displays.display[first].astype(np.int32)
        yield "mailer", MAILERS, displays.mailer[here].astype(np.int32)

    def _placement(self, units: Units) -> dict[str, Values]:
        """How it was placed so far, and how widely the product and how full the store is."""
        displays, first = self.displays, self.runs.row[units.spell]
        here = first + units.at - self.runs.first[units.spell]
        display, mailer, mailed = self._running
        last_week = units.at - 1
        return {
            "display_changes_so_far": display[here] - display[first],
            "mailer_changes_so_far": mailer[here] - mailer[first],
            "mailer_weeks_so_far": mailed[here + 1] - mailed[first],
            "stores_now": displays.width[units.product, units.at],
            "stores_week_before": displays.width[units.product, last_week],
            "stores_before": displays.width[units.product, units.start - 1],
            "products_in_store": displays.crowd[units.store, units.at],
            "products_in_store_before": displays.crowd[units.store, last_week],
        }

    def _sold(self, units: Units) -> dict[str, Values]:
        """Households that bought, dollars, price and discount, during and before."""
        sales, unit = self.sales, units.product * len(self.displays.stores) + units.store
        spans = {
            "now": (units.at, units.at),
            "so_far": (units.start, units.at),
            "before": (units.start - _BEFORE, units.start - 1),
        }
        numbers: dict[str, Values] = {}
        for name, (begin, end) in spans.items():
            here = sales.in_store(unit, begin, end)
            chain = sales.in_chain(units.product, begin, end)
            numbers[f"buyers_{name}"] = here[:, 0]
            numbers[f"dollars_{name}"] = here[:, 1] / 100
            if self.where == "store":
                # The households of the stores add up to those of the chain, but for the few that
                # bought in two of them.
                numbers[f"buyers_elsewhere_{name}"] = np.maximum(chain[:, 0] - here[:, 0], 0)
                numbers[f"dollars_elsewhere_{name}"] = (chain[:, 1] - here[:, 1]) / 100
            numbers[f"discount_{name}"] = _ratio(chain[:, 2], chain[:, 1] + chain[:, 2])
            numbers[f"price_{name}"] = _ratio(chain[:, 1] + chain[:, 2], 100 * chain[:, 3])
            numbers[f"visits_{name}"] = sales.came(units.store, begin, end)
        return numbers

    def _ended(self, name: str, owner: Values, who: Ints, at: Ints) -> dict[str, Values]:
        """Spells of the same owner whose end was seen by the landmark, and their mean length.

        owner: of each run, [R]. who, at: the owners and landmark weeks of the units [N].
        """
        if name not in self._ends:
            known = self.runs.first > 1  # else nobody knows how long it was
            cell = owner[known] * _WEEKS + self.runs.last[known] + 1
            shape = (int(owner.max(initial=0)) + 1, _WEEKS)
            cells = shape[0] * shape[1]
            count = np.bincount(cell, minlength=cells).reshape(shape)
            lived = np.bincount(cell, self.runs.length[known], cells).astype(np.int64)
            self._ends[name] = count.cumsum(axis=1), lived.reshape(shape).cumsum(axis=1)
        ended, weeks = (each[who, at] for each in self._ends[name])
        return {
            f"ended_of_{name}_before": ended,
            f"mean_weeks_of_{name}_before": _ratio(weeks, ended),
        }

    def _earlier_here(self, units: Units) -> dict[str, Values]:
        """Earlier spells of the same product in the same store: all of them had ended."""
        earlier = self._earlier[units.spell]
        length, upto = self._lengths
        weeks, known = (upto[units.spell] - upto[units.spell - earlier]).T
        previous = np.maximum(units.spell - 1, 0)
        known_before = (earlier > 0) & (length[previous] > 0)
        since = units.start - self.runs.last[previous] - 1
        return {
            "spells_here_before": earlier,
            "mean_weeks_here_before": _ratio(weeks, known),
            "weeks_of_spell_before": np.where(known_before, length[previous], np.nan),
            "weeks_since_spell_before": np.where(earlier > 0, since, np.nan),
        }


def words_of(
    products: pl.DataFrame, product: Ints
) -> tuple[npt.NDArray[np.int32], Ints, tuple[str, ...]]:
    """(word ids [W], offsets [N + 1], vocabulary) of the units' products [N]: the words and numbers
    of category, type and size, in lower case, each once a product.

    products: category, type and size of each product, in the order of the places.
    """
    text = pl.concat_str("category", "type", "size", separator=" ", ignore_nulls=True)
    words = products.select(text.str.to_lowercase().str.extract_all(r"[a-z0-9]+")).to_series()
    return word_ids(words, product)


def _changes(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    return np.concatenate(([0], np.cumsum(codes[1:] != codes[:-1]))).astype(np.int32)


def _ratio(top: Ints, bottom: Ints) -> npt.NDArray[np.float64]:
    """NaN where the bottom is not positive."""
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), np.nan)
