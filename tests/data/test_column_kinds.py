"""Codes are categories, quantities are numbers, and what decided is said."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.core.hashing import sha256_bytes
from adwright.data.column_kinds import ColumnKind, check_column_kinds, find_kinds, with_kinds
from adwright.data.creatives import CREATIVES as creatives_CREATIVES
from adwright.data.creatives import (
    MOVES,
    SLOTS,
    Creative,
    CreativeState,
    catalogue_rows,
    creatives_table,
    from_table,
    require_move,
)
from adwright.data.features import Feature, FeatureSpec, ItemTable, Vocabulary, fit_spec
from adwright.data.history_kinds import (
    Again,
    again_in_words,
    check_history,
    final_kinds,
    kinds_of,
    learn_again,
    only_history,
)
from adwright.data.schema import CREATIVE_SCHEMA, validate_creatives, validate_events
from adwright.data.sources.tables import read_creatives, write_creatives
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


IMAGE = sha256_bytes(b"a picture")
BREAD = Creative(headline="Bread", body="Baked at six.", brand="Mill", image_hash=IMAGE)


def test_the_id_is_that_of_the_content() -> None:
    again = Creative(headline="Bread", body="Baked at six.", brand="Mill", image_hash=IMAGE)
    assert again.creative_id == BREAD.creative_id
    assert len(BREAD.creative_id) == 32
    for slot in SLOTS:
        assert Creative(**{slot: "another"}).creative_id != Creative().creative_id
    # Words in another slot are another ad.
    assert Creative(headline="x").creative_id != Creative(body="x").creative_id
    for name, value in (("item_id", "i"), ("maker", "m"), ("image_hash", IMAGE)):
        assert Creative(**{name: value}).creative_id != Creative().creative_id
    assert Creative(campaign_id="c", checks_passed=("spelling",)).creative_id == (
        Creative().creative_id
    )
    assert Creative(creative_id="mine").creative_id == "mine"


def test_it_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        BREAD.headline = "Rolls"  # type: ignore[misc]


def test_an_edit_is_a_new_creative_with_its_parent() -> None:
    old = replace(BREAD, checks_passed=("claims",), item_id="i1", campaign_id="c1")
    new = old.edited("a shorter body", {"body": "At six"}, maker="m1")
    assert (new.parent, new.edit, new.maker) == (old.creative_id, "a shorter body", "m1")
    assert (new.headline, new.body, new.image_hash) == ("Bread", "At six", IMAGE)
    assert (new.item_id, new.campaign_id, new.checks_passed) == ("i1", "c1", ())
    assert new.creative_id != old.creative_id
    assert old.edited("no picture", {"image_hash": ""}).image_hash == ""
    for slot in SLOTS:
        assert getattr(old.edited("words", {slot: "other"}), slot) == "other"
    # Back to the same words: what is shown is as before, where it comes from is not.
    assert new.edited("as it was", {"body": "Baked at six."}).creative_id != old.creative_id


@pytest.mark.parametrize(
    ("make", "column"),
    [
        (lambda: Creative(creative_id="nan"), "creative_id"),
        (lambda: Creative(item_id=" "), "item_id"),
        (lambda: Creative(parent="a\nb"), "parent"),
        (lambda: Creative(campaign_id="x" * 501), "campaign_id"),
        (lambda: Creative(image_hash="d41d8cd98f00b204e9800998ecf8427e"), "image_hash"),
        (lambda: Creative(edit="shorter"), "edit"),
        (lambda: Creative(body="\ud800"), "body"),
        (lambda: BREAD.edited("nothing", {}), "edit"),
        (lambda: BREAD.edited("colour", {"state": "live"}), "state"),
        (lambda: BREAD.edited("same", {"headline": "Bread"}), "edit"),
        (lambda: BREAD.edited(" ", {"body": "x"}), "edit"),
    ],
)
def test_what_is_none_is_refused(make: object, column: str) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        make()  # type: ignore[operator]
    assert caught.value.column == column
    assert caught.value.hint


def test_one_id_names_one_creative() -> None:
    assert creatives_table([BREAD, BREAD]).num_rows == 1
    with pytest.raises(ValueInvalidError, match="two creatives have one id"):
        creatives_table([BREAD, replace(BREAD, body="other", creative_id=BREAD.creative_id)])
    with pytest.raises(ValueInvalidError, match="unique"):
        from_table(pl.DataFrame({"creative_id": ["a", "a"]}))


@pytest.mark.parametrize(
    ("columns", "error", "part"),
    [
        ({"headline": ["x"]}, SchemaError, "creative_id"),
        ({"creative_id": ["a"], "heading": ["x"]}, SchemaError, "headline"),
        ({"creative_id": ["a"], "body": [1]}, SchemaError, "text"),
        ({"creative_id": ["a"], "checks_passed": ["x"]}, SchemaError, "list"),
        ({"creative_id": ["a", None]}, ValueInvalidError, "row 1"),
        ({"creative_id": ["a"], "state": ["sold"]}, ValueInvalidError, "sold"),
        ({"creative_id": ["a", "b"], "image_hash": [None, "f00"]}, ValueInvalidError, "row 1"),
    ],
)
def test_other_tables_are_refused(
    columns: dict[str, list[object]], error: type[Exception], part: str
) -> None:
    with pytest.raises(error, match=part):
        from_table(pl.DataFrame(columns), file="c.parquet")


def test_the_schema_extends_that_of_the_catalogue() -> None:
    shared = set(creatives_CREATIVES.names) & set(CREATIVE_SCHEMA.names)
    assert shared == {"creative_id", "item_id", "campaign_id", "image_hash"}
    assert all(
        creatives_CREATIVES.field(name).type == CREATIVE_SCHEMA.field(name).type for name in shared
    )
    assert isinstance(creatives_table([BREAD]), pa.Table)


def test_tables_of_earlier_releases_are_read() -> None:
    old = pl.DataFrame({"creative_id": ["a"], "headline": ["Bread"], "model_id": ["smollm2"]})
    (one,) = from_table(old)
    assert (one.maker, one.state, one.landing) == ("smollm2", "", "")
    # Ids are what they were: a hash of the content under the names that it had.
    assert Creative(headline="Bread", maker="m").creative_id == "fef7dd7c6c4d8fec64b9e76a613112bf"


def test_a_model_is_named_and_leaves_the_id_as_it_is() -> None:
    made = [Creative(headline="Bread", maker=maker) for maker in ("m", "model:m", "person:m")]
    assert len({one.creative_id for one in made}) == 1
    assert [one.label for one in made] == ["", "AI", ""]


def test_a_life_goes_through_review_and_ends() -> None:
    assert set(MOVES) == set(get_args(CreativeState))
    assert {old for old, after in MOVES.items() if "live" in after} == {"approved", "paused"}
    assert {old for old, after in MOVES.items() if "approved" in after} == {"in review"}
    require_move("c1", "approved", "live")
    with pytest.raises(ValueInvalidError, match="'draft' cannot become 'live'") as caught:
        require_move("c1", "draft", "live")
    assert caught.value.hint == "it may become in review or retired"
    with pytest.raises(ValueInvalidError, match="a retired one stays so"):
        require_move("c1", "retired", "draft")


@pytest.mark.parametrize("name", ["ads.parquet", "ads.csv"])
def test_a_catalogue_takes_written_creatives(tmp_path: Path, name: str) -> None:
    sold = replace(BREAD, item_id="i1", creative_id="c1", state="approved")
    write_creatives(tmp_path / name, [sold, BREAD])
    found = read_creatives(tmp_path / name)
    assert found.to_dicts() == catalogue_rows([sold]).to_dicts()
    assert found["text"].to_list() == ["Bread\nBaked at six.\nMill"]


# Codes of test_hashed_codes_are_pinned_forever: a saved model depends on them.
PINNED = [959, 179, 0, 156, 959, 553]
EIGHTHS = st.integers(-4000, 4000).map(lambda n: n / 8)
FLOATS = st.none() | EIGHTHS | st.sampled_from([math.nan, math.inf, -math.inf])


def fit(feature: Feature, values: list[Any], dtype: Any = None) -> Feature:
    """The feature fitted to a column of the training rows."""
    rows = pl.DataFrame({feature.name: pl.Series(values, dtype=dtype)}).lazy()
    (fitted,) = fit_spec([feature], rows, pl.LazyFrame({"item_id": ["i"]})).features
    return fitted


def test_a_vocabulary_holds_frequent_values_first() -> None:
    values = ["b", "a", "c", "b", None, "a", "d", "b"]
    fitted = fit(Feature("x", "categorical", "context"), values)
    assert fitted.vocabulary == ("b", "a", "c", "d")
    assert fitted.cardinality == 5
    assert fitted.codes(pa.array(["d", "b", "zzz", None, ""])).tolist() == [4, 1, 0, 0, 0]


def test_numbers_and_categories_are_known_by_their_text() -> None:
    feature = Feature("x", "categorical", "context", vocabulary=("7", "8"))
    assert feature.codes(pa.array([8, 7, None, 9])).tolist() == [2, 1, 0, 0]
    encoded = pa.array(["8", "7", None, "9"]).dictionary_encode()
    assert feature.codes(encoded).tolist() == [2, 1, 0, 0]
    assert feature.codes(pa.chunked_array([encoded, encoded])).tolist() == [2, 1, 0, 0] * 2
    assert fit(replace(feature, vocabulary=()), [7, 8, 8]).vocabulary == ("8", "7")


def test_hashed_codes_are_pinned_forever() -> None:
    feature = Feature("x", "hashed", "context", buckets=1000)
    column = pa.array(["tea", "rice", None, "", "tea", "42"])
    assert feature.codes(column).tolist() == PINNED
    assert feature.codes(column.dictionary_encode()).tolist() == PINNED
    assert feature.codes(pa.array([42])).tolist() == PINNED[-1:]
    assert replace(feature, name="other").codes(column).tolist() == PINNED
    assert feature.cardinality == 1001
    assert fit(feature, ["tea"]) == feature


@given(st.lists(FLOATS, max_size=40))
def test_buckets_equal_counting_the_edges(values: list[float | None]) -> None:
    fitted = fit(Feature("x", "bucketised", "context"), values, pl.Float64)
    known = sorted(v for v in values if v is not None and math.isfinite(v))
    assert list(fitted.edges) == sorted(set(fitted.edges))
    assert len(fitted.edges) <= 15
    assert all(known[0] <= edge <= known[-1] for edge in fitted.edges)
    assert fitted.cardinality == len(fitted.edges) + 2
    codes = fitted.codes(pa.array(values, pa.float64()))
    expected = [
        0 if v is None or math.isnan(v) else 1 + sum(edge <= v for edge in fitted.edges)
        for v in values
    ]
    assert codes.tolist() == expected
    assert all(0 <= code < fitted.cardinality for code in expected)


def test_bucket_edges_are_sixteenths_of_the_training_values() -> None:
    fitted = fit(Feature("x", "bucketised", "context"), list(range(161)))
    assert fitted.edges == tuple(float(10 * n) for n in range(1, 16))
    assert fitted.codes(pa.array([9, 10, 11, 150, -5, 9999])).tolist() == [1, 2, 2, 16, 1, 16]


@given(st.lists(FLOATS, max_size=30), st.booleans())
def test_numbers_are_standardised_and_missing_ones_are_the_mean(
    values: list[float | None], log: bool
) -> None:
    def squash(value: float) -> float:
        return math.copysign(math.log1p(abs(value)), value) if log else value

    fitted = fit(Feature("x", "numeric", "context", log=log), values, pl.Float64)
    known = [squash(v) for v in values if v is not None and math.isfinite(v)]
    if len(set(known)) > 1:
        assert fitted.mean == pytest.approx(sum(known) / len(known), rel=1e-9, abs=1e-9)
        deviation = math.sqrt(sum((v - fitted.mean) ** 2 for v in known) / (len(known) - 1))
        assert fitted.scale == pytest.approx(deviation)
    else:
        assert fitted.mean == pytest.approx(known[0] if known else 0.0)
        assert fitted.scale == 1.0
    assert fitted.cardinality == 0
    got = fitted.numbers(pa.array(values, pa.float64()))
    assert got.dtype == np.float32
    expected = [
        (squash(v) - fitted.mean) / fitted.scale if v is not None and math.isfinite(v) else 0.0
        for v in values
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_long_columns_of_every_type_are_numbers_too() -> None:
    feature = Feature("x", "numeric", "context", mean=2.0, scale=4.0)
    values = np.arange(50_000) % 7
    expected = (values - 2) / 4
    for dtype in (pa.int8(), pa.int64(), pa.float32(), pa.float64()):
        column = pa.chunked_array([pa.array(values, dtype), pa.array([None], dtype)])
        np.testing.assert_array_equal(feature.numbers(column), [*expected, 0.0])
    assert feature.numbers(pa.array([True, False])).tolist() == [-0.25, -0.5]


@given(
    st.lists(st.none() | st.lists(st.sampled_from(["a", "b", "c", "new"]), max_size=4), max_size=12)
)
def test_lists_keep_known_values_in_order(lists: list[list[str] | None]) -> None:
    feature = Feature("x", "multi", "context", vocabulary=("c", "a", "b"))
    codes, offsets = feature.lists(pa.array(lists, pa.list_(pa.string())))
    expected = [["cab".index(v) + 1 for v in one or [] if v != "new"] for one in lists]
    assert [codes[a:b].tolist() for a, b in pairwise(offsets)] == expected
    assert offsets.dtype == codes.dtype == np.int64


def test_a_sliced_list_column_gives_its_own_rows() -> None:
    feature = Feature("x", "multi", "context", vocabulary=("a", "b"))
    column = pa.array([["a", "a"], ["b"], [], ["a", "b"]], pa.list_(pa.string())).slice(1)
    codes, offsets = feature.lists(column)
    assert codes.tolist() == [2, 1, 2]
    assert offsets.tolist() == [0, 1, 1, 3]


def test_a_list_vocabulary_counts_values() -> None:
    rows = [["a", "b"], None, [], ["b", "c", "b"]]
    fitted = fit(Feature("x", "multi", "context"), rows, pl.List(pl.String))
    counts = Counter(value for row in rows for value in row or [])
    assert fitted.vocabulary == tuple(sorted(counts, key=lambda v: (-counts[v], v)))
    assert fit(
        Feature("x", "multi", "context", min_count=2), rows, pl.List(pl.String)
    ).vocabulary == ("b",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "hashed"}, "needs buckets"),
        ({"kind": "categorical", "log": True}, "only a numeric feature"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Feature("x", of="context", **changes)


def test_a_missing_column_is_named() -> None:
    rows, items = pl.LazyFrame({"y": [1]}), pl.LazyFrame({"item_id": ["i"]})
    for owner in ("context", "item"):
        with pytest.raises(SchemaError, match="column x") as caught:
            fit_spec([Feature("x", "categorical", owner)], rows, items)
        assert "the table has" in caught.value.hint
    with pytest.raises(SchemaError, match="column x"):
        FeatureSpec((Feature("x", "categorical", "item"),)).encode_items(items.collect())


def test_items_are_fitted_on_the_catalogue_but_for_their_own_id() -> None:
    rows = pl.LazyFrame({"item_id": ["b", "b", "c"], "type": ["row", "row", "row"]})
    items = pl.LazyFrame({"item_id": ["a", "b", "c"], "type": ["t1", "t2", "t2"]})
    features = [Feature("item_id", "categorical", "item"), Feature("type", "categorical", "item")]
    spec = fit_spec(features, rows, items)
    assert [f.vocabulary for f in spec.features] == [("b", "c"), ("t2", "t1")]
    table = spec.encode_items(items.collect())
    assert table.categorical["item_id"].tolist() == [0, 0, 1, 2]
    assert table.categorical["type"].tolist() == [0, 2, 1, 1]
    assert table.rows(pa.array(["c", "a", "unheard of", None])).tolist() == [3, 1, 0, 0]


def test_the_catalogue_in_codes() -> None:
    items = pl.DataFrame(
        {"item_id": [10, 20], "tags": [["x", "y"], []], "weight": [1.0, None], "size": [5, 1]}
    )
    spec = FeatureSpec(
        (
            Feature("tags", "multi", "item", vocabulary=("y", "x")),
            Feature("weight", "numeric", "item", mean=0.5),
            Feature("size", "bucketised", "item", edges=(3.0,)),
        )
    )
    table = spec.encode_items(items)
    assert isinstance(table, ItemTable)
    assert len(table) == 3
    assert table.ids == ("10", "20")
    codes, offsets = table.multi["tags"]
    assert codes.tolist() == [2, 1]
    assert offsets.tolist() == [0, 0, 2, 2]
    assert table.numeric.tolist() == [[0.0], [0.5], [0.0]]
    assert table.categorical["size"].tolist() == [0, 2, 1]


def test_a_spec_survives_json() -> None:
    spec = FeatureSpec(
        (
            Feature("history", "sequence", "user"),
            Feature("a", "categorical", "user", vocabulary=("é", "b"), min_count=3),
            Feature("b", "hashed", "context", buckets=9),
            Feature("c", "bucketised", "item", edges=(-0.1, 1e-300)),
            Feature("d", "numeric", "context", log=True, mean=1 / 3, scale=1e17),
            Feature("e", "multi", "item", vocabulary=("x",)),
        )
    )
    text = json.dumps(to_jsonable(spec))
    assert from_jsonable(FeatureSpec, json.loads(text)) == spec


def test_features_are_grouped_by_owner_and_kind() -> None:
    spec = FeatureSpec(
        (
            Feature("item", "categorical", "item"),
            Feature("user", "categorical", "user"),
            Feature("store", "hashed", "context", buckets=2),
            Feature("age", "numeric", "user"),
            Feature("tags", "multi", "context"),
        )
    )
    assert [f.name for f in spec.coded_rows] == ["user", "store"]
    assert [f.name for f in spec.numeric_rows] == ["age"]
    assert [f.name for f in spec.multi_rows] == ["tags"]
    assert [f.name for f in spec.of("item", kinds=("categorical",))] == ["item"]


WORDS = st.text(alphabet="abcé ", max_size=3)


@given(st.lists(WORDS, unique=True, max_size=20), st.lists(st.none() | WORDS, max_size=20))
def test_codes_equal_a_dictionary_by_either_way(known: list[str], asked: list[str | None]) -> None:
    expected = [known.index(value) + 1 if value in known else 0 for value in asked]
    column = pa.array(asked, pa.string())
    assert Vocabulary(known).codes(column).tolist() == expected
    repeated = pa.concat_arrays([column] * 300)
    assert Vocabulary(known).codes(repeated).tolist() == expected * 300
