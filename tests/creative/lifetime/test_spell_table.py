"""Units at their landmark: what is checked, how they are split, and that nothing peeks."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError, SchemaError, ValueInvalidError
from adwright.creative.lifetime.spell_table import SpellTable, draw_ids


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


def test_a_table_without_clicks_or_words_can_be_taken_from() -> None:
    assert replace(made(), clicks=None, shown=None).check().take([1, 2]).clicks is None
    none = np.zeros(601, np.int64)
    mute = replace(made(), words=np.empty(0, np.int32), offsets=none, vocabulary=())
    assert mute.check().take([1, 599]).check().offsets.tolist() == [0, 0, 0]


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
        ({"time": np.ones(600)}, "float32"),
        ({"owner": np.zeros(5, np.int32)}, "600"),
        ({"category_values": ()}, "needs its values"),
        ({"clicks": None}, "come together"),
        ({"number_names": ("price", "price")}, "named twice"),
        ({"causes": ()}, "name of a cause"),
    ],
)
def test_a_wrong_shape_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        replace(made(), **change).check()


def test_an_age_does_not_give_lives_away_that_end_next() -> None:
    table = made(4000)
    # All that live on at the close of week 19, and end in the next: the age alone orders their
    # lives, and tells nothing of who ends.
    entry = (19 - table.start).astype(np.float32)
    numbers = np.stack((entry + 1, table.numbers[:, 1]), axis=1)
    running = replace(table, entry=entry, time=entry + 1, numbers=numbers)
    running.take((entry >= 0) & table.ended).check()


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
