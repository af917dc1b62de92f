"""What terms of a campaign mean, and which are none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.campaigns import Campaign, amount, micros, targeting_of
from adwright.data.schema import CAMPAIGN_SCHEMA, validate_campaigns
from adwright.data.sources.tables import read_campaigns, write_table

START = datetime(2024, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def campaign(**terms: Any) -> Campaign:
    return Campaign.of({"campaign_id": "c", "start": START, **terms})


def test_what_is_not_said_is_no_limit() -> None:
    bare = campaign(end=None, per=None, cap=None, targeting=None)
    assert bare == Campaign("c", START)
    assert (bare.per, bare.cap_hours, bare.targeting) == ("impression", 24.0, {})
    assert bare.serves(START, {"page": "home"}, 1e9)


def test_a_flight_has_a_first_and_a_last_instant() -> None:
    spring = campaign(end=START + DAY)
    instant = timedelta(microseconds=1)
    moments = [START - instant, START, START + DAY - instant, START + DAY]
    assert [spring.serves(one, {}, 0) for one in moments] == [False, True, True, False]


@pytest.mark.parametrize(
    ("spent", "serves"),
    [(0.0, True), (0.2, True), (0.200001, False), (0.3, False), (5.0, False)],
)
def test_a_budget_lasts_for_whole_prices(spent: float, serves: bool) -> None:
    # Of floats 0.1 + 0.2 is above 0.3.
    assert campaign(budget=0.3, price=0.1).serves(START, {}, spent) is serves


def test_amounts_are_exact_to_a_millionth() -> None:
    assert micros(0.002) == 2000
    assert amount(sum(micros(0.1) for _ in range(1000))) == 100.0


@pytest.mark.parametrize(
    ("context", "serves"),
    [
        ({"page": "home", "floor": 2.0}, True),
        ({"page": "search", "floor": 2, "more": "x"}, True),
        ({"page": "cart", "floor": 2.0}, False),
        ({"page": "home"}, False),
        ({}, False),
    ],
)
def test_targeting_asks_for_a_value_under_each_key(
    context: dict[str, str | float], serves: bool
) -> None:
    targeted = campaign(targeting='{"page": ["home", "search"], "floor": [2]}')
    assert targeted.serves(START, context, 0) is serves


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"a": "b"}', '{"a": []}', '{"a": [null]}', '{"a": [true]}', "NaN"]
)
def test_targeting_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueInvalidError, match="JSON object of lists"):
        targeting_of(text, row=3)


@pytest.mark.parametrize(
    ("terms", "column"),
    [
        ({"budget": 0.0}, "budget"),
        ({"price": 1e-7}, "price"),
        ({"price": float("inf")}, "price"),
        ({"per": "view"}, "per"),
        ({"cap": 0}, "cap"),
        ({"cap_hours": -1.0}, "cap_hours"),
        ({"targeting": "{}}"}, "targeting"),
    ],
)
def test_a_catalogue_refuses_terms_that_are_none(terms: dict[str, Any], column: str) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        validate_campaigns([{"campaign_id": "c", "start": START, **terms}])
    assert (caught.value.column, caught.value.row) == (column, 0)
    assert caught.value.hint


def test_other_types_are_refused() -> None:
    with pytest.raises(SchemaError, match="cap must be an integer"):
        validate_campaigns([{"campaign_id": "c", "start": START, "cap": 1.5}])


@pytest.mark.parametrize("name", ["campaigns.csv", "campaigns.parquet"])
def test_tables_of_before_and_of_now_are_read(tmp_path: Path, name: str) -> None:
    old = pl.DataFrame({"campaign_id": ["a"], "start": [START]})
    write_table(tmp_path / name, old)
    assert read_campaigns(tmp_path / name).columns == CAMPAIGN_SCHEMA.names
    terms = {"budget": 5.0, "price": 0.25, "per": "click", "cap": 3, "targeting": '{"p": ["x"]}'}
    now = validate_campaigns([{"campaign_id": "a", "start": START, **terms}])
    write_table(tmp_path / name, now)
    assert read_campaigns(tmp_path / name).equals(now)
