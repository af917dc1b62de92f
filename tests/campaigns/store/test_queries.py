from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from sqlalchemy import select

from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import (
    CAMPAIGNS,
    EVENTS,
    Totals,
    frame_of_rows,
    of_tenant,
    portions,
    to_micros,
)
from tests.support.store.events import decision

START = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(("number", "sizes"), [(0, []), (2, [2]), (3, [3]), (7, [3, 3, 1])])
def test_portions_hold_all_ids_in_order(number: int, sizes: list[int]) -> None:
    found = list(portions(range(number), size=3))
    assert [len(some) for some in found] == sizes
    assert [one for some in found for one in some] == list(range(number))


def test_a_statement_stays_below_the_bound_on_parameters_of_sqlite() -> None:
    assert max(len(some) for some in portions(range(100_000))) < 32_766


@pytest.mark.parametrize("since", [None, START])
@pytest.mark.parametrize("until", [None, START + timedelta(days=1)])
def test_a_period_includes_its_start_and_not_its_end(
    since: datetime | None, until: datetime | None
) -> None:
    conditions = of_tenant(EVENTS, "acme", since, until)
    sql = str(select(EVENTS.c.seq).where(*conditions))
    assert "tenant = " in sql
    assert ("time >= " in sql) == (since is not None)
    assert ("time < " in sql) == (until is not None)
    values = [condition.right.value for condition in conditions]  # type: ignore[attr-defined]
    bounds = [to_micros(time) for time in (since, until) if time is not None]
    assert values == ["acme", *bounds]


def test_a_table_without_times_is_chosen_by_tenant_alone() -> None:
    assert len(of_tenant(CAMPAIGNS, "acme")) == 1


def test_rows_become_a_table_with_times_in_utc() -> None:
    types = {"id": pl.String(), "time": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC")}
    rows = [("a", to_micros(START), None), ("b", to_micros(START) + 1, to_micros(START))]
    frame = frame_of_rows(rows, types, times=("time", "end"))
    assert frame.schema == types
    assert frame["time"].to_list() == [START, START + timedelta(microseconds=1)]
    assert frame["end"].to_list() == [None, START]


def test_no_rows_become_an_empty_table_of_the_types() -> None:
    types = {"time": pl.Datetime("us", "UTC"), "n": pl.Int64()}
    frame = frame_of_rows([], types)
    assert frame.schema == types
    assert frame.height == 0


def test_rows_of_one_tenant_are_counted(store: Store, tenant: str) -> None:
    store.record_decisions(tenant, [decision(n) for n in range(4)])
    store.put_campaign(tenant, {"campaign_id": "c", "start": START})
    store.put_creative(tenant, {"creative_id": "x", "item_id": "i1"})
    store.create_tenant(f"{tenant[:90]} 2")
    assert store.totals(tenant) == Totals(4, 1, 1, 0, 0, ())
    assert store.totals(f"{tenant[:90]} 2") == Totals(0, 0, 0, 0, 0, ())
