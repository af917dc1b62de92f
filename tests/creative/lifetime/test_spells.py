"""Spells of display: what they are, against a loop, and that nothing of them knows the future."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError, SchemaError, ValueInvalidError
from adwright.creative.lifetime.spell_table import SpellTable, draw_ids, runs_of
from adwright.creative.lifetime.spells import (
    DISPLAYS,
    MAILERS,
    DisplayRecord,
    Where,
    read_displays,
    read_sales,
    words_of,
)
from adwright.data.sources.complete_journey import CompleteJourney
from tests.support.data.small_journey import N_PRODUCTS, reached, transactions, write_journey

Spell = tuple[int, int, int, int]


def literal_spells(journey: CompleteJourney, *, chain: bool = False) -> list[Spell]:
    """(product, store, first week, last week), by loops."""
    rows = journey.promotions().collect().filter(pl.col("display_location") != "0")
    shown = {(p, 0 if chain else s, w) for p, s, w in rows.select(rows.columns[:3]).rows()}
    found = []
    for product, store, week in sorted(shown):
        if (product, store, week - 1) not in shown:
            last = week
            while (product, store, last + 1) in shown:
                last += 1
            found.append((product, store, week, last))
    return found


def units_of(table: SpellTable) -> list[tuple[int, int, int, float, float, int]]:
    """(product, store, start, entry, time, cause) of each unit."""
    columns = (table.owner, table.group, table.start, table.entry, table.time, table.cause)
    return list(zip(*(each.tolist() for each in columns), strict=True))


@pytest.mark.parametrize("where", ["store", "chain"])
@pytest.mark.parametrize("landmark", [1, 2])
def test_units_are_the_spells_that_reach_the_landmark(
    small_journey: CompleteJourney, where: Where, landmark: int
) -> None:
    table = reached(small_journey, where, landmark)
    expected = [
        (
            product,
            store,
            first,
            landmark - 1,
            last - first + (1 if last < 53 else 0.5),
            int(last < 53),
        )
        for product, store, first, last in literal_spells(small_journey, chain=where == "chain")
        if first > 1 and last - first + 1 >= landmark
    ]
    assert units_of(table) == expected
    assert table.landmark == landmark
    assert 0 < table.ended.mean() < 1


def test_what_runs_in_a_week_enters_at_the_age_that_it_has(small_journey: CompleteJourney) -> None:
    table = reached(small_journey, as_of=30)
    expected = [
        (product, store, first, 30 - first, last - first + 1, int(last < 53))
        for product, store, first, last in literal_spells(small_journey)
        if 1 < first <= 30 <= last
    ]
    assert units_of(table) == expected
    assert len(set(table.entry)) > 1
    assert table.landmark == 0


@pytest.mark.parametrize("landmark", [1, 2])
def test_features_of_the_first_weeks_are_counted_right(
    small_journey: CompleteJourney, landmark: int
) -> None:
    table = reached(small_journey, landmark=landmark)
    promoted = small_journey.promotions().collect()
    place = {row[:3]: row[3:] for row in promoted.rows()}
    sold = small_journey.transactions().collect().to_dicts()
    lived = literal_spells(small_journey)
    assert len(table) > 100
    for row in range(0, len(table), 7):
        product, store, start = (int(each[row]) for each in (table.owner, table.group, table.start))
        at = start + int(table.entry[row])
        weeks = range(max(start, 1), at + 1)
        (spell,) = (s for s in lived if s[:2] == (product, store) and s[2] <= at <= s[3])
        numbers = dict(zip(table.number_names, table.numbers[row].tolist(), strict=True))
        assert numbers["weeks_so_far"] == at - start + 1
        displays, mailers = zip(*(place[product, store, week] for week in weeks), strict=True)
        assert numbers["display_changes_so_far"] == changes(displays)
        assert numbers["mailer_changes_so_far"] == changes(mailers)
        assert numbers["mailer_weeks_so_far"] == sum(code != "0" for code in mailers)
        assert text_of(table, "display", row) == displays[-1]
        assert text_of(table, "display_at_start", row) == displays[0]
        assert text_of(table, "mailer", row) == mailers[-1]
        assert text_of(table, "store", row) == str(store)
        width = sum(place.get((product, s, at), "0")[0] != "0" for s in (300, 301, 302))
        assert numbers["stores_now"] == width
        assert numbers["products_in_store"] == sum(
            place.get((p, store, at), "0")[0] != "0" for p in range(N_PRODUCTS)
        )
        spans = {"so_far": weeks, "now": [at], "before": range(max(start - 4, 1), start)}
        for name, span in spans.items():
            here = [x for x in sold if x["store_id"] == store and x["week"] in span]
            mine = [x for x in here if x["product_id"] == product]
            assert numbers[f"visits_{name}"] == households(here)
            assert numbers[f"buyers_{name}"] == households(mine)
            assert numbers[f"dollars_{name}"] == pytest.approx(sum(x["sales_value"] for x in mine))
            away = [
                x
                for x in sold
                if x["product_id"] == product and x["week"] in span and x["store_id"] != store
            ]
            assert numbers[f"buyers_elsewhere_{name}"] == households(away)
        gone = [s for s in lived if s[3] < at and s[2] > 1]
        for name, mates in (
            ("product", [s for s in gone if s[0] == product]),
            ("store", [s for s in gone if s[1] == store]),
            ("category_in_store", [s for s in gone if s[1] == store and (s[0] - product) % 2 == 0]),
        ):
            assert numbers[f"ended_of_{name}_before"] == len(mates)
            assert same(numbers[f"mean_weeks_of_{name}_before"], mean(lengths(mates)))
        earlier = [s for s in lived if s[:2] == (product, store) and s[2] < spell[2]]
        assert numbers["spells_here_before"] == len(earlier)
        known = lengths([s for s in earlier if s[2] > 1])
        assert same(numbers["mean_weeks_here_before"], mean(known))
        if earlier:
            assert numbers["weeks_since_spell_before"] == start - earlier[-1][3] - 1


def changes(codes: tuple[str, ...]) -> int:
    return sum(one != other for one, other in pairwise(codes))


def households(rows: list[dict[str, int]]) -> int:
    return len({(x["household_id"], x["week"]) for x in rows})


def lengths(found: list[Spell]) -> list[int]:
    return [last - first + 1 for _, _, first, last in found]


def mean(values: list[int]) -> float:
    return sum(values) / len(values) if values else float("nan")


def same(one: float, other: float) -> bool:
    return one == pytest.approx(other, rel=1e-6, nan_ok=True)


def text_of(table: SpellTable, name: str, row: int) -> str:
    column = table.category_names.index(name)
    return table.category_values[column][table.categories[row, column]]


def everything_else_after(week: int, folder: Path) -> CompleteJourney:
    """The same data up to a week, and other data after it."""
    old, new = transactions(), transactions(seed=5)
    kept = (pl.col("week") <= week, pl.col("week") > week)
    bought = pl.concat([old.filter(kept[0]), new.filter(kept[1])])
    first, second = (
        write_journey(folder / str(seed), bought, seed).promotions().collect() for seed in (0, 5)
    )
    journey = write_journey(folder / "data", bought)
    mixed = pl.concat([first.filter(kept[0]), second.filter(kept[1])])
    mixed.write_parquet(journey.folder / "promotions.parquet")
    return journey


@pytest.fixture(scope="module")
def other_later(tmp_path_factory: pytest.TempPathFactory) -> CompleteJourney:
    """The small journey with other data after week 30."""
    return everything_else_after(30, tmp_path_factory.mktemp("other"))


@pytest.mark.parametrize(
    "config", [{}, {"landmark": 2}, {"where": "chain"}, {"as_of": 30}], ids=str
)
def test_features_are_equal_to_the_bit_whatever_comes_after_the_landmark(
    small_journey: CompleteJourney, other_later: CompleteJourney, config: dict[str, Any]
) -> None:
    before, after = (reached(each, **config) for each in (small_journey, other_later))
    rows = [np.flatnonzero(each.start + each.entry <= 30) for each in (before, after)]
    one, two = before.take(rows[0]), after.take(rows[1])
    assert len(one) >= 5
    for name in ("owner", "group", "start", "entry", "categories", "words", "clicks", "shown"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert one.numbers.tobytes() == two.numbers.tobytes()
    # And the ends, which the features must not know, did change.
    assert (one.time != two.time).any()


def test_weeks_are_those_of_the_units(
    small_journey: CompleteJourney, small_spells: SpellTable
) -> None:
    record = DisplayRecord(small_journey, "store")
    weeks = record.weeks(record.units(record.runs.first).spell)
    # Of who still ran it is not known that it survived its last week.
    assert np.diff(weeks.offsets).tolist() == np.ceil(small_spells.time).tolist()
    # In their first weeks they are what the units know.
    first = weeks.offsets[:-1]
    assert small_spells.clicks is not None
    assert small_spells.shown is not None
    assert weeks.bought[first].tolist() == small_spells.clicks.tolist()
    assert weeks.came[first].tolist() == small_spells.shown.tolist()
    last = small_spells.start + np.ceil(small_spells.time) - 1
    place = int(np.argmax(small_spells.time))
    sold = small_journey.transactions().collect().to_dicts()
    here = [x for x in sold if x["store_id"] == small_spells.group[place]]
    end = [x for x in here if x["week"] == last[place]]
    assert weeks.came[weeks.offsets[place + 1] - 1] == households(end)


def test_what_nothing_reaches_is_said(small_journey: CompleteJourney) -> None:
    with pytest.raises(DataError, match="no spell of display reaches"):
        reached(small_journey, landmark=50)


@pytest.mark.parametrize("gap", [0, 2])
def test_runs_are_those_of_a_loop(gap: int) -> None:
    rng = np.random.default_rng(0)
    rows = sorted({(int(u), int(p)) for u, p in rng.integers(0, 20, (150, 2))})
    expected: list[list[int]] = []
    for place, (unit, period) in enumerate(rows):
        if expected and expected[-1][2] == unit and period - expected[-1][4] <= gap + 1:
            expected[-1][4] = period
            expected[-1][1] += 1
        else:
            expected.append([place, 1, unit, period, period])
    runs = runs_of(*zip(*rows, strict=True), gap=gap)
    found = np.stack([runs.row, runs.rows, runs.unit, runs.first, runs.last], axis=1)
    assert found.tolist() == expected
    assert runs.length.tolist() == [last - first + 1 for *_, first, last in expected]
    units = [unit for _, _, unit, _, _ in expected]
    assert runs.before().tolist() == [units[:n].count(unit) for n, unit in enumerate(units)]
    assert len(runs) == len(expected)


def test_nothing_has_no_runs_and_a_gap_is_not_negative() -> None:
    assert len(runs_of([], [])) == 0
    assert runs_of([], []).before().tolist() == []
    with pytest.raises(ConfigError, match="negative"):
        runs_of([1], [1], gap=-1)


def test_words_stand_once_a_product_and_nothing_has_none() -> None:
    products = pl.DataFrame(
        {
            "category": ["FRUIT - SHELF STABLE", None],
            "type": ["APPLE SAUCE/FRUIT", None],
            "size": ["50 OZ", None],
        }
    )
    ids, offsets, vocabulary = words_of(products, np.array([1, 0, 0]))
    assert vocabulary == ("50", "apple", "fruit", "oz", "sauce", "shelf", "stable")
    assert offsets.tolist() == [0, 0, 7, 14]
    assert ids.tolist() == [*range(7), *range(7)]


def test_a_chain_knows_nothing_of_a_store(
    small_journey: CompleteJourney, small_spells: SpellTable
) -> None:
    store, chain = small_spells, reached(small_journey, "chain")
    assert "store" in store.category_names
    assert "store" not in chain.category_names
    gone = {name for name in store.number_names if "elsewhere" in name or "store_before" in name}
    assert gone - {"products_in_store_before"} == set(store.number_names) - set(chain.number_names)


def test_prices_and_discounts_are_those_of_the_chain(
    small_journey: CompleteJourney, small_spells: SpellTable
) -> None:
    table = small_spells
    rows = small_journey.transactions().collect().to_dicts()
    for place in range(0, len(table), 29):
        product, start = int(table.owner[place]), int(table.start[place])
        mine = [x for x in rows if x["product_id"] == product and x["week"] == start]
        off = sum(x["retail_disc"] + x["coupon_match_disc"] for x in mine)
        full = off + sum(x["sales_value"] for x in mine)
        pieces = sum(x["quantity"] for x in mine)
        numbers = dict(zip(table.number_names, table.numbers[place].tolist(), strict=True))
        nan = float("nan")
        expected = off / full if full else nan, full / pieces if pieces else nan
        for name, value in zip(("discount_now", "price_now"), expected, strict=True):
            np.testing.assert_allclose(numbers[name], value, rtol=1e-5)


def test_the_chain_has_the_placement_of_most_stores(small_journey: CompleteJourney) -> None:
    found = read_displays(small_journey, "chain")
    rows = small_journey.promotions().collect().filter(pl.col("display_location") != "0")
    for place in range(0, len(found.week), 5):
        product, week = found.products[found.product[place]], found.week[place]
        same = rows.filter((pl.col("product_id") == product) & (pl.col("week") == week))
        for column, codes, code in (
            ("display_location", DISPLAYS, found.display[place]),
            ("mailer_location", MAILERS, found.mailer[place]),
        ):
            said = same[column].to_list()
            assert codes[code] == max(sorted(set(said), key=codes.index), key=said.count)
    assert found.stores.tolist() == [0]
    assert len(found.week) == rows.unique(["product_id", "week"]).height


@pytest.mark.parametrize("where", ["store", "chain"])
def test_sales_are_sums_over_inclusive_weeks(small_journey: CompleteJourney, where: Where) -> None:
    displays = read_displays(small_journey, where)
    sales = read_sales(small_journey, displays, where)
    bought = small_journey.transactions().collect()
    if where == "chain":
        bought = bought.with_columns(store_id=pl.lit(0).cast(pl.Int64))
    for product, store, first, last in ((3, 0, 5, 9), (0, 0, 1, 53), (13, 0, 20, 20), (2, 0, 0, 0)):
        weeks = bought.filter(pl.col("week").is_between(first, last))
        ids = displays.products[product], displays.stores[store]
        chain = weeks.filter(pl.col("product_id") == ids[0])
        here = chain.filter(pl.col("store_id") == ids[1])
        came = weeks.filter(pl.col("store_id") == ids[1])
        unit, begin, end = (
            np.array([each]) for each in (product * len(displays.stores) + store, first, last)
        )
        dollars = round(100 * here["sales_value"].sum())
        assert sales.in_store(unit, begin, end).tolist() == [[people(here), dollars]]
        found = sales.in_chain(np.array([product]), begin, end)[0].tolist()
        off = chain["retail_disc"].sum() + chain["coupon_match_disc"].sum()
        dollars = round(100 * chain["sales_value"].sum())
        assert found == [people(chain), dollars, round(100 * off), chain["quantity"].sum()]
        assert sales.came(np.array([store]), begin, end).tolist() == [people(came)]


def people(rows: pl.DataFrame) -> int:
    return rows.unique(["household_id", "week"]).height


def made(units: int = 600, seed: int = 0) -> SpellTable:
    """Weeks of units that start in 1 to 20 and are watched to the end of week 20."""
    rng = np.random.default_rng(seed)
    start = rng.integers(1, 21, units).astype(np.int32)
    lived = rng.geometric(0.3, units)
    cause = np.where(start + lived < 21, rng.integers(1, 3, units), 0).astype(np.int8)
    lengths = rng.integers(0, 4, units)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return SpellTable(
        entry=np.zeros(units, np.float32),
        time=np.where(cause > 0, lived, 20.5 - start).astype(np.float32),
        cause=cause,
        causes=("cut", "worn"),
        unit="week",
        numbers=rng.normal(size=(units, 2)).astype(np.float32),
        number_names=("sales_so_far", "price"),
        categories=rng.integers(-1, 2, (units, 1)).astype(np.int32),
        category_names=("brand",),
        category_values=(("National", "Private"),),
        words=rng.integers(0, 3, offsets[-1]).astype(np.int32),
        offsets=offsets,
        vocabulary=("tea", "rice", "milk"),
        clicks=rng.integers(0, 3, units).astype(np.float32),
        shown=rng.integers(3, 9, units).astype(np.float32),
        owner=rng.integers(0, 40, units).astype(np.int32),
        group=rng.integers(0, 4, units).astype(np.int32),
        start=start,
        landmark=1,
    )


def unit(table: SpellTable, row: int) -> dict[str, Any]:
    """All that a table says of one unit."""
    found = {
        each.name: np.asarray(value[row]).tolist()
        for each in fields(table)
        if each.name not in ("words", "offsets")
        if isinstance(value := getattr(table, each.name), np.ndarray)
    }
    return {**found, "words": table.words[slice(*table.offsets[row : row + 2])].tolist()}


def test_taken_units_bring_all_of_theirs() -> None:
    table = made()
    rows = [5, 5, 0, 599]
    taken = table.take(rows).check()
    assert [unit(taken, place) for place in range(4)] == [unit(table, row) for row in rows]
    chosen = np.arange(600) % 2 == 0
    assert unit(table.take(chosen), 3) == unit(table, 6)
    with pytest.raises(DataError, match="2 truth values for 600 units"):
        table.take(np.array([True, False]))


def test_a_table_knows_no_end_that_came_after_it() -> None:
    table = made()
    for closed in (11, 16):
        seen = table.seen_before(closed)
        rows = np.flatnonzero(table.start < closed)
        assert len(seen) == len(rows)
        for place, row in enumerate(rows):
            # Week start + lived is the first without it: its absence is seen there.
            lived, gone = table.time[row], table.start[row] + table.time[row]
            known = table.cause[row] if gone < closed else 0
            assert seen.cause[place] == known
            assert seen.time[place] == (
                lived if known else min(lived, closed - table.start[row] - 0.5)
            )


def test_a_unit_whose_landmark_had_not_come_is_left_out() -> None:
    table = made()
    older = replace(table.take(table.time > 2.25), landmark=3)
    older = replace(older, entry=np.full(len(older), 2, np.float32)).check()
    seen = older.seen_before(11)
    # In week start + 2 it is on display for the third time: known where that is before week 11.
    assert int(seen.start.max()) == 8
    assert seen.check().time.min() == 2.5


def test_owners_are_drawn_alike_of_any_table() -> None:
    drawn = draw_ids(np.arange(40), 0.3, 7)
    assert 3 <= len(drawn) <= 22
    assert draw_ids(np.arange(0, 40, 2), 0.3, 7).tolist() == drawn[drawn % 2 == 0].tolist()
    assert draw_ids(np.arange(40), 0.3, 8).tolist() != drawn.tolist()
    with pytest.raises(ConfigError, match="between 0 and 1"):
        draw_ids(np.arange(40), 1.0, 0)


@pytest.mark.parametrize(
    "name", ["total_sales", "lifetime", "sales_lifetime", "end_week", "duration", "time"]
)
def test_a_feature_named_like_a_total_is_refused(name: str) -> None:
    table = made()
    with pytest.raises(DataError, match="only a finished life"):
        replace(table, number_names=("sales_so_far", name)).check()
    with pytest.raises(DataError, match="only a finished life"):
        replace(table, category_names=(name,)).check()


@pytest.mark.parametrize("disguise", [lambda t: t, lambda t: -t, np.log1p, lambda t: t + 0.2])
def test_a_lifetime_among_the_features_is_found_under_any_name(disguise: Any) -> None:
    table = made()
    numbers = table.numbers.copy()
    numbers[:, 1] = disguise(table.time)
    with pytest.raises(DataError, match=r"orders 100.0% of the lives.*column price"):
        replace(table, numbers=numbers).check()


def test_an_honest_number_orders_half_of_the_lives() -> None:
    table = made(6000)
    orders = table.orders_of_lives()
    assert set(orders) == set(table.number_names)
    assert max(orders.values()) < 0.55
    assert made(100).take(np.arange(20)).orders_of_lives() == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"entry": np.full(600, -1, np.float32)}, "entry is negative"),
        ({"time": np.zeros(600, np.float32)}, "after its entry"),
        ({"cause": np.full(600, 3, np.int8)}, "no name"),
        ({"numbers": np.full((600, 2), np.inf, np.float32)}, "infinite"),
        ({"categories": np.full((600, 1), 2, np.int32)}, "none of its column's values"),
        ({"offsets": np.zeros(601, np.int64)}, "offsets must run"),
        ({"vocabulary": ("tea",)}, "not in the vocabulary"),
        ({"clicks": np.full(600, np.nan, np.float32)}, "clicks are negative or missing"),
        ({"shown": np.full(600, -1, np.float32)}, "shown is negative"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueInvalidError, match=said):
        replace(made(), **change).check()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"category_values": ()}, "needs its values"),
        ({"clicks": None}, "come together"),
        ({"number_names": ("price", "price")}, "named twice"),
        ({"causes": ()}, "name of a cause"),
    ],
)
def test_a_wrong_shape_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        replace(made(), **change).check()


def test_tables_are_put_below_one_another_and_their_values_united() -> None:
    one, other = made(20), made(30, seed=1)
    other = replace(
        other,
        category_values=(("Local", "National"),),
        vocabulary=("milk", "tea", "jam"),
        landmark=2,
    )
    both = SpellTable.concat([one, other]).check()
    assert both.landmark == 0
    assert both.category_values == (("National", "Private", "Local"),)
    assert both.vocabulary == ("tea", "rice", "milk", "jam")
    for table, shift in ((one, 0), (other, 20)):
        for row in range(len(table)):
            assert said(both, shift + row) == said(table, row)
    alone = SpellTable.concat([one])
    assert [unit(alone, row) for row in range(20)] == [unit(one, row) for row in range(20)]


def said(table: SpellTable, row: int) -> dict[str, Any]:
    """As `unit`, in texts."""
    found = unit(table, row)
    columns = zip(found["categories"], table.category_values, strict=True)
    texts = [values[code] if code >= 0 else None for code, values in columns]
    return {**found, "categories": texts, "words": [table.vocabulary[w] for w in found["words"]]}


@pytest.mark.parametrize(
    ("changed", "column"),
    [
        ({"causes": ("one", "two")}, "causes"),
        ({"unit": "day"}, "unit"),
        ({"number_names": ("sales_so_far", "size")}, "number_names"),
        ({"category_names": ("maker",)}, "category_names"),
        ({"clicks": None, "shown": None}, "clicks"),
    ],
)
def test_tables_of_different_kinds_are_not_put_together(
    changed: dict[str, Any], column: str
) -> None:
    with pytest.raises(SchemaError, match=column):
        SpellTable.concat([made(5), replace(made(5), **changed)])
    with pytest.raises(DataError, match="no table"):
        SpellTable.concat([])


def test_campaigns_that_end_one_after_another_are_no_leak_in_a_table_of_one_date() -> None:
    table = made(2000)
    campaign = table.numbers[:, 1] > 0
    numbers = np.stack((table.numbers[:, 0], campaign), axis=1).astype(np.float32)
    time = np.where(campaign, 1, 2).astype(np.float32)
    ended = np.ones(2000, np.int8)
    leaky = replace(table, numbers=numbers, time=time, cause=ended)
    with pytest.raises(DataError, match="alone orders"):
        leaky.check()
    assert leaky.check(leaks=False) is leaky
