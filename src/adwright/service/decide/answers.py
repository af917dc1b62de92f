"""Turn decisions and stops into bodies of answers, and events of requests into rows of the log."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import polars as pl

from adwright.data.stops import Stops
from adwright.delivery.decision import Decision
from adwright.service.decide.schemas import (
    EventIn,
    StopOut,
    StoppedCreative,
    StoppedItem,
    StopsOut,
)

__all__ = ["decision_answer", "event_row", "stops_out"]


def decision_answer(decision: Decision) -> bytes:
    """The body of the answer, in the shape of DecideOut: the same bytes for the same decision,
    whether it was just made or comes out of the store."""
    answer = {
        "request_id": decision.request.request_id,
        "policy_id": decision.policy_id,
        "model": decision.model,
        "stage": decision.stage,
        "items": decision.places(),
    }
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8")


def event_row(event: EventIn) -> dict[str, Any]:
    """The event in the columns of EVENT_SCHEMA."""
    row = dict(event.__dict__)  # a model without extra fields keeps there just its fields
    context = event.context
    if (undoes := row.pop("undoes")) is not None:
        context = {**(context or {}), "undoes": undoes}
    if context is not None:
        row["context"] = json.dumps(context, allow_nan=False)
    return row


def stops_out(stops: Stops | None, at: datetime, *, after: str | None, limit: int) -> StopsOut:
    """At most `limit` of the items after the id `after`, by id, as they were known at a moment."""
    if stops is None:
        return StopsOut(at=at, items=[])
    table = stops.table if after is None else stops.table.filter(pl.col("item_id") > after)
    ids = table["item_id"].unique(maintain_order=True).head(limit)
    items: dict[str, StoppedItem] = {
        item_id: StoppedItem(item_id=item_id, hidden=item_id in stops.items, stops=[], creatives=[])
        for item_id in ids
    }
    for row in table.filter(pl.col("item_id").is_in(ids.implode())).iter_rows(named=True):
        item = items[row["item_id"]]
        fields = {"event_id": row["event_id"], "time": row["time"], "stopped_by": row["user_id"]}
        fields["why"] = None if row["context"] is None else json.loads(row["context"])
        if row["creative_id"] is None:
            item.stops.append(StopOut(**fields))
        else:
            item.creatives.append(StoppedCreative(creative_id=row["creative_id"], **fields))
    return StopsOut(at=at, items=list(items.values()))
