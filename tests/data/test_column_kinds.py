"""Codes are categories, quantities are numbers, and what decided is said."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.data.column_kinds import (
    ColumnKind,
    FoundColumn,
    check_column_kinds,
    find_kinds,
    with_kinds,
)
from adwright.data.history_kinds import (
    Again,
    again_in_words,
    check_history,
    final_kinds,
    kinds_of,
    learn_again,
    only_history,
)
from adwright.data.schema import validate_creatives, validate_events
from adwright.data.stops import Stops, stopped

N = 200
RANDOM = random.Random(0)
COLUMNS: dict[str, tuple[list[object], ColumnKind, str]] = {
    "category": ([n % 40 * 7 for n in range(N)], "category", "its name says category"),
    "shop_id": (list(range(N)), "category", "its name says id"),
    "numberOfCategories": ([n % 5 for n in range(N)], "number", "its name says number"),
    "year": ([1990 + n % 20 for n in range(N)], "number", "its name says year"),
    "dense": ([n % 20 for n in range(N)], "category", "whole numbers that repeat"),
    "gaps": ([n % 20 * 50 for n in range(N)], "number", "values with gaps between them"),
    "rated": (
        *([1] * 60 + [2] * 50 + [3] * 40 + [4] * 30 + [5] * 10 + [12] * 8 + [30] * 2,),
        *("number", "values with gaps between them"),
    ),
    "cents": ([RANDOM.randint(1, 99) * 7 + n for n in range(N)], "number", "seldom repeat"),
    "fraction": ([n % 7 / 2 for n in range(N)], "number", "fractions"),
    "whole": ([float(n % 5) if n else None for n in range(N)], "category", "repeat"),
    "flag": ([n % 2 == 0 for n in range(N)], "category", "true or false"),
    "tags": ([["a"], ["b", "c"]] * 100, "list", "lists"),
    "genres": (["a|b" if n % 2 else "b|c|d" for n in range(N)], "list", "parts between |"),
    "title": ([f"The film {n}" for n in range(N)], "text", "words, most of them once"),
    "brand": (["own", "other brand"] * 100, "category", "text"),
    "digits": ([str(n % 9) for n in range(N)], "category", "whole numbers that repeat"),
    "zeros": ([f"0{n}" for n in range(N)], "category", "zeros in front"),
    "amount": ([str(n / 4) for n in range(N)], "number", "fractions"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_rule_of_each_kind_of_column(name: str) -> None:
    values, kind, why = COLUMNS[name]
    found = find_kinds(pl.DataFrame({"item_id": range(N), name: values}))
    assert list(found) == [name]
    assert (found[name].kind, found[name].odd) == (kind, "")
    assert why in found[name].why


def test_one_text_does_not_make_categories_of_prices() -> None:
    prices = ["12,50 €", *(str(n / 2) for n in range(199))]
    table = pl.DataFrame({"price": prices, "sku": [f"{n}" if n % 3 else "A1" for n in range(200)]})
    found = find_kinds(table)
    assert "price: 1 cell is no number, the first in row 0: '12,50 €'" in found["price"].odd
    assert "--column-kinds price=category" in found["price"].odd
    # Where a third is no number, it is no column of numbers.
    assert (found["sku"].kind, found["sku"].odd) == ("category", "")
    made = with_kinds(table, found)
    assert made["price"].to_list() == [None, *(n / 2 for n in range(199))]
    many = find_kinds(table.with_columns(price=pl.Series(["x", "y", *prices[2:]])))
    assert "2 cells are no number" in many["price"].odd


def test_prices_below_nothing_are_told() -> None:
    table = pl.DataFrame({"price": [1.5, -2.5, None], "text_price": ["1.5", "-1", "-2"]})
    found = find_kinds(table.with_columns(change=pl.lit(-1.5) + pl.int_range(3)))
    assert found["price"].odd == "price: 1 cell is negative, the first in row 1: -2.5"
    assert found["text_price"].odd.startswith("text_price: 2 cells are negative")
    assert found["change"].odd == ""


def test_tables_get_the_types_of_their_kinds() -> None:
    table = pl.DataFrame({name: values for name, (values, _, _) in COLUMNS.items()})
    made = with_kinds(table, find_kinds(table))
    texts = ("category", "dense", "whole", "flag", "title", "brand", "digits", "zeros")
    assert {made.schema[name] for name in texts} == {pl.String()}
    assert made["whole"][1] == "1"
    assert made["genres"][:2].to_list() == [["b", "c", "d"], ["a", "b"]]
    assert made.schema["amount"] == pl.Float64
    assert made.schema["year"] == pl.Int64
    # And from there nothing changes.
    assert with_kinds(made, find_kinds(made)).equals(made)


def test_what_a_person_says_wins() -> None:
    table = pl.DataFrame({"year": [1990, 1991] * 9, "size": ["1", "2"] * 9, "words": ["a b"] * 18})
    table = table.with_columns(tags=pl.lit(["x"]))
    said: dict[str, ColumnKind] = {"year": "category", "size": "number", "words": "list"}
    said["tags"] = "none"
    found = find_kinds(table, said)
    assert {name: one.kind for name, one in found.items()} == said
    assert {one.why for one in found.values()} == {"as you say"}
    made = with_kinds(table, found)
    assert made.row(0) == ("1990", 1, ["a", "b"], ["x"])


def test_what_cannot_be_is_refused_by_its_cell() -> None:
    table = pl.DataFrame({"price": ["1", "free", "x"], "tags": [["a"]] * 3})
    with pytest.raises(ValueInvalidError, match=r"2 cells .*f\.csv, row 1, .*'free'"):
        with_kinds(table, find_kinds(table, {"price": "number"}), file="f.csv")
    with pytest.raises(SchemaError, match=r"tags cannot be a number: it holds List"):
        find_kinds(table, {"tags": "number"})


def test_kinds_that_there_are_not() -> None:
    with pytest.raises(
        ConfigError, match=r"price cannot be 'money' \[settings\].*category, number"
    ):
        check_column_kinds({"year": "number", "price": "money"}, "settings")
    with pytest.raises(ConfigError, match="kind cannot be 'money'"):
        FoundColumn("money", 1, "")  # type: ignore[arg-type]


EVENTS = pl.DataFrame(
    {"item_id": [1, 2, 3, 4], "kind": ["impression", "click", None, "purchase"]},
    schema_overrides={"kind": pl.Categorical},
)


def test_only_the_kinds_that_count_are_history() -> None:
    assert only_history(EVENTS, ("click", "purchase"))["item_id"].to_list() == [2, 4]
    assert only_history(EVENTS, ("view",)).height == 0
    assert only_history(EVENTS.drop("kind"), ("click",)).height == 4


def test_a_log_without_history_is_refused_with_its_kinds() -> None:
    found = kinds_of(EVENTS)
    assert found == {"impression", "click", "purchase"}
    check_history(found, ("click", "view"))
    words = r"kinds that count are view, rating.*e\.csv.*click, impression, purchase"
    with pytest.raises(ValueInvalidError, match=words):
        check_history(found, ("view", "rating"), file="e.csv")


def happened(*told: str) -> pl.DataFrame:
    """Events of "user item kind", one a second."""
    rows = [(*one.split(), second) for second, one in enumerate(told)]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "kind", "time"], orient="row")


def test_whether_items_come_again_is_learned_by_kind() -> None:
    shop = [
        f"u{n} i{n % 7 + step} {kind}"
        for n in range(40)
        for step in range(3)
        for kind in ("view", "purchase")
    ]
    found = learn_again(happened(*shop))
    # Of 80 later purchases none is of an item bought before, each of the 120 was viewed before.
    assert found["purchase"].taken == 80
    assert found["purchase"].share == 0
    assert 0.1 < found["purchase"].chance < 0.3
    assert found["view"] == Again(120, 1.0, found["view"].chance)
    assert final_kinds(found) == ("purchase",)
    assert (
        "after a purchase the item leaves the user's list: 0.0% of 80" in again_in_words(found)[0]
    )
    assert (
        "after a view the item stays on the user's list: 100.0% of 120" in again_in_words(found)[1]
    )
    # Where the same is bought again and again, nothing leaves the list.
    milk = learn_again(happened(*(f"u{n % 5} i{n % 5} purchase" for n in range(60))))
    assert milk["purchase"].share == 1
    assert final_kinds(milk) == ()
    # Far more rarely than by chance is not usual, even at 5%; as often as by chance is.
    assert not Again(100, 0.05, 0.2).usual
    assert Again(100, 0.19, 0.2).usual


@pytest.mark.parametrize(
    ("again", "final"),
    [
        ({"click": Again(90, 0.0, 0.1)}, ("click", "purchase", "conversion", "rating")),
        ({"click": Again(0, 0.0, 0.0), "purchase": Again(0, 0.0, 0.0)}, ("purchase",)),
        ({"purchase": Again(90, 0.3, 0.1)}, ()),
        ({}, ()),
    ],
)
def test_kinds_that_the_log_lacks(again: dict[str, Again], final: tuple[str, ...]) -> None:
    assert final_kinds(again) == final


START = datetime(2026, 5, 1, tzinfo=UTC)
CREATIVES = validate_creatives(
    pl.DataFrame({"creative_id": ["a1", "a2", "b1"], "item_id": ["a", "a", "b"]})
)
Row = dict[str, Any]


def stop(
    item: str, creative: str | None = None, *, hour: int = 0, event_id: str = "e1", **more: Any
) -> Row:
    row = {"event_id": event_id, "time": START + timedelta(hours=hour), "request_id": "r"}
    ids = {"user_id": "anna", "kind": "stop", "item_id": item, "creative_id": creative}
    return {**row, **ids, "value": None, "context": None, **more}


def table(rows: Sequence[Row]) -> pl.DataFrame:
    types = {"creative_id": pl.String, "value": pl.Float64, "context": pl.String}
    frame = validate_events(pl.DataFrame(list(rows) or [stop("x")], schema_overrides=types))
    return frame if rows else frame.clear()


def at(hour: int, rows: Sequence[Row], creatives: pl.DataFrame | None = CREATIVES) -> Stops:
    return stopped(table(rows), creatives, START + timedelta(hours=hour))


def literal(
    rows: Sequence[Row], creatives: Mapping[str, Sequence[str]], moment: datetime
) -> tuple[set[str], set[str], set[str]]:
    """Items, creatives and the events of stops that stand, word for word."""
    standing: list[Row] = []
    for row in sorted(rows, key=lambda row: row["time"]):
        if row["kind"] != "stop" or row["time"] > moment:
            continue
        if row["value"] is None or row["value"] != 0:
            standing.append(row)
            continue
        said = json.loads(row["context"] or "{}")
        for one in list(standing):
            same = all(one[name] == row[name] for name in ("item_id", "creative_id"))
            whose = one["user_id"] == row["user_id"]
            if "list" in said:
                whose = json.loads(one["context"] or "{}").get("list") == said["list"]
            if "undoes" in said:
                whose = one["event_id"] in said["undoes"]
            if same and whose:
                standing.remove(one)
    pairs = {(row["item_id"], row["creative_id"]) for row in standing}
    items = {item for item, creative in pairs if creative is None}
    for item, own in creatives.items():
        if own and all((item, one) in pairs for one in own):
            items.add(item)
    made = {creative for _, creative in pairs if creative is not None}
    return items, made, {row["event_id"] for row in standing}


def test_an_item_is_stopped_and_the_undoing_takes_it_back() -> None:
    rows = [stop("b", hour=1), stop("b", hour=3, event_id="e2", value=0.0)]
    assert [sorted(at(hour, rows).items) for hour in range(4)] == [[], ["b"], ["b"], []]
    again = [*rows, stop("b", hour=5, event_id="e3", value=1.0)]
    assert at(5, again).items == stopped(table(again), CREATIVES).items == {"b"}


@pytest.mark.parametrize(
    ("user_id", "context", "left"),
    [
        ("anna", None, ["court", "plan"]),  # its own alone
        ("someone", None, ["anna", "court", "plan"]),
        ("anna", {"list": "p1"}, ["anna", "court"]),  # a list's, whoever takes it back
        ("anna", {"undoes": ["court"]}, ["anna", "plan"]),
        ("anna", {"undoes": ["plan", "anna"], "list": "p2"}, ["court"]),
        ("anna", {"undoes": ["other"]}, ["anna", "court", "plan"]),  # of another item
        ("anna", {"undoes": 7}, ["anna", "court", "plan"]),
    ],
)
def test_an_item_stays_stopped_while_a_stop_stands(
    user_id: str, context: Row | None, left: Sequence[str]
) -> None:
    rows = [
        stop("b", event_id="anna"),
        stop("b", event_id="court", user_id="legal", context='{"reason": "court order"}'),
        stop("b", event_id="plan", user_id="retire", context='{"list": "p1"}'),
        stop("a", event_id="other"),
    ]
    said = None if context is None else json.dumps(context)
    rows.append(stop("b", hour=1, event_id="u", user_id=user_id, value=0.0, context=said))
    found = at(1, rows)
    assert found.table.filter(item_id="b")["event_id"].sort().to_list() == left
    assert "b" in found.items


def test_at_one_instant_the_order_is_that_of_the_rows_and_an_event_id_counts_once() -> None:
    rows = [stop("b", event_id="e2"), stop("b", event_id="e10", value=0.0)]
    assert at(0, rows).items == frozenset()
    assert at(0, rows[::-1]).items == {"b"}
    again = table([*rows, stop("b", event_id="e3")]).with_columns(
        event_id=pl.col("event_id").replace("e3", "e2")
    )
    assert stopped(again, None).items == frozenset()


def test_an_item_falls_with_the_last_of_its_creatives_and_no_sooner() -> None:
    one, two = stop("a", "a1"), stop("a", "a2", hour=1, event_id="e2")
    assert (at(0, [one, two]).items, at(0, [one, two]).creatives) == (frozenset(), {"a1"})
    assert (at(1, [one, two]).items, at(1, [one, two]).creatives) == ({"a"}, {"a1", "a2"})
    undone = [one, two, stop("a", "a1", hour=2, event_id="e3", value=0.0)]
    assert (at(2, undone).items, at(2, undone).creatives) == (frozenset(), {"a2"})
    # Without a catalogue nobody knows which creatives an item has left.
    assert at(1, [one, two], None).items == frozenset()
    # A creative of another item, or one that the catalogue lacks, brings no item down.
    assert at(0, [stop("b", "a1"), stop("c", "c1", event_id="e2")]).items == frozenset()


def test_the_stop_of_an_item_and_that_of_a_creative_are_taken_back_apart() -> None:
    rows = [stop("b"), stop("b", "b1", event_id="e2"), stop("b", hour=1, event_id="e3", value=0.0)]
    found = at(1, rows)
    assert (found.items, found.creatives) == ({"b"}, {"b1"})
    both = [*rows, stop("b", "b1", hour=2, event_id="e4", value=0.0)]
    assert (at(2, both).items, at(2, both).creatives) == (frozenset(), frozenset())


def test_the_table_says_who_when_and_why() -> None:
    why = '{"reason": "wear-out", "days_left": 2}'
    rows = [
        stop("b", "b1", event_id="e2", user_id="rule:wear-out", context=why),
        stop("b", hour=1, event_id="e1"),
        stop("b", kind="click", event_id="e3"),
    ]
    assert at(1, rows).table.rows() == [
        ("b", None, START + timedelta(hours=1), "anna", "e1", None),
        ("b", "b1", START, "rule:wear-out", "e2", why),
    ]


_rows = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([None, "a1", "a2", "b1"]),
        st.integers(0, 4),
        st.sampled_from([None, 0.0, 1.0, -0.0, 2.5]),
        st.sampled_from(["stop", "stop", "stop", "click"]),
        st.sampled_from(["anna", "ben"]),
        st.sampled_from([None, '{"list": "p"}', '{"undoes": ["e0", "e2"]}', "{}"]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(rows=_rows, hour=st.integers(-1, 5))
def test_it_is_what_a_literal_loop_finds(rows: list[Any], hour: int) -> None:
    names = ("hour", "value", "kind", "user_id", "context")
    events = [
        stop(item, creative, event_id=f"e{n}", **dict(zip(names, rest, strict=True)))
        for n, (item, creative, *rest) in enumerate(rows)
    ]
    found = at(hour, events)
    moment = START + timedelta(hours=hour)
    items, creatives, counting = literal(events, {"a": ["a1", "a2"], "b": ["b1"]}, moment)
    assert (found.items, found.creatives) == (items, creatives)
    assert set(found.table["event_id"]) == counting
