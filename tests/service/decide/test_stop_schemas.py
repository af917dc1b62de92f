from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from adwright.data.schema import validate_events
from adwright.data.stops import Stops, stopped
from adwright.service.decide.stop_schemas import StopsOut, stops_out

NOW = datetime(2024, 6, 1, tzinfo=UTC)
WHY = {"reason": "wear-out", "days_left": 2.0}


def made(*pairs: tuple[str, str | None], **more: Any) -> Stops:
    rows = [
        {
            **{"event_id": f"e{n}", "time": NOW, "request_id": "r", "user_id": "anna"},
            **{"kind": "stop", "item_id": item, "creative_id": creative, **more},
        }
        for n, (item, creative) in enumerate(pairs)
    ]
    creatives = pl.DataFrame({"item_id": ["b", "c", "c"], "creative_id": ["b1", "c1", "c2"]})
    events = validate_events(pl.DataFrame(rows, schema_overrides={"creative_id": pl.String}))
    return stopped(events, creatives, NOW)


def test_the_example_is_valid() -> None:
    (example,) = StopsOut.model_json_schema()["examples"]
    assert StopsOut.model_validate_json(json.dumps(example))


def test_of_each_item_it_says_who_when_and_why() -> None:
    stops = made(("c", "c1"), ("a", None), ("b", "b1"), ("b", None), context=json.dumps(WHY))
    first, second, third = stops_out(stops, after=None, limit=10).items
    assert (first.item_id, first.hidden, first.creatives) == ("a", True, [])
    assert first.stop is not None
    assert first.stop.model_dump() == {
        **{"event_id": "e1", "time": NOW, "stopped_by": "anna", "why": WHY}
    }
    assert second.stop is not None
    assert (second.stop.event_id, [one.creative_id for one in second.creatives]) == ("e3", ["b1"])
    assert (third.item_id, third.hidden, third.stop) == ("c", False, None)
    assert third.creatives[0].why == WHY


def test_an_item_whose_creatives_are_all_stopped_is_hidden() -> None:
    (item,) = stops_out(made(("c", "c1"), ("c", "c2")), after=None, limit=10).items
    assert (item.hidden, item.stop, len(item.creatives)) == (True, None, 2)


@pytest.mark.parametrize(
    ("after", "limit", "expected"),
    [(None, 2, ["a", "b"]), ("a", 2, ["b", "c"]), ("aa", 1, ["b"]), ("c", 5, [])],
)
def test_a_page_begins_after_an_item_and_cuts_none_apart(
    after: str | None, limit: int, expected: list[str]
) -> None:
    page = stops_out(
        made(("c", "c1"), ("a", None), ("b", None), ("b", "b1")), after=after, limit=limit
    )
    assert [item.item_id for item in page.items] == expected
    assert all(len(item.creatives) == 1 for item in page.items if item.item_id == "b")
    assert page.at == NOW


def test_where_nothing_was_ever_stopped_there_is_nothing() -> None:
    assert stops_out(None, after=None, limit=5) == StopsOut(at=None, items=[])
