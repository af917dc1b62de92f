"""Complete Journey as arrays by week: what was on display, sold and visited.

Everything is a whole number (cents, households), and sums up to a week are differences of running
sums of whole numbers. So what happened later cannot change a bit of them.

Letters: P products that were ever on display, S stores, M rows of display, 54 weeks (0 is empty).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from adwright.core.progress import progress
from adwright.data.sources.complete_journey import WEEKS, CompleteJourney

__all__ = ["DISPLAYS", "MAILERS", "Displays", "Sales", "Where", "read_displays", "read_sales"]

Where = Literal["store", "chain"]
Ints = npt.NDArray[np.int64]

#: Codes of the two placements; the first of a mailer is "not in the mailer".
DISPLAYS = tuple("123456789A")
MAILERS = tuple("0ACDFHJLPXZ")
_WEEKS = max(WEEKS) + 1
_KEY_WEEKS = 64


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
    everybody = np.zeros(_WEEKS, np.int64)
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
    table = np.zeros((len(ids), _WEEKS), np.int64)
    table[np.searchsorted(ids, counted[by]), counted["week"].to_numpy()] = counted[name].to_numpy()
    return table


def _code(column: str, codes: tuple[str, ...]) -> pl.Expr:
    return pl.col(column).replace_strict(codes, range(len(codes)), return_dtype=pl.UInt8)


def _cents(column: str) -> pl.Expr:
    # Whole cents: sums of floats would depend on the order in which threads add them.
    return (pl.col(column) * 100).round().cast(pl.Int64)
