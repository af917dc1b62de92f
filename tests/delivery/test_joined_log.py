from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.data.schema import validate_events
from adwright.delivery.joined_log import join_logs
from tests.support.delivery.single_models import log

LATER = datetime(2026, 3, 1, tzinfo=UTC)


def written(*changes: dict[str, Any]) -> pl.DataFrame:
    rows = [
        {
            "event_id": f"new{n}",
            "time": LATER + timedelta(hours=n),
            "request_id": f"q{n}",
            "user_id": "u1",
            "kind": "click",
            "item_id": "i3",
            **more,
        }
        for n, more in enumerate(changes)
    ]
    return validate_events(pl.DataFrame(rows), unique=False)


def test_both_are_one_log_in_order_of_time() -> None:
    found = join_logs(log(), [written({}, {}), written({"event_id": "new9"})])
    events = found.log.events.collect()
    assert events.height == found.old + found.served == log().events.collect().height + 3
    assert events["time"].is_sorted()
    assert (found.repeated, found.unknown, found.since) == (0, 0, LATER)
    assert not found.shown
    assert found.log.catalogue.items.equals(log().catalogue.items)
    (sentence,) = found.sentences()
    assert "3 that the service wrote" in sentence


def test_an_event_counts_once_and_the_old_one_stands(caplog: pytest.LogCaptureFixture) -> None:
    again = written({"event_id": "e0", "item_id": "i5"}, {}, {"event_id": "new1"})
    found = join_logs(log(), [again])
    assert (found.served, found.repeated) == (1, 2)
    stands = found.log.events.filter(event_id="e0").collect()["item_id"].to_list()
    assert stands == log().events.filter(event_id="e0").collect()["item_id"].to_list()
    assert "2 events of the service were there already" in found.sentences()


def test_items_that_the_catalogue_lacks_are_left_out_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    coupon = {"kind": "redemption", "item_id": "coupon"}
    found = join_logs(log(), [written({}, {"item_id": "strange"}, coupon)])
    assert (found.served, found.unknown) == (2, 1)
    assert "1 events are of items" in caplog.text


@pytest.mark.parametrize("served", [[], [written({"item_id": "strange"})]])
def test_nothing_new_is_refused(served: list[pl.DataFrame]) -> None:
    with pytest.raises(ValueInvalidError, match="nothing that the old log has not"):
        join_logs(log(), served)


def test_what_was_taken_from_slates_of_the_service_is_said() -> None:
    slate = {"kind": "impression", "request_id": "s", "item_id": "i5"}
    taken = {"request_id": "s", "item_id": "i5"}
    other = {"request_id": "s", "item_id": "i6"}
    found = join_logs(log(), [written(slate, taken, other)])
    assert found.slated == 0.5
    assert "50% of what users did there" in found.sentences()[1]
    assert join_logs(log(), [written({})]).slated == 0


def test_whether_the_old_log_says_what_was_shown_is_kept() -> None:
    old = log()
    shown = written({"event_id": "shown", "kind": "impression", "time": LATER - timedelta(days=1)})
    told = replace(old, events=pl.concat([old.events.collect(), shown]).lazy())
    assert join_logs(told, [written({})]).shown
    assert not join_logs(old, [shown, written({})]).shown


def test_a_return_that_the_service_heard_of_takes_back_its_purchase() -> None:
    bought, back = {"kind": "purchase"}, {"kind": "return"}
    found = join_logs(log(), [written(bought, {"kind": "purchase", "item_id": "i4"}, back)])
    since = found.log.events.filter(pl.col("time") >= LATER).collect()
    assert since["item_id"].to_list() == ["i4"]
    assert "1 returns: 1 took back a purchase, 0 had none and were left out" in found.sentences()
